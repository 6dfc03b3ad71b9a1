"""The one rule that chooses how a layer keeps its adapted weights (docs/derivation.md, section 11)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.inner.layer import Layer
from maml_exp.core.inner.matrices import MultipliedOutLayer
from maml_exp.core.inner.pairs import PairedLayer


def pairs_pay(n: int, m: int, rank: int) -> bool:
    """The one rule: R pairs are R (n + m) numbers a task, multiplied out they are n m.

    Pairs pay somewhat beyond equality, since products with the shared W stay one large product over all
    tasks; the factor 1.5 is where both were measured to take the same time (docs/performance.md).
    """
    return rank * (n + m) < 1.5 * n * m


def make_layer(
    n: int,
    m: int,
    tasks: int,
    points: Sequence[int],
    dtype: np.dtype,
    ones: bool = False,
    pairs: bool | None = None,
) -> Layer:
    """A layer in the representation that costs less (`pairs` forces one: for tests and benchmarks)."""
    pairs = pairs_pay(n, m, sum(points[:-1])) if pairs is None else pairs
    kind = PairedLayer if pairs else MultipliedOutLayer
    return kind(n, m, tasks, points, np.dtype(dtype), ones)
