"""The floor: nothing but the matrix products that exact MAML cannot do without, at this machine's sgemm rate."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from bench_peers import SEED, Case

VARIANTS = ("sgemm/none",)


class Floor:
    """The products of `Case`, (T K, H) x (H, H) and of query rows, an iteration; it has no gradient."""

    def __init__(self, case: Case):
        threadpool_limits(1)
        rng = np.random.default_rng(SEED)
        counts = [(case.shots, case.products), (case.query, case.query_products)]
        rows = [rng.standard_normal((case.tasks * points, case.width)).astype(np.float32) for points, _ in counts]
        self._passes = [(x, np.empty_like(x), count) for x, (_, count) in zip(rows, counts, strict=True)]
        self._matrix = rng.standard_normal((case.width, case.width)).astype(np.float32)

    def run(self, iterations: int) -> None:
        """The products of so many iterations."""
        for rows, out, count in self._passes:
            for _ in range(iterations * count):
                np.matmul(rows, self._matrix, out=out)


def make(case: Case, variant: str) -> Floor:
    """The one way."""
    return Floor(case)
