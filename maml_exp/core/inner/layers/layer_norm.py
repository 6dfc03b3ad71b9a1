"""Layer normalisation between a layer and its activation, in every pass (docs/derivation.md, "Layer normalisation").

Of a point's m numbers z, without gain and bias (Ba et al. 2016, equation 3):

    y = (z - mean z) / sd          sd = sqrt(mean (z - mean z)^2 + epsilon)

Its Jacobian J is symmetric, and each of its products is a few means over the m numbers:

    J(u) = (u - mean u - y mean(y u)) / sd
    dz = J(dy)            R{y} = J(R{z})
    R{dz} = J(R{dy}) - (R{y} mean(y dy) + y mean(R{y} dy)) / sd - dz mean(y R{z}) / sd
"""

from __future__ import annotations

import numpy as np

from maml_exp.core.network import LAYER_NORM_EPSILON

Array = np.ndarray


def mean(a: Array) -> Array:
    """The mean over the last axis, which stays."""
    return np.add.reduce(a, axis=-1, keepdims=True) / a.shape[-1]


class NotNormalised:
    """What stands there without layer normalisation: everything passes unchanged."""

    def forward(self, r: int, z: Array) -> Array:
        """Z itself."""
        return z

    def backward(self, r: int, u: Array) -> None:
        """Leave the errors u as they are."""

    def r_forward(self, s: int, rz: Array) -> Array:
        """R{z} itself."""
        return rz

    def r_backward(self, s: int, ru: Array) -> None:
        """Leave R{u} as it is."""

    def columns(self, z: Array) -> None:
        """Leave z^T as it is."""


class LayerNorm:
    """The normalisation behind one layer, with what later passes need of the earlier ones.

    Args:
        step_count: S; R passes come to the first S passes alone.
        passes: how many there are.
    """

    def __init__(self, step_count: int, passes: int):
        self._step_count = step_count
        self._y: list[Array] = [np.empty(0)] * passes
        self._sd: list[Array] = [np.empty(0)] * passes
        self._dy, self._dz, self._ry, self._share = ([np.empty(0)] * step_count for _ in range(4))

    def forward(self, r: int, z: Array) -> Array:
        """Y (T, K, m) of z in pass r."""
        centred = z - mean(z)
        sd = self._sd[r] = np.sqrt(mean(centred * centred) + LAYER_NORM_EPSILON)
        centred /= sd
        self._y[r] = centred
        return centred

    def backward(self, r: int, u: Array) -> None:
        """Turn the errors u of y into those of z, in place."""
        if r < self._step_count:
            self._dy[r] = u.copy()
        u[...] = self._jacobian(r, u)
        if r < self._step_count:
            self._dz[r] = u

    def r_forward(self, s: int, rz: Array) -> Array:
        """R{y} of R{z} in pass s."""
        y, sd = self._y[s], self._sd[s]
        self._share[s] = mean(y * rz) / sd
        ry = self._ry[s] = self._jacobian(s, rz)
        return ry

    def r_backward(self, s: int, ru: Array) -> None:
        """Turn R{u} of y into that of z, in place."""
        y, ry, dy, sd = self._y[s], self._ry[s], self._dy[s], self._sd[s]
        moved = ry * mean(y * dy)
        moved += y * mean(ry * dy)
        moved /= sd
        moved += self._dz[s] * self._share[s]
        ru[...] = self._jacobian(s, ru)
        ru -= moved

    def columns(self, z: Array) -> None:
        """Normalise z^T (T, m, Q), one point a column, in place; nothing is kept."""
        z -= z.mean(axis=-2, keepdims=True)
        z /= np.sqrt((z * z).mean(axis=-2, keepdims=True) + LAYER_NORM_EPSILON)

    def _jacobian(self, r: int, u: Array) -> Array:
        """J(u) at pass r."""
        y = self._y[r]
        made = u - mean(u)
        made -= y * mean(y * u)
        made /= self._sd[r]
        return made


def normalisation(layer_norm: bool, step_count: int, passes: int) -> LayerNorm | NotNormalised:
    """What stands behind one layer."""
    return LayerNorm(step_count, passes) if layer_norm else NotNormalised()
