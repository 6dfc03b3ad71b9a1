"""Products of the rows of all tasks: arrays (T, K, n), T tasks of K rows each, as one matrix (T K, n).

Of R runs in lockstep arrays have an axis more, (R, T, K, n), and make a matrix a run, (R, T K, n). What `tasks` says is
(T,) of one run and (R, T) of several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

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
    return rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])


def are_common(x: Array) -> bool:
    """Whether the points (T, Q, n) of all tasks are the same, as those of a grid are."""
    return len(x) > 1 and np.array_equal(x[0], x[-1]) and bool((x == x[:1]).all())


def of_every_task(rows: Array, tasks: int) -> Array:
    """Rows (1 or T, Q, n) of all tasks (T, Q, n)."""
    return rows if rows.shape[-3] == tasks else np.repeat(rows, tasks, axis=-3)


def product_for(tasks: tuple[int, ...]) -> Callable[..., Array]:
    """The product of all rows with what tasks share, of one run or of several: np.matmul makes as many, of same bits.

    The method of arrays is quicker to call, and np.dot goes through a function of Python's.
    """
    return np.ndarray.dot if len(tasks) == 1 else np.matmul


def blocks_of_rows(left: Array, right: Array) -> list[tuple[Array, Array]]:
    """Rows (N, n) and (N, m), the left ones transposed, in blocks of small products where they are narrow."""
    (count, n), m = left.shape[-2:], right.shape[-1]
    blocks = -(-count * n * m // SMALL_PRODUCT) if n * m < SMALL_MATRIX else 1
    block = max(1, -(-count // max(1, blocks)))
    parts = [slice(start, start + block) for start in range(0, max(count, 1), block)]
    return [(transpose(left[..., part, :]), right[..., part, :]) for part in parts]


def sum_of_products(blocks: Sequence[tuple[Array, Array]], out: Array, product: Callable = np.ndarray.dot) -> None:
    """Write left^T right of rows in blocks, which `blocks_of_rows` gives, to out (n, m)."""
    (left_t, right), *others = blocks
    product(left_t, right, out=out)
    for left_t, right in others:
        out += product(left_t, right)


def rows_product(left: Array, right: Array, out: Array) -> None:
    """Write left^T right, of rows (N, n) and (N, m), to out (n, m)."""
    sum_of_products(blocks_of_rows(left, right), out)


def inner_product(a: Array, b: Array) -> Any:
    """The sum of a * b (T, K, m), a number; of runs in lockstep one each (R,), of the same bits."""
    if a.ndim == 3:
        left = a.reshape(-1)
        return left.dot(left if a is b else b.reshape(-1))
    return np.matmul(a.reshape(len(a), 1, -1), b.reshape(len(b), -1, 1)).reshape(-1)


class RowBuffer:
    """The rows of several passes below each other in one array, so that a sum over passes is one product.

    whole        (sum of T K_r, width)
    flat[r]      the rows of pass r (T K_r, width)
    by_task[r]   the same (T, K_r, width)

    Passes that are not `kept` have the same rows, one after the other.
    """

    def __init__(self, tasks: tuple[int, ...], points: Sequence[int], width: int, dtype: np.dtype, kept: bool = True):
        *runs, count = tasks
        self.whole = np.empty((*runs, count * (sum(points) if kept else max(points)), width), dtype)
        ends = np.cumsum([count * k for k in points], dtype=int)
        starts = [end - count * k if kept else 0 for end, k in zip(ends, points, strict=True)]
        self.flat = [self.whole[..., start : start + count * k, :] for start, k in zip(starts, points, strict=True)]
        self.by_task = [rows.reshape(*tasks, k, width) for rows, k in zip(self.flat, points, strict=True)]


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
    square = float(vector.dot(vector))
    return math.sqrt(square) if SMALLEST_SQUARE < square < math.inf else _scaled_norm(vector)


def norms(vectors: Array) -> list[float]:
    """The `norm` of every vector of (R, P), of the same bits."""
    squares = np.matmul(vectors[:, None], vectors[..., None]).reshape(-1).tolist()
    return [
        math.sqrt(square) if SMALLEST_SQUARE < square < math.inf else _scaled_norm(vector)
        for square, vector in zip(squares, vectors, strict=True)
    ]


def _scaled_norm(vector: Array) -> float:
    largest = float(np.max(np.abs(vector), initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = vector.astype(np.float64) / largest
    return largest * math.sqrt(float(np.dot(scaled, scaled)))
