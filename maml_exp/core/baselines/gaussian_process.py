"""A Gaussian process about the mean curve: a Matern kernel (nu = 5/2) whose hyperparameters suit the training tasks.

Residuals r of a task from the mean curve are N(0, s^2 (M + rho I)), with M the kernel of its inputs at length l. With
the eigenvalues e and vectors U of M, and c = U^T r, the logarithm of the likelihood at the best s^2 is, but for
constants, of all tasks together (Rasmussen and Williams 2006, section 5.4.1)

    -1/2 (N log s^2 + sum log(e + rho)),     s^2 = sum c^2 / (e + rho) / N

so one decomposition a length serves every rho. The prediction is mean(x) + M_xs (M_ss + rho I)^-1 r_s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.curves import MeanCurve

Array = np.ndarray
LENGTHS = np.geomspace(0.03, 100, 24)  # in standard deviations of the inputs
NOISES = np.geomspace(1e-8, 1, 25)  # rho
MOST_TASKS, MOST_ROWS = 60, 60  # of the likelihood
ROOT5 = math.sqrt(5)


def matern(x: Array, other: Array, length: float) -> Array:
    """The kernel (K, G) of nu = 5/2: (1 + d + d^2 / 3) exp(-d), d = sqrt(5) |x - x'| / length."""
    distance = ROOT5 * np.sqrt(((x[:, None] - other) ** 2).sum(axis=2)) / length
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


class Baseline(base.Baseline):
    """The mean of the Gaussian process given the support points; outputs share length and rho."""

    label = "Gaussian process"

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks)
        self._mean = MeanCurve(tasks)
        rng = np.random.default_rng(base.EPISODE_SEED)
        some = []
        for x, y in tasks[:MOST_TASKS]:
            rows = np.sort(rng.permutation(len(x))[:MOST_ROWS])
            some.append((x[rows], y[rows] - self._mean(x[rows])))
        self.length, self.noise = best_hyperparameters(some)

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        kernel = matern(x_support, x_support, self.length) + self.noise * np.eye(len(x_support))
        weights = np.linalg.solve(kernel, y_support - self._mean(x_support))
        return self._mean(x) + matern(x, x_support, self.length) @ weights


def best_hyperparameters(tasks: Sequence[tuple[Array, Array]]) -> tuple[float, float]:
    """Length and rho with the largest likelihood of residuals (K, m) at inputs (K, n)."""
    found = []
    for length in LENGTHS:
        likelihoods = log_likelihoods(tasks, length)
        best = int(np.argmax(likelihoods))
        found.append((likelihoods[best], float(length), float(NOISES[best])))
    _, length, noise = max(found)
    return length, noise


def log_likelihoods(tasks: Sequence[tuple[Array, Array]], length: float) -> Array:
    """Of all residuals together, at the best s^2, for every rho of NOISES, but for constants."""
    squares, logs, count = np.zeros(len(NOISES)), np.zeros(len(NOISES)), 0
    known: dict[bytes, tuple[Array, Array]] = {}  # tasks often share their inputs
    for x, residual in tasks:
        key = x.tobytes()
        if key not in known:
            known = {key: np.linalg.eigh(matern(x, x, length))}
        values, vectors = known[key]
        variances = np.maximum(values, 0) + NOISES[:, None]  # (rhos, K)
        squares += ((vectors.T @ residual) ** 2).sum(axis=1) @ (1 / variances).T
        logs += residual.shape[1] * np.log(variances).sum(axis=1)
        count += residual.size
    return -0.5 * (count * np.log(squares / count) + logs)
