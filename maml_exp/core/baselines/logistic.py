"""Multinomial logistic regression on each task's support points alone, to convergence.

    minimise over A, b     - sum_k log p_k,label(k) + mu/2 |A|^2,     p = softmax(x A + b)

A lies in the span of the support points less their mean (the gradient does), so it is sought there: with the singular
values s and left vectors U of those, a point's coordinates are U s. Their columns are orthogonal to each other and to
the constant, so the curvature of every row of (A, b) is at most s^2 / 2 + mu (Boehning 1992), which gives its step;
momentum starts anew where it leads uphill (Nesterov 1983; O'Donoghue and Candes 2015). mu is chosen on training tasks.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.classes import ClassBaseline, error_rate

Array = np.ndarray
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # mu, in mean squared distances of support points from their mean
MOST_ITERATIONS, TOLERANCE = 3000, 1e-5  # of the gradient, relative to that at the start
FEWEST_OF_LARGEST = 1e-6  # singular values below it, relative to the largest, are rounding
TASKS_TO_CHOOSE = 40


class Baseline(ClassBaseline):
    """prediction = x A + b."""

    label = "logistic regression"
    penalty = PENALTIES[1]

    def prepare(self, shots: int) -> None:
        """Choose mu."""

        some = self.tasks[:TASKS_TO_CHOOSE]
        self.penalty = base.best_of(PENALTIES, lambda mu: error_rate(some, shots, partial(regression, penalty=mu)))

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return regression(x_support, y_support, x, self.penalty)


def regression(x_support: Array, y_support: Array, x: Array, penalty: float) -> Array:
    """Outputs (G, N) at x (G, n), with mu in mean squared distances of support points from their mean."""
    mean = x_support.mean(axis=0)
    left, scales, right = np.linalg.svd((x_support - mean).astype(np.float64), full_matrices=False)
    kept = scales > FEWEST_OF_LARGEST * scales.max(initial=0.0)
    coordinates = left[:, kept] * scales[kept]
    mu = penalty * float(np.sum(scales**2)) / len(x_support)
    weights = minimum(np.append(coordinates, np.ones((len(left), 1)), axis=1), y_support.astype(np.float64), mu)
    return (x - mean) @ right[kept].T @ weights[:-1] + weights[-1]


def minimum(rows: Array, y: Array, mu: float) -> Array:
    """The weights (r + 1, N) of rows (K, r + 1), whose columns are orthogonal and of which the last is constant."""
    penalty = np.full((rows.shape[1], 1), mu)
    penalty[-1] = 0
    steps = 1 / (np.sum(rows**2, axis=0)[:, None] / 2 + penalty)
    weights = ahead = np.zeros((rows.shape[1], y.shape[1]))
    age, enough = 0, 0.0
    for iteration in range(MOST_ITERATIONS):
        gradient = rows.T @ (_softmax(rows @ ahead) - y) + penalty * ahead
        size = float(np.abs(gradient).max())
        enough = enough if iteration else TOLERANCE * size
        if size <= enough:
            break
        before, weights = weights, ahead - steps * gradient
        age = 0 if np.vdot(gradient, weights - before) > 0 else age + 1
        ahead = weights + age / (age + 3) * (weights - before)
    return ahead


def _softmax(z: Array) -> Array:
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)
