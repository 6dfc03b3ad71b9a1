"""The training tasks that are nearest at the support points, averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.baselines._training.curves import as_curve, weights_between

Array = np.ndarray
NEIGHBOURS = (1, 2, 3, 5, 10, 20)
MOST_CURVES = 1000  # training tasks that are looked at


class Baseline(base.Baseline):
    """The mean of the training curves with the smallest squared distance at the support points.

    How many is chosen on training tasks, each left out when it is predicted, for each number of points.
    """

    label = "nearest curves"
    neighbours = NEIGHBOURS[0]

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks[:MOST_CURVES])
        found = [as_curve(points) for points in self.tasks]
        nodes = found[0][0]
        if all(np.array_equal(nodes, others) for others, _ in found):
            self._curves = [(nodes, np.stack([values for _, values in found]))]
        else:
            self._curves = [(nodes, values[None]) for nodes, values in found]

    def prepare(self, shots: int) -> None:
        """Choose how many neighbours."""
        squares = []
        for x_support, y_support, x, y in base.episodes(self.tasks, shots):
            nearest = self._nearest(x_support, y_support)[1 : NEIGHBOURS[-1] + 1]  # the first one is the task itself
            sums = np.cumsum(self._at(x, nearest), axis=0)
            means = [sums[min(count, len(sums)) - 1] / min(count, len(sums)) for count in NEIGHBOURS]
            squares.append([np.mean((mean - y) ** 2) for mean in means])
        errors = dict(zip(NEIGHBOURS, np.mean(squares, axis=0), strict=True)) if squares else {}
        self.neighbours = base.best_of(NEIGHBOURS, lambda count: float(errors.get(count, np.inf)))

    def _nearest(self, x_support: Array, y_support: Array) -> Array:
        """Training tasks, the nearest first."""
        curves = np.concatenate([weights_between(nodes, x_support) @ values for nodes, values in self._curves])
        return np.argsort(((curves - y_support) ** 2).sum(axis=(1, 2)), kind="stable")

    def _at(self, x: Array, tasks: Array) -> Array:
        """The curves (N, Q, m) of some training tasks at x (Q, n)."""
        if len(self._curves) == 1:
            nodes, values = self._curves[0]
            return weights_between(nodes, x) @ values[tasks]
        return np.concatenate(
            [weights_between(nodes, x) @ values for nodes, values in (self._curves[i] for i in tasks)]
        )

    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """See `base.Baseline`."""
        nearest = self._nearest(x_support, y_support)[: self.neighbours]
        return self._at(x, nearest).mean(axis=0)
