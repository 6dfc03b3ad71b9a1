"""The mean curve of the training tasks, moved up or down by what the support points say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.curves import MeanCurve

Array = np.ndarray


class Baseline(base.Baseline):
    """prediction = mean(x) + the mean over support points of y - mean(x)."""

    label = "mean curve + offset"

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks)
        self._mean = MeanCurve(tasks)

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return self._mean(x) + (y_support - self._mean(x_support)).mean(axis=0)
