"""The nearest class mean: a point is of the class whose support points' mean is nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.classes import class_means, require_classes, squared_distances

Array = np.ndarray


class Baseline(base.Baseline):
    """prediction = minus the squared distance from each class's mean."""

    label = "nearest class mean"

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks)
        require_classes(tasks)

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return -squared_distances(x, class_means(x_support, y_support))
