"""The nearest class mean along the directions that part the training classes (Fisher's linear discriminant).

With W the covariance of points within their classes and B that of the classes' means, both of the training tasks, the
directions V solve

    B V = (W + rho I) V diag(lambda),     V^T (W + rho I) V = I

(Hastie, Tibshirani and Friedman 2009, section 4.3.3), the largest lambda first. rho and how many directions are used
are chosen on training tasks left out of W and B.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.classes import ClassBaseline, class_means, error_rate, squared_distances
from maml_exp.core.checks import SettingError

Array = np.ndarray
RIDGES = (0.01, 0.1, 1.0, 10.0)  # rho, in mean variances within classes
COUNTS = (5, 10, 20, 40, 80, 160, 320, 640)  # of directions
LEFT_OUT = 5  # every so many-th training task
MOST_INPUTS = 2000


class Scatter:
    """Covariances (n, n) within the classes of tasks and of their means, each about the mean of all."""

    def __init__(self, tasks: Sequence[base.Points]):
        means = [class_means(x, y) for x, y in tasks]
        residuals = np.concatenate([x - y @ own for (x, y), own in zip(tasks, means, strict=True)])
        centred = np.concatenate(means)
        centred = centred - centred.mean(axis=0)
        within = (residuals.T @ residuals).astype(np.float64) / len(residuals)
        self._variances, self._axes = np.linalg.eigh(within)
        self._between = (centred.T @ centred).astype(np.float64) / len(centred)

        self.directions = cache(self._directions)

    def _directions(self, ridge: float) -> Array:
        """V (n, n), with rho in mean variances."""
        scale = float(np.mean(self._variances)) or 1.0
        white = self._axes / np.sqrt(np.maximum(self._variances, 0) + ridge * scale)
        _, turns = np.linalg.eigh(white.T @ self._between @ white)
        return white @ turns[:, ::-1]


class Baseline(ClassBaseline):
    """prediction = minus the squared distance from each class's mean, along the directions alone."""

    label = "discriminant directions"

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks)
        inputs = tasks[0].x.shape[1]
        if inputs > MOST_INPUTS:
            raise SettingError(f"points have {inputs} inputs, and directions are found of {MOST_INPUTS} at most")
        if len(tasks) < LEFT_OUT:
            raise SettingError(f"there are {len(tasks)} training tasks, and it needs {LEFT_OUT}")
        self._left_out = tasks[::LEFT_OUT]
        self._others = Scatter([points for place, points in enumerate(tasks) if place % LEFT_OUT])
        self._whole = Scatter(tasks)
        self._inputs = inputs
        self.directions = self._whole.directions(RIDGES[0])

    def prepare(self, shots: int) -> None:
        """Choose rho and the number of directions."""
        counts = [count for count in COUNTS if count < self._inputs] or [self._inputs]

        def error(pair: tuple[float, int]) -> float:
            ridge, count = pair
            along = self._others.directions(ridge)[:, :count]
            return error_rate(self._left_out, shots, partial(nearest_along, along))

        ridge, count = base.best_of([(ridge, count) for ridge in RIDGES for count in counts], error)
        self.directions = self._whole.directions(ridge)[:, :count]

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return nearest_along(self.directions, x_support, y_support, x)


def nearest_along(directions: Array, x_support: Array, y_support: Array, x: Array) -> Array:
    """Minus squared distances (G, N) of points from classes' means, along directions (n, d)."""
    return -squared_distances(x @ directions, class_means(x_support @ directions, y_support))
