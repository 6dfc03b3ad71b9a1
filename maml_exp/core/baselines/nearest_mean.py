"""The nearest class mean: a point is of the class whose support points' mean is nearest to it."""

from __future__ import annotations

import numpy as np

from maml_exp.core.baselines._training.classes import ClassBaseline, class_means, squared_distances

Array = np.ndarray


class Baseline(ClassBaseline):
    """prediction = minus the squared distance from each class's mean."""

    label = "nearest class mean"

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        return -squared_distances(x, class_means(x_support, y_support))
