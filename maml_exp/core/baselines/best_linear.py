"""The best linear predictor, from the training tasks' own mean and covariance (functional principal components, BLUP).

With mean mu and covariance C of the training curves at their shared inputs,

    prediction = mu(x) + C_xs (C_ss + rho I)^-1 (y_s - mu_s)

(Yao, Mueller and Wang 2005, equation 5, where C is kept whole). rho, chosen on training tasks left out of C, stands for
what two points too near each other do not tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.curves import weights_between, whole_curves

Array = np.ndarray
NOISES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # rho, in mean variances of the curves
FOLDS = 5


class Moments:
    """Mean (G m,) and covariance (G m, G m) of curves (T, G, m) at inputs (G, n)."""

    def __init__(self, nodes: Array, curves: Array):
        flat = curves.reshape(len(curves), -1)
        self.nodes, self.outputs = nodes, curves.shape[2]
        self.mean = flat.mean(axis=0)
        deviations = flat - self.mean
        self.covariance = deviations.T @ deviations / max(1, len(curves) - 1)

    def at(self, x: Array) -> Array:
        """The matrix (Q m, G m) that takes curves to x (Q, n)."""
        return np.kron(weights_between(self.nodes, x), np.eye(self.outputs))

    def predict(self, x_support: Array, y_support: Array, x: Array, noise: float) -> Array:
        """Predictions (Q, m) with rho in mean variances."""
        support, query = self.at(x_support), self.at(x)
        cross = self.covariance @ support.T
        scale = float(np.trace(self.covariance)) / len(self.mean) or 1.0
        gram = support @ cross + noise * scale * np.eye(len(support))
        weights = np.linalg.solve(gram, y_support.reshape(-1) - support @ self.mean)
        return (query @ (self.mean + cross @ weights)).reshape(len(x), self.outputs)


class Baseline(base.Baseline):
    """The conditional mean, if curves were normally distributed."""

    label = "best linear (BLUP)"

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks)
        self._nodes, self._curves = whole_curves(tasks)
        self._moments, self._noise = Moments(self._nodes, self._curves), NOISES[0]

    def prepare(self, shots: int) -> None:
        """Choose rho: each fold of training tasks is predicted from the others."""
        folds = []
        for fold in range(min(FOLDS, len(self._curves))):
            left_out = np.arange(len(self._curves)) % FOLDS == fold
            curves = [base.Points(self._nodes, curve) for curve in self._curves[left_out]]
            folds.append((Moments(self._nodes, self._curves[~left_out]), list(base.episodes(curves, shots))))

        def error(noise: float) -> float:
            residuals = [
                moments.predict(x_support, y_support, x, noise) - y
                for moments, drawn in folds
                for x_support, y_support, x, y in drawn
            ]
            return base.mean_square(residuals)

        self._noise = base.best_of(NOISES, error)

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return self._moments.predict(x_support, y_support, x, self._noise)
