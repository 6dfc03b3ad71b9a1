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

    def scale(self, factor: float, points: int, outputs: int) -> float:
        """The number by which residuals are multiplied to give factor * dL/dz, for so many points and outputs."""

    def error(self, z: Array, y: Array, scale: float, out: Array) -> Array:
        """Write factor * dL/dz at outputs z (T, K, m), targets y, to out; returns residuals for `mean`."""

    def r_error(self, rz: Array, scale: float, out: Array) -> None:
        """Write R{factor * dL/dz} to out, from R{z} (T, K, m)."""

    def mean(self, residual: Array) -> float:
        """The loss from residuals: the mean over points, then over tasks."""

    def by_task(self, prediction: Array, target: Array) -> Array:
        """The error (N,) of every task that evaluations report."""

    def unadapted(self, target: Array) -> Array:
        """The error (N,) of the best constant prediction of every task: what `diverged` measures by."""


class SquaredError:
    """The mean squared error, over points and outputs: L = sum (z - y)^2 / (K m), dL/dz = 2 / (K m) (z - y)."""

    name = "mean squared error"

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

    def by_task(self, prediction: Array, target: Array) -> Array:
        """The mean square of every task (N,), over points (N, G, m) and outputs."""
        residual = prediction - target
        return np.mean(residual * residual, axis=(1, 2))

    def unadapted(self, target: Array) -> Array:
        """The variance (N,) of every task's targets (N, G, m): what predicting their mean costs."""
        return self.by_task(target.mean(axis=1, keepdims=True), target)
