"""Forward, backward and R passes of a network whose weights the inner loop moves.

The inner loop is gradient descent on the support loss, theta_{r+1} = theta_r - rho_r g_r (Finn et al. 2017,
equation 1), for all tasks of a meta-batch at once. Pulling a vector v back through step s needs the support loss's
Hessian at theta_s times v, by Pearlmutter's R operator (Pearlmutter 1994): the derivative of the forward and the
backward pass along v.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.below import Context, Data, Features
from maml_exp.core.inner.layers.choice import make_layer
from maml_exp.core.inner.layers.heads import TwoHeads
from maml_exp.core.inner.passes import Pass, step_count
from maml_exp.core.inner.stack import Stack
from maml_exp.core.inner.structure import Structure
from maml_exp.core.inner.tails import GivenLoss, LearnedLoss

Array = np.ndarray
FROM_ZERO = np.zeros(1)  # a context


class InnerLoop:
    """All passes of a meta-batch, with buffers that live across iterations.

    Args:
        structure: what is above a trunk, if there is one.
        tasks: (T,), or (R, T) of R runs in lockstep.
        passes: S support passes, at theta_0 .. theta_{S-1}, then the query passes, the last of them at theta_S.
        dtype: float32, float64 or complex128; everything given must have it.
        keep: what a step leaves of the earlier ones: 1 - alpha lambda of proximal steps, else 1.

    Attributes:
        rates: of whatever moves, layer by layer, then the context.
        below: what lies below the first layer; see below.py.
    """

    def __init__(
        self,
        structure: Structure,
        tasks: tuple[int, ...],
        passes: Sequence[Pass],
        dtype: np.dtype | type | str,
        keep: float = 1.0,
    ):
        self.structure, self.network, self.loss = structure, structure.network, structure.loss
        self.tasks, self.pass_count = tasks, len(passes)
        self.dtype, self.steps = np.dtype(dtype), step_count(passes)
        self.layers = self._make_layers(tasks, passes, keep)
        self._stack = Stack(self.layers, self.network, self.steps)
        self.below: Any = self._make_below(keep)
        layers = [layer for layer, moves in zip(self.layers, structure.moves, strict=True) if moves]
        self._moving = [*layers, self.below] if structure.context else layers
        self.rates = [moving.rates for moving in self._moving]
        outputs = self.network.sizes[-1]
        given = GivenLoss(self.loss, passes, outputs, self.dtype)
        support: Any = given
        if structure.loss_network is not None:
            support = LearnedLoss(
                structure.loss_network,
                self.loss,
                tasks,
                passes[: self.steps],
                self.dtype,
                outputs,
                structure.loss_sees_targets,
            )
        self._support_loss = support
        self._tails = [support] * self.steps + [given] * (len(passes) - self.steps)

    def _make_layers(self, tasks: tuple[int, ...], passes: Sequence[Pass], keep: float) -> list[Any]:
        structure = self.structure
        layers: list[Any] = []
        for index, ((n, m), moves) in enumerate(zip(self.network.shapes, structure.moves, strict=True)):
            make = partial(
                make_layer,
                n,
                m,
                tasks,
                dtype=self.dtype,
                bias_is_data=index == 0 and not structure.features,
                constant_inputs=index == 0 and not structure.context,
                rates=structure.rates,
                keep=keep,
                pairs=structure.pairs,
            )
            is_last = index == len(self.network.shapes) - 1
            if is_last and structure.two_heads:
                layers.append(TwoHeads(partial(make, moves=moves), partial(make, moves=False), passes, self.steps))
            else:
                layers.append(make(passes, moves=moves))
        return layers

    def _make_below(self, keep: float) -> Data:
        first = self.layers[0]
        if self.structure.features:
            return Features(first)
        if self.structure.context:
            return Context(first, self.structure.context, self.structure.rates, keep)
        return Data(first)

    def bind(
        self, theta: Array, context: Array = FROM_ZERO, head: Array | None = None, loss: Array | None = None
    ) -> None:
        """Start from theta (P,), which must not change until the next `bind`.

        Args:
            theta: of `network`.
            context: phi_0 (c,).
            head: [W; b] (n + 1, m) of the support head, flat, where there is one.
            loss: parameters of a learned support loss.
        """
        for layer, matrix in zip(self.layers, self.network.matrices(theta), strict=True):
            layer.bind(matrix)
        if self.structure.context:
            self.below.bind(context)
        if head is not None:
            self.layers[-1].of_support.bind(self._head(head))
        if loss is not None:
            self._support_loss.bind(loss)

    def _head(self, flat: Array) -> Array:
        n, m = self.network.shapes[-1]
        return flat.reshape(*flat.shape[:-1], n + 1, m)

    def run_pass(self, r: int, x: Array, y: Array) -> Any:
        """Forward and backward in pass r; returns what `Loss.mean` takes.

        x is (T, K, n), y is (T, K, m). In a support pass it also makes the step to theta_{r+1}; with a learned loss
        y is what the loss is shown there, [x, targets].
        """
        self.below.fill(r, x)
        z = self._stack.forward(r)
        found = self._tails[r].error(r, z, y, out=self._stack.top.errors[r])
        self._stack.backward(r)
        self.below.backward(r)
        if r < self.steps:
            for moving in self._moving:
                moving.learn(r)
        return found

    def predict(self, x: Array, r: int) -> Array:
        """Predictions (T, Q, m) at theta_r for x (T, Q, n); keeps nothing."""
        return transpose(self._stack.predict(self.below.columns_for(x, r), r))

    def start_pull_back(self) -> None:
        """v = gradient of the last query loss, at theta_S."""
        for moving in self._moving:
            moving.start_pull_back()

    def pull_back(self, s: int) -> None:
        """v <- v - H_s (rho_s v) + the query losses at theta_s, H_s being the Hessian of the support loss there."""
        self.below.r_fill(s)
        rzs = self._stack.r_forward(s)
        self._tails[s].r_error(s, rzs[-1], out=self._stack.top.r_errors[s])
        self._stack.r_backward(s, rzs)
        self.below.r_backward(s)
        for moving in self._moving:
            moving.pulled_back(s)

    def follow(self, s: int) -> None:
        """First order: v stays but for the query losses at theta_s; rates get their gradient (section 12)."""
        for moving in self._moving:
            moving.follow(s)

    def gradient(self, out: Array, second_order: bool = True) -> Array:
        """Write v, summed over tasks (P,), to out. Without `second_order` only the query passes' part."""
        for layer, matrix in zip(self.layers, self.network.matrices(out), strict=True):
            layer.gradient(matrix, second_order)
        return out

    def moved(self, out: Array) -> Array:
        """Write theta_S - theta, summed over tasks (P,), to out, where all layers move at rate alpha."""
        for layer, matrix in zip(self.layers, self.network.matrices(out), strict=True):
            layer.moved(matrix)
        return out

    def head_gradient(self, out: Array) -> None:
        """Write the part of v that is the support head's, summed over tasks, to out."""
        self.layers[-1].of_support.gradient(self._head(out), second_order=True)

    def loss_gradient(self, out: Array) -> None:
        """Write the derivative with respect to a learned loss's parameters, summed over tasks, to out."""
        self._support_loss.gradient(out)
