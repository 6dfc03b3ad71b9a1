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
        places = self.places(s)
        return self.x[places], self.y[places]

    def places(self, s: int) -> tuple[Array, ...]:
        """The indices, along tasks and points, of what inner step s is made from."""
        assert self.chosen is not None  # or it is made from all
        chosen = self.chosen[s]
        return (*np.ogrid[tuple(map(slice, chosen.shape))][:-1], chosen)


def minibatches(rng: np.random.Generator, tasks: tuple[int, ...], points: int, size: int, steps: int) -> list[Array]:
    """Of every step, the points it is made from (T, B): one shuffled order after the other, cut in pieces.

    So every point is used before one comes again (Nichol et al. 2018, their code).
    """
    orders = [rng.random((*tasks, points)).argsort(axis=-1) for _ in range(-(-steps * size // points))]
    order = np.concatenate(orders, axis=-1)
    return [order[..., s * size : (s + 1) * size] for s in range(steps)]
