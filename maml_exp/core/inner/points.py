"""The points that go into the passes of one meta-batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Points(NamedTuple):
    """Inputs and targets; a learned support loss is shown [x, y] in place of y."""

    x: Array  # (T, K, n), of the inner steps
    y: Array  # (T, K, m)
    x_query: Array  # (T, Q, n)
    y_query: Array  # (T, Q, m)
    chosen: list[Array] | None = None  # of every step, which of the K points it is made from (T, B); None: all

    def of_step(self, s: int) -> tuple[Array, Array]:
        """Inputs and targets of inner step s."""
        if self.chosen is None:
            return self.x, self.y
        task = np.arange(len(self.x))[:, None]
        return self.x[task, self.chosen[s]], self.y[task, self.chosen[s]]


def minibatches(rng: np.random.Generator, tasks: int, points: int, size: int, steps: int) -> list[Array]:
    """Of every step, the points it is made from (T, B): one shuffled order after the other, cut in pieces.

    So every point is used before one comes again (Nichol et al. 2018, their code).
    """
    orders = [rng.random((tasks, points)).argsort(axis=1) for _ in range(-(-steps * size // points))]
    order = np.concatenate(orders, axis=1)
    return [order[:, s * size : (s + 1) * size] for s in range(steps)]
