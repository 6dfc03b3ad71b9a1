"""An inner loop that is open: it gives gradients, and somebody else says where they lead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.below import Data
from maml_exp.core.inner.layers.written import WrittenLayer
from maml_exp.core.inner.passes import Pass, step_count
from maml_exp.core.inner.stack import Stack
from maml_exp.core.inner.tails import GivenLoss
from maml_exp.core.losses import Loss
from maml_exp.core.network import Network

Array = np.ndarray


class OpenLoop:
    """The passes of a meta-batch at weights theta_r (T, P) that are written one after the other.

    Args:
        network: sizes and activation.
        loss: of support and query set.
        tasks: T.
        passes: S support passes, then the query passes; errors of either are factor * dL/dz.
        dtype: of everything.

    Attributes:
        loss: as given.
        steps: S.
        pass_count: S, and the number of query passes.
    """

    def __init__(self, network: Network, loss: Loss, tasks: int, passes: Sequence[Pass], dtype: np.dtype):
        self.network, self.loss = network, loss
        self.steps, self.pass_count = step_count(passes), len(passes)
        self._layers = [
            WrittenLayer(n, m, (tasks,), passes, dtype, bias_is_data=index == 0, constant_inputs=index == 0)
            for index, (n, m) in enumerate(network.shapes)
        ]
        self._stack = Stack(self._layers, network, self.steps)
        self._below = Data(self._layers[0])
        self._tail = GivenLoss(loss, passes, network.sizes[-1], dtype)
        self._flat = (tasks, network.parameter_count)

    def bind(self, theta: Array) -> None:
        """Take theta_0 (P,), the same for all tasks, which must not change until the next `bind`."""
        self._start = theta
        for layer, matrix in zip(self._layers, self.network.matrices(theta), strict=True):
            layer.bind(matrix)

    def start(self) -> Array:
        """theta_0 of every task (T, P), a copy."""
        return np.tile(self._start, (self._flat[0], 1))

    def write(self, r: int, thetas: Array) -> None:
        """Take theta_r (T, P), r > 0."""
        for layer, matrices in zip(self._layers, self.network.task_matrices(thetas), strict=True):
            layer.write(r, matrices)

    def run_pass(self, r: int, x: Array, y: Array) -> Any:
        """Forward and backward in pass r, for x (T, K, n) and y (T, K, m); returns what `Loss.mean` takes."""
        self._below.fill(r, x)
        z = self._stack.forward(r)
        found = self._tail.error(r, z, y, out=self._stack.top.errors[r])
        self._stack.backward(r)
        return found

    def predict(self, x: Array, r: int) -> Array:
        """Predictions (T, Q, m) at theta_r for x (T, Q, n); keeps nothing."""
        return transpose(self._stack.predict(self._below.columns_for(x, r), r))

    def gradients(self, r: int) -> Array:
        """Factor times the gradient of the loss of pass r, which was run, of every task (T, P)."""
        return self._together([layer.task_gradient(r) for layer in self._layers])

    def hessian_products(self, s: int, directions: Array) -> Array:
        """Factor times the Hessian of the loss of support pass s times a direction, of every task, both (T, P)."""
        for layer, matrices in zip(self._layers, self.network.task_matrices(directions), strict=True):
            layer.direct(matrices)
        rzs = self._stack.r_forward(s)
        self._tail.r_error(s, rzs[-1], out=self._stack.top.r_errors[s])
        self._stack.r_backward(s, rzs)
        return self._together([layer.hessian_product(s) for layer in self._layers])

    def _together(self, matrices: Sequence[Array]) -> Array:
        """Every layer's (T, n + 1, m) as (T, P)."""
        flat = np.empty(self._flat, matrices[0].dtype)
        for part, of_layer in zip(self.network.task_matrices(flat), matrices, strict=True):
            part[...] = of_layer
        return flat
