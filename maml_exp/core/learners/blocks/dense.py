"""A multilayer perceptron over rows, forward and backward: what learners that do not descend are built of."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import Workspace, flat, rows_product
from maml_exp.core.network import Network

Array = np.ndarray


class Dense:
    """One pass of a network over the points of tasks (docs/learners.md, "Dense layers").

        z = h W + 1 b        h' = f(z), but behind the last layer
        dW = h^T dz          db = 1^T dz          dh = dz W^T          dz = f'(z) * dh'

    What is the same for all points of a task is multiplied once a task: inputs that they share, and the mean over
    points, which may as well be taken before the last layer, for that is linear.

    Args:
        network: sizes and activation.
        theta: its parameters (P,).
        x: points (T, K, n).
        shared: further inputs (T, r), which stand before those of each of a task's points.
        pooled: whether the output is the mean over a task's points.
        workspace: holds all of the pass, until the next one with it.

    Attributes:
        output: (T, K, m), or (T, m) if it is pooled.
    """

    def __init__(
        self,
        network: Network,
        theta: Array,
        x: Array,
        shared: Array | None = None,
        pooled: bool = False,
        workspace: Workspace | None = None,
    ):
        self._activation, self._network, self._matrices = network.activation, network, network.matrices(theta)
        self._shape, self._shared, self._pooled, self._dtype = x.shape[:2], shared, pooled, theta.dtype
        self._workspace = workspace or Workspace()
        self._inputs, self._sums, self._behind = [flat(x)], [], []  # h, z and f(z), of every layer
        last = len(self._matrices) - 1
        for layer, matrix in enumerate(self._matrices):
            if layer == last and pooled:
                self._inputs[-1] = self._by_task(self._inputs[-1]).mean(axis=1)
            self._sums.append(self._forward(layer, matrix))
            if layer < last:
                out = self._rows(f"h{layer}", *self._sums[-1].shape)
                self._behind.append(self._activation.value(self._sums[-1], out=out))
                self._inputs.append(self._behind[-1])
        self.output: Array = self._sums[-1] if pooled else self._by_task(self._sums[-1])

    def _rows(self, name: str, rows: int, width: int) -> Array:
        return self._workspace.empty(name, (rows, width), self._dtype)

    def _by_task(self, rows: Array) -> Array:
        return rows.reshape(*self._shape, -1)

    def _forward(self, layer: int, matrix: Array) -> Array:
        inputs = self._inputs[layer]
        z = self._rows(f"z{layer}", len(inputs), matrix.shape[1])
        if layer or self._shared is None:
            np.matmul(inputs, matrix[:-1], out=z)
            z += matrix[-1]
            return z
        width = self._shared.shape[1]
        np.matmul(inputs, matrix[width:-1], out=z)
        by_task = self._by_task(z)
        by_task += (self._shared @ matrix[:width] + matrix[-1])[:, None]
        return z

    def backward(self, d: Array, out: Array, to_input: bool = False) -> Array:
        """Write the derivative with respect to theta to out (P,), from that of the output, d.

        Returns that of the shared inputs (T, r), or if `to_input`, where there are none, that of x (T, K, n).
        """
        gradients, d = self._network.matrices(out), d if self._pooled else flat(d)
        for layer in range(len(gradients) - 1, 0, -1):
            _write_gradient(self._inputs[layer], d, gradients[layer])
            d = self._through(layer, d)
            slope = self._rows("slope", *d.shape)
            d *= self._activation.slope(self._sums[layer - 1], self._behind[layer - 1], out=slope)
        if self._shared is None:
            _write_gradient(self._inputs[0], d, gradients[0])
            return self._by_task(self._through(0, d)) if to_input else d
        width, together = self._shared.shape[1], self._by_task(d).sum(axis=1)
        rows_product(self._inputs[0], d, gradients[0][width:-1])
        rows_product(self._shared, together, gradients[0][:width])
        np.sum(together, axis=0, out=gradients[0][-1])
        return together @ self._matrices[0][:width].T

    def _through(self, layer: int, d: Array) -> Array:
        """That of a layer's inputs, before the mean if there is one, from that of its outputs."""
        weights = self._matrices[layer][:-1]
        if self._pooled and layer == len(self._matrices) - 1:
            spread = self._rows(f"d{layer}", self._shape[0] * self._shape[1], len(weights))
            np.copyto(self._by_task(spread), (d @ weights.T / self._shape[1])[:, None])
            return spread
        return np.matmul(d, weights.T, out=self._rows(f"d{layer}", len(d), len(weights)))


def _write_gradient(inputs: Array, d: Array, out: Array) -> None:
    """Write [h^T dz; 1^T dz] to out."""
    rows_product(inputs, d, out[:-1])
    np.dot(np.ones(len(d), d.dtype), d, out=out[-1])
