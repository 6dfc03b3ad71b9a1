"""The LSTM meta-learner (Ravi and Larochelle 2017): weights are the state of a memory whose gates see the loss. Its
backward pass is in docs/learners.md, "Weights as a memory".

    i_s = sigmoid([u_s, l_s, theta_s, i_{s-1}] w_i + b_i)          theta_{s+1} = f_s theta_s - alpha i_s g_s
    f_s = sigmoid([u_s, l_s, theta_s, f_{s-1}] w_f + b_f)          u_s = asinh(g_s / scale), l_s = log(1 + L_s)

Departures from the paper: gates see gradient and loss themselves, not what a first recurrent layer makes of them; asinh
in place of logarithm and sign. With alpha = inner.lr = 1 a step's rate is the gate i, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core.arrays import Workspace
from maml_exp.core.learners._learned_steps import LearnedStepsLearner, LearnedStepsSettings
from maml_exp.core.network import initial_parameters
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem

Array = np.ndarray
SEEN = 4  # numbers that a gate sees of a weight: u, l, theta and what it was
# where training starts, drawn uniformly around these, as in the authors' code: small rates, and weights that are kept
USUAL_BIASES, FIRST_BIASES, FIRST_WEIGHTS = (-4.5, 5.0), (0.5, 1.0), 0.01


@dataclass
class Settings(LearnedStepsSettings):
    """Two gates for every weight, all weights alike."""

    learner: str = "lstm_meta_learner"


class Learner(LearnedStepsLearner):
    """Adapts by gradient steps whose rates and decay are gates.

    The vector of meta-parameters has these parts:

        theta      the network that it starts from
        gates      w_i, w_f (2, 4)
        biases     b_i, b_f (2,), less USUAL_BIASES
    """

    def __init__(self, problem: Problem, **options: Any):
        super().__init__(problem, **options)
        self.layout = Layout({"theta": self.network.parameter_count, "gates": 2 * SEEN, "biases": 2})

    def init(self, rng: np.random.Generator) -> Array:
        """The network as model.initializer draws it; gates that see little, and start as small steps of descent."""
        theta = initial_parameters(self.network, self.problem.model.initializer, rng, np.float64)
        gates = rng.uniform(-FIRST_WEIGHTS, FIRST_WEIGHTS, 2 * SEEN)
        biases = np.multiply(FIRST_BIASES, rng.uniform(-1, 1, 2))
        return np.concatenate([theta, gates, biases]).astype(self.problem.dtype)

    def _biases(self, parts: Mapping[str, Array]) -> Array:
        """b_i, b_f."""
        return parts["biases"] + np.array(USUAL_BIASES, parts["biases"].dtype)

    def steps_of(self, parts: Mapping[str, Array], tasks: int, kept: int, lr: float, workspace: Workspace) -> Gates:
        """See `Gates`."""
        return Gates(self, parts["gates"].reshape(2, SEEN), self._biases(parts), kept, lr)

    def reference_step(
        self, parts: Mapping[str, Array], theta: Array, gradient: Array, loss: Array, state: Any
    ) -> tuple[Array, Any]:
        """Gate by gate; the state is both gates of every weight (P,)."""
        before = np.zeros((2, len(theta))) if state is None else state
        u, gates = np.arcsinh(gradient / self.settings.scale), []
        for weights, bias, was in zip(parts["gates"].reshape(2, SEEN), self._biases(parts), before, strict=True):
            seen = np.stack([u, np.log(1 + loss) * np.ones(len(theta)), theta, was])
            gates.append(1 / (1 + np.exp(-(weights @ seen + bias))))
        i, f = gates
        return f * theta - self.problem.inner.lr * i * gradient, gates

    def learned(self, vector: Array) -> Mapping[str, float]:
        """The rate, and what is kept of a weight, where a gate sees nothing but its bias."""
        i, f = logistic(self._biases(self.layout.parts(vector)).astype(np.float64))
        return {"rate": float(self.problem.inner.lr * i), "kept": float(f)}

    @property
    def describes(self) -> str:
        """The rule in a few words."""
        steps = self.trained_steps
        return f"{steps} step{'s' * (steps != 1)} by two gates for every weight"


def logistic(a: Array) -> Array:
    """1 / (1 + exp(-a)), which does not overflow."""
    return (1 + np.tanh(a / 2)) / 2


class Gates:
    """The steps of a meta-batch; gates are (2, T, P), i and f.

    Args:
        learner: how gradients are seen.
        weights: w_i, w_f (2, 4).
        biases: b_i, b_f (2,).
        kept: of how many steps everything is kept.
        alpha: the unit of rates.
    """

    def __init__(self, learner: Learner, weights: Array, biases: Array, kept: int, alpha: float):
        self._learner, self._weights, self._alpha = learner, weights, weights.dtype.type(alpha)
        self._w_u, self._w_l, self._w_theta, self._w_was = weights.T[:, :, None, None]  # (2, 1, 1) each
        self._biases = biases[:, None, None]
        self._slots = max(kept, 1)
        self._made: dict[int, tuple[Array, ...]] = {}  # of every step, what it saw and the gates that it had
        self._gates: Any = np.zeros((2, 1, 1), weights.dtype)
        self._of_gates: Any = 0  # what comes back from later steps
        self._of_weights, self._of_biases = np.zeros_like(weights), np.zeros_like(biases)

    def step(self, s: int, theta: Array, gradient: Array, losses: Array) -> Array:
        """f theta_s - alpha i g_s (T, P)."""
        u, level, was = self._learner.seen(gradient), np.log1p(losses)[:, None], self._gates
        a = self._w_u * u + self._w_l * level + self._w_theta * theta + self._w_was * was + self._biases
        i, f = self._gates = logistic(a)
        self._made[s % self._slots] = (u, level, theta, was, self._gates, gradient)
        return f * theta - self._alpha * i * gradient

    def step_back(self, s: int, v: Array) -> tuple[Array, Array, Array]:
        """The derivatives of theta_s (T, P), of gradients (T, P) and of losses (T,)."""
        u, level, theta, was, gates, gradient = self._made[s]
        i, f = gates
        of_gates = np.stack([-self._alpha * v * gradient, v * theta]) + self._of_gates
        da = of_gates * gates * (1 - gates)
        for column, seen in enumerate((u, level, theta, was)):
            self._of_weights[:, column] += np.sum(da * seen, axis=(1, 2))
        self._of_biases += np.sum(da, axis=(1, 2))
        self._of_gates = self._w_was * da
        of_u, of_level, of_theta = (np.sum(w * da, axis=0) for w in (self._w_u, self._w_l, self._w_theta))
        of_gradient = of_u * self._learner.slope_of_seen(gradient) - self._alpha * i * v
        of_losses = np.sum(of_level, axis=1) * np.exp(-level[:, 0])  # 1 / (1 + L)
        return f * v + of_theta, of_gradient, of_losses

    def gradient(self, out: Mapping[str, Array]) -> None:
        """Write the derivatives of the gates' weights and biases."""
        out["gates"][...] = self._of_weights.ravel()
        out["biases"][...] = self._of_biases
