"""Forward, backward and R passes of a network whose weights the inner loop moves.

The inner loop is gradient descent on the support loss, theta_{r+1} = theta_r - alpha g_r (Finn et al.
2017, equation 1), for all tasks of a meta-batch at once. Pulling a vector v back through step s needs
the support loss's Hessian at theta_s times v, by Pearlmutter's R operator (Pearlmutter 1994): the
derivative of the forward and the backward pass along v.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.inner.choice import make_layer
from maml_exp.core.losses import Loss
from maml_exp.core.network import Network

Array = np.ndarray


class InnerLoop:
    """All passes of a meta-batch, with buffers that live across iterations (docs/derivation.md, sections 2 to 9).

    Passes 0 .. S-1 run on the support set at theta_0 .. theta_{S-1}, pass S on the query set at theta_S.

    Args:
        network: sizes and activation.
        tasks: T.
        points: points a task of every pass: K for S support passes, then Q.
        inner_lr: alpha.
        dtype: float32, float64 or complex128; everything given must have it.
        loss: of the support and the query set.
        pairs: force one representation of the adapted weights; None chooses layer by layer.
    """

    def __init__(
        self,
        network: Network,
        tasks: int,
        points: Sequence[int],
        inner_lr: float,
        dtype: np.dtype | type | str,
        loss: Loss,
        pairs: bool | None = None,
    ):
        self.network, self.tasks, self.points, self.loss = network, tasks, tuple(points), loss
        self._activation = network.activation
        self.dtype, self.steps = np.dtype(dtype), len(points) - 1
        self.layers = [
            make_layer(n, m, tasks, points, self.dtype, ones=(index == 0), pairs=pairs)
            for index, (n, m) in enumerate(network.shapes)
        ]
        # where x goes: the first layer's inputs but for their constant one
        self._data = [inputs[..., :-1] for inputs in self.layers[0].inputs]
        for inputs in self.layers[0].inputs:
            inputs[..., -1] = 1
        # d loss / dz of the output, times -alpha in a support pass (errors are kept as u = -alpha d) and
        # 1 / T in the query pass (the mean over tasks)
        outputs = network.sizes[-1]
        factors = [-inner_lr] * self.steps + [1 / tasks]
        self._scales = [loss.scale(f, k, outputs) for f, k in zip(factors, points, strict=True)]
        # layer i and the one above it, whose inputs are behind activation i
        self._from_the_top = list(enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)))[::-1]
        self._slopes = [[np.empty_like(h) for h in layer.inputs] for layer in self.layers[1:]]
        self._hidden: dict[int, Array] = {}  # of predictions
        self._backs: dict[tuple[int, int], Array] = {}  # u W^T before f'(z): only f'' needs them again

    def bind(self, theta: Array) -> None:
        """Start from theta (P,), which must not change until the next `bind`."""
        for layer, matrix in zip(self.layers, self.network.matrices(theta), strict=True):
            layer.bind(matrix)

    def run_pass(self, r: int, x: Array, y: Array) -> Array:
        """Forward and backward at theta_r; returns the loss's residuals (T, K, m).

        x is (T, K, n), y is (T, K, m). In a support pass it also makes the step to theta_{r+1}.
        """
        residual = self.loss.error(self._forward(r, x), y, self._scales[r], out=self.layers[-1].errors[r])
        self._backward(r)
        return residual

    def _forward(self, r: int, x: Array) -> Array:
        """Predictions (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        self._data[r][...] = x
        z = self.layers[0].forward(r)
        for layer, slopes in zip(self.layers[1:], self._slopes, strict=True):
            h = self._activation.value(z, out=layer.inputs[r])
            self._activation.slope(z, h, out=slopes[r])
            z = layer.forward(r)
        return z

    def _backward(self, r: int) -> None:
        support = r < self.steps
        for index, (below, layer) in self._from_the_top:
            u = layer.backward(r, out=below.errors[r])
            if support and self._activation.curvature:
                self._backs[index, r] = u.copy()
            u *= self._slopes[index][r]
        if support:
            for layer in self.layers:
                layer.learn(r)

    def predict(self, x: Array, r: int) -> Array:
        """Predictions (T, Q, m) at theta_r for x (T, Q, n); keeps nothing but buffers of its hidden layers."""
        h = np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)
        for index, layer in enumerate(self.layers[:-1]):
            z = layer.predict(h, r, out=self._buffer(index, (*x.shape[:2], layer.m)))
            h = self._activation.value(z, out=z)
        return self.layers[-1].predict(h, r)

    def _buffer(self, index: int, shape: tuple[int, ...]) -> Array:
        """An array that the next prediction of this shape uses again: one allocated anew costs page faults."""
        kept = self._hidden.get(index)
        if kept is None or kept.shape != shape:
            kept = self._hidden[index] = np.empty(shape, self.dtype)
        return kept

    def start_pull_back(self) -> None:
        """v = gradient of the query loss at theta_S (section 6)."""
        for layer in self.layers:
            layer.start_pull_back()

    def pull_back(self, s: int) -> None:
        """v <- v - alpha H_s v, with H_s the Hessian of the support loss at theta_s (section 7)."""
        rzs = self._r_forward(s)
        self._r_backward(s, rzs)
        for layer in self.layers:
            layer.pulled_back(s)

    def _r_forward(self, s: int) -> list[Array]:
        """R{z} of every layer: R{x} = 0, R{z} = R{h} W + h V + c, R{h'} = f'(z) R{z} (section 8)."""
        rzs = [self.layers[0].r_forward(s)]
        for layer, slopes in zip(self.layers[1:], self._slopes, strict=True):
            np.multiply(slopes[s], rzs[-1], out=layer.r_inputs[s])
            rzs.append(layer.r_forward(s))
        return rzs

    def _r_backward(self, s: int, rzs: list[Array]) -> None:
        """R{u'} = (R{u} W^T + u V^T) f'(z) + (u W^T) f''(z) R{z}; at the output the loss's own (section 8)."""
        curvature = self._activation.curvature
        self.loss.r_error(rzs[-1], self._scales[s], out=self.layers[-1].r_errors[s])
        for index, (below, layer) in self._from_the_top:
            slope = self._slopes[index][s]
            ru = np.multiply(layer.r_backward(s), slope, out=below.r_errors[s])
            if curvature:
                ru += self._backs[index, s] * curvature(layer.inputs[s], slope) * rzs[index]

    def gradient(self, out: Array, second_order: bool = True) -> Array:
        """Write v, summed over tasks (P,), to out (section 10); without `second_order` the query pass's part (12)."""
        for layer, matrix in zip(self.layers, self.network.matrices(out), strict=True):
            layer.gradient(matrix, second_order)
        return out
