"""Training tasks as curves: their mean, and each of them at any input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.baselines.base import Points
from maml_exp.core.checks import SettingError

Array = np.ndarray
MOST_SHARED = 2000  # different inputs
SHARE = 0.5  # of the tasks that have an input, on average, where tasks share inputs
ROWS_IN_BIN, MOST_BINS = 20, 50


def shared_inputs(tasks: Sequence[Points]) -> Array | None:
    """The inputs (G, n), in order, that tasks share; None where each has its own."""
    found = np.unique(np.concatenate([x for x, _ in tasks]), axis=0)
    rows = sum(len(x) for x, _ in tasks)
    return found if len(found) <= MOST_SHARED and rows >= SHARE * len(tasks) * len(found) else None


def weights_between(nodes: Array, x: Array) -> Array:
    """The matrix (Q, G) that interpolates from nodes (G, n) to x (Q, n).

    Of one input linearly, and constant beyond the ends; of several the nearest node is taken.
    """
    rows = np.arange(len(x))
    matrix = np.zeros((len(x), len(nodes)))
    if nodes.shape[1] > 1:
        distances = ((x[:, None] - nodes) ** 2).sum(axis=2)
        matrix[rows, distances.argmin(axis=1)] = 1
        return matrix
    ends, at = nodes[:, 0], np.clip(x[:, 0], nodes[0, 0], nodes[-1, 0])
    right = np.clip(np.searchsorted(ends, at), 1, max(1, len(ends) - 1))
    if len(ends) == 1:
        matrix[:] = 1
        return matrix
    share = (at - ends[right - 1]) / (ends[right] - ends[right - 1])
    matrix[rows, right - 1] = 1 - share
    matrix[rows, right] = share
    return matrix


class MeanCurve:
    """The mean of the training tasks at any input.

    Of shared inputs the mean at each; else of one input the means of bins of as many rows, joined by lines; of several
    inputs a quadratic by least squares.
    """

    def __init__(self, tasks: Sequence[Points]):
        x, y = (np.concatenate([points[part] for points in tasks]) for part in (0, 1))
        shared = shared_inputs(tasks)
        self._coefficients = None
        if shared is not None:
            self._nodes, place = np.unique(x, axis=0, return_inverse=True)
            self._values = _means(y, place.reshape(-1), len(self._nodes))
        elif x.shape[1] == 1:
            order = np.argsort(x[:, 0], kind="stable")
            bins = np.array_split(order, int(np.clip(len(x) // ROWS_IN_BIN, 1, MOST_BINS)))
            self._nodes = np.stack([x[rows].mean(axis=0) for rows in bins])
            self._values = np.stack([y[rows].mean(axis=0) for rows in bins])
        else:
            self._coefficients = np.linalg.lstsq(_quadratic(x), y, rcond=None)[0]

    def __call__(self, x: Array) -> Array:
        """The mean (Q, m) at x (Q, n)."""
        if self._coefficients is not None:
            return _quadratic(x) @ self._coefficients
        return weights_between(self._nodes, x) @ self._values


def _means(y: Array, place: Array, count: int) -> Array:
    sums = np.zeros((count, y.shape[1]))
    np.add.at(sums, place, y)
    return sums / np.bincount(place, minlength=count)[:, None]


def _quadratic(x: Array) -> Array:
    return np.concatenate([np.ones((len(x), 1)), x, x**2], axis=1)


def as_curve(points: Points) -> tuple[Array, Array]:
    """The different inputs (G, n) of a task, in order, and the mean of its outputs (G, m) at each."""
    nodes, place = np.unique(points.x, axis=0, return_inverse=True)
    return nodes, _means(points.y, place.reshape(-1), len(nodes))


def whole_curves(tasks: Sequence[Points]) -> tuple[Array, Array]:
    """Shared inputs (G, n), and the curves (T, G, m) of the tasks that have all of them.

    Raises `SettingError` where tasks do not share inputs, or few of them have all.
    """
    shared = shared_inputs(tasks)
    if shared is None:
        raise SettingError("training tasks do not share inputs")
    whole = [points for points in tasks if len(np.unique(points.x, axis=0)) == len(shared)]
    if len(whole) < max(3, len(tasks) // 2):
        raise SettingError(f"{len(whole)} of {len(tasks)} training tasks have all of the {len(shared)} shared inputs")
    return shared, np.stack([as_curve(points)[1] for points in whole])
