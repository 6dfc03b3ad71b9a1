"""Losses of a task: the error that passes send back, its derivative along v, and what is reported of it.

A loss L is the mean over a task's points of one term a point. With z (T, K, m) the network's outputs and d = dL/dz,
`factor * d` is what a pass needs: -alpha d of a support set, d / T of the query set. Where d is a number times a
residual, that number and the factor are one, so the product is made once:

    error      out = scale * residual            r_error    out = scale * R{residual}
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

Array = np.ndarray


class Loss(Protocol):
    """What passes, trainer and evaluation ask of a loss."""

    name: str  # for tables and axes, as in mean squared error
    unit: str  # of what it is the square of, "" where errors have none: tables then show their root, too

    def scale(self, factor: float, points: int, outputs: int) -> float:
        """The number by which residuals are multiplied to give factor * dL/dz, for so many points and outputs."""

    def error(self, z: Array, y: Array, scale: float, out: Array) -> Array:
        """Write factor * dL/dz at outputs z (T, K, m), targets y, to out; returns residuals for `mean`."""

    def r_error(self, rz: Array, scale: float, out: Array) -> None:
        """Write R{factor * dL/dz} to out, from R{z} (T, K, m)."""

    def mean(self, residual: Array) -> float:
        """The loss from residuals: the mean over points, then over tasks."""

    def by_task(self, prediction: Array, target: Array, weights: Array | None = None) -> Array:
        """The error (N,) of every task that evaluations report, over points of weight 1 (N, G), not 0; None: all."""

    def unadapted(self, target: Array, weights: Array | None = None) -> Array:
        """The error (N,) of the best constant prediction of every task: what `diverged` measures by."""


class SquaredError:
    """The mean squared error, over points and outputs: L = sum (z - y)^2 / (K m), dL/dz = 2 / (K m) (z - y)."""

    name = "mean squared error"
    unit = ""

    def scale(self, factor: float, points: int, outputs: int) -> float:
        """Factor times 2 / (K m)."""
        return factor * 2 / (max(points, 1) * outputs)

    def error(self, z: Array, y: Array, scale: float, out: Array) -> Array:
        """Write scale (z - y) to out; returns z - y."""
        residual = np.subtract(z, y)
        np.multiply(residual, scale, out=out)
        return residual

    def r_error(self, rz: Array, scale: float, out: Array) -> None:
        """Write scale R{z} to out: the target does not move."""
        np.multiply(rz, scale, out=out)

    def mean(self, residual: Array) -> float:
        """The mean square, over points and outputs, then over tasks."""
        flat = residual.reshape(-1)
        return flat.dot(flat).item() / flat.size

    def by_task(self, prediction: Array, target: Array, weights: Array | None = None) -> Array:
        """The mean square of every task (N,), over points (N, G, m) and outputs."""
        residual = self._reported(prediction - target)
        if weights is None:
            return np.mean(residual * residual, axis=(1, 2))
        squares = np.where(weights > 0, np.mean(residual * residual, axis=2), 0)  # what fills up may be infinite
        return squares.sum(axis=1) / weights.sum(axis=1)

    def unadapted(self, target: Array, weights: Array | None = None) -> Array:
        """The variance (N,) of every task's targets (N, G, m): what predicting their mean costs."""
        if weights is None:
            mean = target.mean(axis=1, keepdims=True)
        else:
            mean = (target * weights[..., None]).sum(axis=1, keepdims=True) / weights.sum(axis=1)[:, None, None]
        return self.by_task(mean, target, weights)

    def _reported(self, residual: Array) -> Array:
        """A residual (N, G, m) in the unit in which errors are reported."""
        return residual


class UnitsSquaredError(SquaredError):
    """The mean squared error of standardised outputs, reported in the data's own units.

    Args:
        scale: (m,), the standard deviations by which outputs were divided.
        unit: what the outputs are called.
    """

    def __init__(self, scale: Array, unit: str):
        self._scale, self.unit = scale, unit

    def _reported(self, residual: Array) -> Array:
        return residual * self._scale
