"""A cell of long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000), forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from maml_exp.core.arrays import Workspace
from maml_exp.core.network import INITIALIZERS

Array = np.ndarray
FORGET_BIAS = 1.0  # so that a new cell remembers (Gers et al. 2000)


class Cell:
    """What many memories of the same weights do in one step; docs/learners.md, "A network that reads".

    A step takes a = [u h 1] theta to gates i, f, o = sigmoid(a), g = tanh(a), and

        c' = f c + i g        h' = o tanh(c')

    Everything is kept transposed, with a column for every memory: so gates lie together, and a step is one product.

    Args:
        theta: [W_u; W_h; b] (n + H + 1, 4 H), columns of the gates i, f, o and of the proposal g.
        workspace: holds what a step back needs for itself.

    Attributes:
        units: H.
        inputs: n.
        weights: theta^T (4 H, n + H + 1), rows of the gates halved: sigmoid(a) = (1 + tanh(a / 2)) / 2.
    """

    def __init__(self, theta: Array, workspace: Workspace):
        self.units = theta.shape[1] // 4
        self.inputs = len(theta) - self.units - 1
        self.weights = np.ascontiguousarray(theta.T)
        self.weights[: 3 * self.units] *= 0.5
        self._w_h = theta[self.inputs : -1]
        self._workspace = workspace

    def step(self, a: Array, c: Array, c_next: Array, tanh_c: Array, h: Array) -> None:
        """Make gates of a (4 H, ...), in place, its first three parts halved; write c', tanh(c') and h'."""
        np.tanh(a, out=a)
        sigmoids = a[: 3 * self.units]
        sigmoids += 1
        sigmoids *= 0.5
        i, f, o, g = self._parts(a)
        np.multiply(f, c, out=c_next)
        c_next += np.multiply(i, g, out=h)
        np.tanh(c_next, out=tanh_c)
        np.multiply(o, tanh_c, out=h)

    def _parts(self, a: Array) -> list[Array]:
        """The parts of a that are i, f, o and g."""
        return [a[start : start + self.units] for start in range(0, 4 * self.units, self.units)]

    def step_back(self, gates: Array, c: Array, tanh_c: Array, dh: Array, dc: Any, da: Array) -> Array:
        """Write da (4 H, ...) from the derivatives of h' and c'; returns that of c.

        With dc = dc' + dh o (1 - tanh^2 c'):  da = [dc g i (1 - i), dc c f (1 - f), dh tanh(c') o (1 - o),
        dc i (1 - g^2)], parts as in a; what goes back to c is dc f.
        """
        i, f, o, g = self._parts(gates)
        da_i, da_f, da_o, da_g = self._parts(da)
        dc_next = _slope_of_tanh(tanh_c, self._empty("dc", dh))
        dc_next *= o
        dc_next *= dh
        dc_next += dc
        np.multiply(dc_next, g, out=da_i)
        np.multiply(dc_next, c, out=da_f)
        np.multiply(dh, tanh_c, out=da_o)
        sigmoids = gates[: 3 * self.units]
        slope = np.subtract(1, sigmoids, out=self._empty("slope", sigmoids))
        slope *= sigmoids
        da[: 3 * self.units] *= slope
        _slope_of_tanh(g, da_g)
        da_g *= i
        da_g *= dc_next
        return dc_next * f

    def into_h(self, da: Array) -> Array:
        """The derivative of h (H, T) from that of a (4 H, T)."""
        return self._w_h @ da

    def _empty(self, name: str, like: Array) -> Array:
        return self._workspace.empty(name, like.shape, like.dtype)


def _slope_of_tanh(value: Array, out: Array) -> Array:
    """1 - tanh^2, from the tanh."""
    np.multiply(value, value, out=out)
    return np.subtract(1, out, out=out)


def initial_cell(initializer: str, rng: np.random.Generator, inputs: int, units: int) -> Array:
    """theta (n + H + 1, 4 H) as an initializer draws it, the bias of the forget gate larger by 1."""
    theta = INITIALIZERS[initializer](rng, inputs + units, 4 * units)
    theta[-1, units : 2 * units] += FORGET_BIAS
    return theta
