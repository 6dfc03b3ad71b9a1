"""The layers below the first one that moves, as one pass."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.below import Data
from maml_exp.core.inner.layers.layer import SharedLayer
from maml_exp.core.inner.layers.layer_norm import normalisation
from maml_exp.core.inner.passes import Pass
from maml_exp.core.inner.stack import Stack
from maml_exp.core.network import Network

Array = np.ndarray


class Trunk:
    """Features of all points of a meta-batch, the same in all steps ("A trunk that does not move").

    Nothing moves in it, so R{h} = 0, its inputs are the same h in every step, and the pairs (h, R{u_s}) of all steps
    are one pair (h, sum_s R{u_s}): one pass forward and one backward, however many steps there are.

    Args:
        network: of these layers; an activation stands behind its last one too.
        tasks, points: (T,) or (R, T), and the points of a task, support and query together.
        dtype: of everything.
    """

    def __init__(self, network: Network, tasks: tuple[int, ...], points: int, dtype: np.dtype):
        self.network = network
        passes = (Pass(0, points, 1.0),)
        self._layers = [
            SharedLayer(n, m, tasks, passes, dtype, bias_is_data=index == 0, constant_inputs=True)
            for index, (n, m) in enumerate(network.shapes)
        ]
        self._below = Data(self._layers[0])
        self._stack = Stack(self._layers, network, 0)
        self._norm = normalisation(network.layer_norm, 0, 1)  # of the last of them
        self._features, self._slope = (np.empty_like(self._stack.top.errors[0]) for _ in range(2))

    def bind(self, theta: Array) -> None:
        """Take the parameters of these layers."""
        for layer, matrix in zip(self._layers, self.network.matrices(theta), strict=True):
            layer.bind(matrix)

    def forward(self, x: Array) -> Array:
        """Features (T, K + Q, n') of x (T, K + Q, n), in a buffer that the next call uses again."""
        self._below.fill(0, x)
        z = self._norm.forward(0, self._stack.forward(0))
        h = self.network.activation.value(z, out=self._features)
        self.network.activation.slope(z, h, out=self._slope)
        return h

    def predict(self, x: Array) -> Array:
        """Features (T, G, n') of any x (T, G, n); nothing is kept."""
        z = self._stack.predict(self._below.columns_for(x, 0), 0)
        self._norm.columns(z)
        return transpose(self.network.activation.value(z, out=z))

    def gradient(self, errors: Array, out: Array) -> None:
        """Write the derivative with respect to the parameters, from that of the features (T, K + Q, n'), to out."""
        u = np.multiply(errors, self._slope, out=self._stack.top.errors[0])
        self._norm.backward(0, u)
        self._stack.backward(0)
        for layer, matrix in zip(self._layers, self.network.matrices(out), strict=True):
            layer.gradient(matrix, second_order=False)
