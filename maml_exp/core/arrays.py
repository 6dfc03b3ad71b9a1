"""Products of the rows of all tasks: arrays (T, K, n), T tasks of K rows each, as one matrix (T K, n)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

Array = np.ndarray
# multiplications up to which OpenBLAS has a quicker kernel, and numbers up to which it gains by a copied transpose
SMALL_PRODUCT, SMALL_MATRIX = 10**6, 5000
SMALLEST_SQUARE = 1e-30  # of a norm: below it, squares of float32 lose digits


def transpose(a: Array) -> Array:
    """Swap the last two axes (a view)."""
    return a.swapaxes(-1, -2)


def flat(rows: Array) -> Array:
    """The rows (T, K, n) of all tasks below each other (T K, n), a view."""
    return rows.reshape(-1, rows.shape[-1])


def are_common(x: Array) -> bool:
    """Whether the points (T, Q, n) of all tasks are the same, as those of a grid are."""
    return len(x) > 1 and np.array_equal(x[0], x[-1]) and bool((x == x[:1]).all())


def of_every_task(rows: Array, tasks: int) -> Array:
    """Rows (1 or T, Q, n) of all tasks (T, Q, n)."""
    return rows if len(rows) == tasks else np.repeat(rows, tasks, axis=0)


def shared_product(rows: Array, matrix: Array, out: Array) -> Array:
    """Write rows (T K, n) times one matrix (n, m), a single product for all tasks, to out (T, K, m), in C order."""
    rows.dot(matrix, out=out.reshape(-1, out.shape[-1]))  # the method: np.dot goes through a function of Python's
    return out


def rows_product(left: Array, right: Array, out: Array) -> None:
    """Write left^T right, of rows (R, n) and (R, m), to out (n, m); of narrow rows in blocks of small products."""
    blocks = -(-len(left) * out.size // SMALL_PRODUCT) if out.size < SMALL_MATRIX else 1
    block = max(1, -(-len(left) // max(1, blocks)))
    left[:block].T.dot(right[:block], out=out)
    for start in range(block, len(left), block):
        out += np.dot(left[start : start + block].T, right[start : start + block])


class RowBuffer:
    """The rows of several passes below each other in one array, so that a sum over passes is one product.

    whole        (sum of T K_r, width)
    flat[r]      the rows of pass r (T K_r, width)
    by_task[r]   the same (T, K_r, width)

    Passes that are not `kept` have the same rows, one after the other.
    """

    def __init__(self, tasks: int, points: Sequence[int], width: int, dtype: np.dtype, kept: bool = True):
        self.whole = np.empty((tasks * (sum(points) if kept else max(points)), width), dtype)
        ends = np.cumsum([tasks * k for k in points], dtype=int)
        starts = [end - tasks * k if kept else 0 for end, k in zip(ends, points, strict=True)]
        self.flat = [self.whole[start : start + tasks * k] for start, k in zip(starts, points, strict=True)]
        self.by_task = [rows.reshape(tasks, k, width) for rows, k in zip(self.flat, points, strict=True)]


class Workspace:
    """Arrays that the next call uses again, by name: to get large ones from the system costs as much as to fill them.

    One of a name is as large as it was ever asked for; what stands in it is of no use to the next who asks.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Hashable, np.dtype], Array] = {}

    def empty(self, name: Hashable, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An array of this shape, not filled."""
        size, kept = math.prod(shape), self._kept.get((name, dtype))
        if kept is None or len(kept) < size:
            kept = self._kept[name, dtype] = np.empty(size, dtype)
        return kept[:size].reshape(shape)


def norm(vector: Array) -> float:
    """The Euclidean norm of a real vector (P,), finite where the vector is, and positive where it is not zero.

    Squares may leave the range of their dtype where the norm does not: then, and only then, it is taken in float64
    and of the vector over its largest entry.
    """
    square = float(np.dot(vector, vector).real)
    if SMALLEST_SQUARE < square < math.inf:
        return math.sqrt(square)
    largest = float(np.max(np.abs(vector), initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = vector.astype(np.float64) / largest
    return largest * math.sqrt(float(np.dot(scaled, scaled)))
