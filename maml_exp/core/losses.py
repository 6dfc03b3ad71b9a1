"""Losses of a task: the error that passes send back, its derivative along v, and what is reported of it.

A loss L is the mean over a task's points of one term a point. With z (T, K, m) the network's outputs and d = dL/dz,
`factor * d` is what a pass needs: -alpha d of a support set, d / T of the query set. d is a number times a residual,
prediction less target; that number and the factor are one, so the product is made once:

    error      out = scale * residual            r_error    out = scale * R{residual}

What is reported of a task may be something else: of classes, the share of points that are put into a wrong one.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from maml_exp.core.arrays import inner_product

Array = np.ndarray


class Measure(NamedTuple):
    """What tables and figures show of a reported error: start + slope * error.

    Everything that is computed and saved is an error, of which less is better.
    """

    name: str
    unit: str = ""
    start: float = 0.0
    slope: float = 1.0

    @property
    def label(self) -> str:
        """The name with its unit, for an axis or a title."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return self.slope < 0

    def of(self, error: Any) -> Any:
        """What is shown of errors, a number or an array."""
        return self.start + self.slope * error

    def shown(self, result: Any, difference: bool = False) -> Any:
        """Statistics, an estimate or an interval of errors, or of differences of errors, as they are shown."""
        start = 0.0 if difference else self.start
        found = result._asdict()
        for name in ("mean", "median", "p95", "iqm", "value", "low", "high", "iqm_low", "iqm_high"):
            if name in found:
                found[name] = start + self.slope * found[name]
        if "ci95" in found:
            found["ci95"] = abs(self.slope) * found["ci95"]
        for low, high in (("low", "high"), ("iqm_low", "iqm_high")):
            if self.rises and low in found:
                found[low], found[high] = found[high], found[low]
        return type(result)(**found)


MEAN_SQUARED_ERROR = Measure("mean squared error")
ACCURACY = Measure("accuracy", "%", 100.0, -100.0)
MEASURES = {measure.name: measure for measure in (MEAN_SQUARED_ERROR, ACCURACY)}


class Loss(Protocol):
    """What passes, trainer and evaluation ask of a loss."""

    name: str  # of what is trained with
    measure: Measure  # of what is reported
    unit: str  # of what it is the square of, "" where errors have none: tables then show their root, too
    by_point: bool = False  # arrays may have an axis of runs before that of tasks; `mean` is then a list, `total` (R,)

    def scale(self, factor: Any, points: int, outputs: int) -> Any:
        """The number by which residuals are multiplied to give factor * dL/dz, for so many points and outputs."""

    def error(self, z: Array, y: Array, scale: Any, out: Array) -> Any:
        """Write factor * dL/dz at outputs z (T, K, m), targets y, to out; returns what the next two need of it."""

    def r_error(self, rz: Array, found: Any, scale: Any, out: Array) -> None:
        """Write R{factor * dL/dz} to out, from R{z} (T, K, m) and what `error` found at z."""

    def total(self, found: Any, points: int | None = None) -> Array:
        """The sum, over (the first `points`) points and tasks, of which the loss is the mean: an array of no axes."""

    def mean(self, found: Any, points: int | None = None, total: Array | None = None) -> Any:
        """The loss from what `error` found: the mean over (the first `points`) points, then over tasks.

        `total`, what the method of that name finds, is not found again where it is given.
        """

    def means(self, found: Any) -> Array:
        """The loss of every task (T,) from what `error` found."""

    def by_task(self, prediction: Array, target: Array, weights: Array | None = None) -> Array:
        """The error (N,) of every task that evaluations report, over points of weight 1 (N, G), not 0; None: all."""

    def unadapted(self, target: Array, weights: Array | None = None) -> Array:
        """The error (N,) of the best constant prediction of every task: what `diverged` measures by."""


class SquaredError:
    """The mean squared error, over points and outputs: L = sum (z - y)^2 / (K m), dL/dz = 2 / (K m) (z - y)."""

    name = "mean squared error"
    measure = MEAN_SQUARED_ERROR
    by_point = True
    unit = ""

    def scale(self, factor: Any, points: int, outputs: int) -> Any:
        """Factor times 2 / (K m)."""
        return factor * 2 / (max(points, 1) * outputs)

    def error(self, z: Array, y: Array, scale: Any, out: Array) -> Array:
        """Write scale (z - y) to out; returns z - y."""
        residual = np.subtract(z, y)
        np.multiply(residual, scale, out=out)
        return residual

    def r_error(self, rz: Array, found: Array, scale: Any, out: Array) -> None:
        """Write scale R{z} to out: the target does not move."""
        np.multiply(rz, scale, out=out)

    def total(self, found: Array, points: int | None = None) -> Array:
        """The sum of squared residuals."""
        residual = found if points is None else found[..., :points, :]
        return inner_product(residual, residual)

    def mean(self, found: Array, points: int | None = None, total: Array | None = None) -> Any:
        """The mean square of residuals, over points and outputs, then over tasks."""
        *_, tasks, shots, outputs = found.shape
        total = self.total(found, points) if total is None else total
        return _share(total, tasks * _at_most(points, shots) * outputs)

    def means(self, found: Array) -> Array:
        """The mean square of every task's residuals (T,)."""
        return np.mean(found * found, axis=(1, 2))

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


class Softmax(NamedTuple):
    """What a cross-entropy is made of."""

    p: Array  # (T, K, N), the probability of every class
    terms: Array  # (T, K), -log p of the true class


class CrossEntropy:
    """The cross-entropy of N classes: L = -1/K sum_k sum_j y_kj log p_kj, p = softmax(z), y one-hot.

        dL/dz = (p - y) / K            R{p} = p R{z} - p <p, R{z}>

    Of a task the error rate is reported, the share of points whose largest output is not that of their class.
    """

    name = "cross-entropy"
    measure = ACCURACY
    by_point = True
    unit = ""

    def scale(self, factor: Any, points: int, outputs: int) -> Any:
        """Factor / K: classes are no mean."""
        return factor / max(points, 1)

    def error(self, z: Array, y: Array, scale: Any, out: Array) -> Softmax:
        """Write scale (p - y) to out; outputs are taken less the largest real part, so that none overflows."""
        shifted = z - np.max(z.real, axis=-1, keepdims=True)
        p = np.exp(shifted)
        total = np.add.reduce(p, axis=-1, keepdims=True)
        p /= total
        np.subtract(p, y, out=out)
        out *= scale
        return Softmax(p, np.log(total[..., 0]) - np.einsum("...j,...j->...", shifted, y))

    def r_error(self, rz: Array, found: Softmax, scale: Any, out: Array) -> None:
        """Write scale (p R{z} - p <p, R{z}>) to out."""
        np.multiply(found.p, rz, out=out)
        out -= found.p * np.add.reduce(out, axis=-1, keepdims=True)
        out *= scale

    def total(self, found: Softmax, points: int | None = None) -> Array:
        """The sum of -log p."""
        return np.add.reduce(found.terms if points is None else found.terms[..., :points], axis=(-2, -1))

    def mean(self, found: Softmax, points: int | None = None, total: Array | None = None) -> Any:
        """The mean of -log p, over points, then over tasks."""
        *_, tasks, shots = found.terms.shape
        total = self.total(found, points) if total is None else total
        return _share(total, max(tasks * _at_most(points, shots), 1))

    def means(self, found: Softmax) -> Array:
        """The mean of -log p over every task's points (T,)."""
        return found.terms.mean(axis=1)

    def by_task(self, prediction: Array, target: Array, weights: Array | None = None) -> Array:
        """The error rate (N,) of every task; NaN where an output is not finite."""
        wrong = (prediction.argmax(axis=2) != target.argmax(axis=2)).astype(np.float64)
        wrong[~np.isfinite(prediction).all(axis=2)] = np.nan
        if weights is None:
            return wrong.mean(axis=1)
        return np.where(weights > 0, wrong, 0).sum(axis=1) / weights.sum(axis=1)  # what fills up may be anything

    def unadapted(self, target: Array, weights: Array | None = None) -> Array:
        """The error rate (N,) of always naming the most frequent class: with as many of each, 1 - 1/N."""
        counts = (target if weights is None else target * weights[..., None]).sum(axis=1)
        return 1 - counts.max(axis=1) / counts.sum(axis=1)


def _at_most(points: int | None, shots: int) -> int:
    """How many the first `points` of K are."""
    return shots if points is None else min(points, shots)


def _share(total: Array, count: int) -> Any:
    """A sum over its number of terms, a number; of runs in lockstep, (R,), a list."""
    numbers = total.tolist()
    return [number / count for number in numbers] if total.ndim else numbers / count


def mean_loss(loss: Loss, z: Array, y: Array) -> float:
    """What outputs z (T, K, m) cost."""
    return loss.mean(loss.error(z, y, 1.0, out=np.empty_like(z)))
