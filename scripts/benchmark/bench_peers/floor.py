"""The floor: nothing but the matrix products that exact MAML cannot do without, at this machine's sgemm rate."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from bench_peers import SEED, Case

VARIANTS = ("sgemm/none",)


class Floor:
    """`Case.products` products (T K, H) x (H, H) an iteration; it has no gradient."""

    def __init__(self, case: Case):
        threadpool_limits(1)
        rng = np.random.default_rng(SEED)
        self._rows = rng.standard_normal((case.tasks * case.shots, case.width)).astype(np.float32)
        self._matrix = rng.standard_normal((case.width, case.width)).astype(np.float32)
        self._out = np.empty_like(self._rows)
        self._products = case.products

    def run(self, iterations: int) -> None:
        """The products of so many iterations."""
        for _ in range(iterations * self._products):
            np.matmul(self._rows, self._matrix, out=self._out)


def make(case: Case, variant: str) -> Floor:
    """The one way."""
    return Floor(case)
