"""A multilayer perceptron over rows, forward and backward: what learners that do not descend are built of."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import rows_product
from maml_exp.core.network import Network

Array = np.ndarray


class Dense:
    """One pass of a network over rows (docs/learners.md, "Dense layers").

        z = h W + 1 b        h' = f(z), but behind the last layer
        dW = h^T dz          db = 1^T dz          dh = dz W^T          dz = f'(z) * dh'

    Args:
        network: sizes and activation.
        theta: its parameters (P,).
        x: rows (R, n).

    Attributes:
        output: (R, m).
    """

    def __init__(self, network: Network, theta: Array, x: Array):
        self._network, self._matrices = network, network.matrices(theta)
        self._inputs, self._sums = [x], []
        for number, matrix in enumerate(self._matrices, start=1):
            z = self._inputs[-1] @ matrix[:-1]
            z += matrix[-1]
            self._sums.append(z)
            if number < len(self._matrices):
                self._inputs.append(network.activation.value(z))
        self.output: Array = self._sums[-1]

    def backward(self, d: Array, out: Array, to_input: bool = True) -> Array:
        """Write the derivative with respect to theta to out (P,), from that of the output, d (R, m).

        Returns that of x (R, n), or where it is not asked for (`to_input`) nothing of use.
        """
        activation, ones = self._network.activation, np.ones(len(d), d.dtype)
        gradients = self._network.matrices(out)
        for layer in reversed(range(len(gradients))):
            rows_product(self._inputs[layer], d, gradients[layer][:-1])
            np.dot(ones, d, out=gradients[layer][-1])
            if layer or to_input:
                d = d @ self._matrices[layer][:-1].T
            if layer:
                d *= activation.slope(self._sums[layer - 1], self._inputs[layer])
        return d
