"""Learning to learn by gradient descent by gradient descent (Andrychowicz et al. 2016): a recurrent network makes the
inner steps, the same one for every weight. Its backward pass is in docs/learners.md, "Learned optimizers".

    (m_s, state_{s+1}) = LSTM(asinh(g_s / scale), state_s)          theta_{s+1} = theta_s + alpha m_s

Departures from the paper: one layer of units in place of two; asinh in place of logarithm and sign, which have no
derivative at 0; and the start may be learned, as for every other method here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.arrays import Workspace
from maml_exp.core.checks import setting
from maml_exp.core.learners._learned_steps import LearnedStepsLearner, LearnedStepsSettings
from maml_exp.core.learners.blocks.cell import Cell, initial_cell
from maml_exp.core.network import INITIALIZERS, initial_parameters
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem

Array = np.ndarray


@dataclass
class Settings(LearnedStepsSettings):
    """A long short-term memory for every weight, all of them alike."""

    learner: str = "learned_optimizer"
    units: int = setting(20, "of the memory", checks.integer(1, 10**4))
    learn_start: bool = setting(
        True, "the outer loop learns where steps start; else it is drawn for every meta-batch", checks.boolean()
    )


class Learner(LearnedStepsLearner):
    """Adapts by steps that a recurrent network makes of gradients.

    The vector of meta-parameters has these parts:

        theta      the network that it starts from, if that is learned
        cell       [W_u; W_h; b] (1 + units + 1, 4 units)
        readout    [w; b] (units + 1)
    """

    def __init__(self, problem: Problem, **options: Any):
        super().__init__(problem, **options)
        units = self.settings.units
        self._cell_shape = (1 + units + 1, 4 * units)
        learned = {"theta": self.network.parameter_count} if self.settings.learn_start else {}
        self.layout = Layout({**learned, "cell": self._cell_shape[0] * self._cell_shape[1], "readout": units + 1})

    def init(self, rng: np.random.Generator) -> Array:
        """All by model.initializer, the bias of the forget gate larger by 1."""
        initializer, units = self.problem.model.initializer, self.settings.units
        parts = [initial_parameters(self.network, initializer, rng, np.float64)] if self.settings.learn_start else []
        parts += [initial_cell(initializer, rng, 1, units).ravel(), INITIALIZERS[initializer](rng, units, 1).ravel()]
        return np.concatenate(parts).astype(self.problem.dtype)

    def start(self, parts: Mapping[str, Array], rng: np.random.Generator) -> Array:
        """The learned theta_0 (P,), or one drawn as model.initializer does."""
        if self.settings.learn_start:
            return parts["theta"]
        return initial_parameters(self.network, self.problem.model.initializer, rng, parts["cell"].dtype)

    def start_of_adaptation(self, parts: Mapping[str, Array]) -> Array:
        """The learned theta_0 (P,), or always the same drawn one."""
        return self.start(parts, np.random.default_rng(0))

    def steps_of(self, parts: Mapping[str, Array], tasks: int, kept: int, lr: float, workspace: Workspace) -> Memories:
        """See `Memories`."""
        theta = parts["cell"].reshape(self._cell_shape)
        return Memories(self, theta, parts["readout"], (tasks, self.network.parameter_count), kept, lr, workspace)

    def reference_step(
        self, parts: Mapping[str, Array], theta: Array, gradient: Array, loss: Array, state: Any
    ) -> tuple[Array, Any]:
        """Gate by gate; the state is h and c of every weight (P, units)."""
        weights, nothing = parts["cell"].reshape(self._cell_shape), np.zeros((len(theta), self.settings.units))
        h, c = (nothing, nothing) if state is None else state
        rows = np.concatenate([np.arcsinh(gradient / self.settings.scale)[:, None], h, np.ones((len(h), 1))], axis=1)
        *gates, proposal = np.split(rows @ weights, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-a)) for a in gates)
        c = f * c + i * np.tanh(proposal)
        h = o * np.tanh(c)
        m = h @ parts["readout"][:-1] + parts["readout"][-1]
        return theta + self.problem.inner.lr * m, (h, c)

    @property
    def describes(self) -> str:
        """The rule in a few words."""
        steps = self.trained_steps
        return f"{steps} step{'s' * (steps != 1)} by an LSTM of {self.settings.units} units for every weight"

    @property
    def sized_by(self) -> str:
        """The larger of network and memory."""
        own = self.layout.sizes["cell"] > self.network.parameter_count or not self.settings.learn_start
        return f"algorithm.units={self.settings.units}" if own else super().sized_by


class Memories:
    """The steps of a meta-batch: a column for every weight of every task (`Cell`).

    Args:
        learner: how gradients are seen.
        theta: of the cell.
        readout: [w; b] (H + 1).
        shape: (T, P).
        kept: of how many steps everything is kept.
        alpha: the unit of steps.
        workspace: holds all of this until the next ones with it.
    """

    def __init__(
        self,
        learner: Learner,
        theta: Array,
        readout: Array,
        shape: tuple[int, int],
        kept: int,
        alpha: float,
        workspace: Workspace,
    ):
        self._learner, self._theta, self._readout, self._shape = learner, theta, readout, shape
        self._alpha, self._workspace = theta.dtype.type(alpha), workspace
        self._cell = Cell(theta, workspace)
        units, count = self._cell.units, shape[0] * shape[1]
        self._slots = kept + 1
        self._columns = self._empty("columns", self._slots, len(theta), count)  # [u h 1] of every step
        self._columns[0, 1:-1] = 0
        self._columns[:, -1] = 1
        self._h = self._columns[:, 1:-1]
        self._c = self._empty("c", self._slots, units, count)
        self._c[0] = 0
        self._gates = self._empty("gates", self._slots, 4 * units, count)
        self._tanh_c = self._empty("tanh c", self._slots, units, count)
        self._slopes: dict[int, Array] = {}
        # what comes back from later steps, and what is learned of them so far
        self._dh: Any = 0
        self._dc: Any = 0
        self._of_theta, self._of_readout = np.zeros_like(theta), np.zeros_like(readout)

    def _empty(self, name: str, *shape: int) -> Array:
        return self._workspace.empty(name, shape, self._theta.dtype)

    def step(self, s: int, theta: Array, gradient: Array, losses: Array) -> Array:
        """theta_s + alpha m_s (T, P)."""
        now, after = s % self._slots, (s + 1) % self._slots
        self._columns[now, 0] = self._learner.seen(gradient).ravel()
        self._slopes[now] = self._learner.slope_of_seen(gradient)
        np.matmul(self._cell.weights, self._columns[now], out=self._gates[now])
        self._cell.step(self._gates[now], self._c[now], self._c[after], self._tanh_c[now], self._h[after])
        m = self._readout[:-1] @ self._h[after] + self._readout[-1]
        return theta + self._alpha * m.reshape(self._shape)

    def step_back(self, s: int, v: Array) -> tuple[Array, Array, Array]:
        """The derivatives of theta_s (v itself), of gradients (T, P) and of losses, which it does not see."""
        dm = self._alpha * v.ravel()
        self._of_readout[:-1] += self._h[s + 1] @ dm
        self._of_readout[-1] += dm.sum()
        da = self._empty("da", *self._gates[s].shape)
        dh = self._readout[:-1, None] * dm + self._dh
        self._dc = self._cell.step_back(self._gates[s], self._c[s], self._tanh_c[s], dh, self._dc, da)
        self._of_theta += self._columns[s] @ da.T
        self._dh = self._cell.into_h(da)
        of_gradient = (self._theta[0] @ da).reshape(self._shape) * self._slopes[s]
        return v, of_gradient, np.zeros(len(v), v.dtype)

    def gradient(self, out: Mapping[str, Array]) -> None:
        """Write the derivatives of cell and readout."""
        out["cell"][...] = self._of_theta.ravel()
        out["readout"][...] = self._of_readout
