"""Ridge regression on the raw inputs of each task alone: what its support points say without any other task.

    w = (X^T X + rho I)^-1 X^T (y - mean y),     X the support inputs less their mean

The one number that it takes from the training tasks is rho.
"""

from __future__ import annotations

import numpy as np

from maml_exp.core.baselines import base

Array = np.ndarray
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


class Baseline(base.Baseline):
    """A plane through each task's support points; rho is chosen on training tasks, for each number of points."""

    label = "ridge on the inputs"
    penalty = PENALTIES[0]

    def prepare(self, shots: int) -> None:
        """Choose rho."""
        drawn = list(base.episodes(self.tasks, shots))

        def error(penalty: float) -> float:
            residuals = [plane(xs, ys, x, penalty) - y for xs, ys, x, y in drawn]
            return base.mean_square(residuals)

        self.penalty = base.best_of(PENALTIES, error)

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return plane(x_support, y_support, x, self.penalty)


def plane(x_support: Array, y_support: Array, x: Array, penalty: float) -> Array:
    """Ridge regression with an intercept that is not penalised."""
    x_mean, y_mean = x_support.mean(axis=0), y_support.mean(axis=0)
    centred = x_support - x_mean
    gram = centred.T @ centred + penalty * np.eye(centred.shape[1])
    return y_mean + (x - x_mean) @ np.linalg.solve(gram, centred.T @ (y_support - y_mean))
