"""The mean curve of the training tasks: what is known of a task before any of its points is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.curves import MeanCurve

Array = np.ndarray


class Baseline(base.Baseline):
    """prediction = mean of the training tasks at x."""

    label = "mean curve"

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks)
        self._mean = MeanCurve(tasks)

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return self._mean(x)
