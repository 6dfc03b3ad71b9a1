"""The bootstrap: ends of percentile intervals of trimmed means.

A resample is how often it holds each value; its trimmed mean is then a weighted sum of the sorted values. Resamples
have a generator of their own, so that intervals repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

Array = np.ndarray

RESAMPLES = 1001  # ends of a 95% percentile interval are then resampled values: infinite ones are not interpolated
LOW, HIGH = 25, 975  # 2.5% and 97.5% of RESAMPLES - 1
RESAMPLING_SEED = 2021
MOST_KEPT = 2**10  # tasks of which resamples are kept
BLOCK = 2**16  # values in a block of resamples, which stays in a processor's cache


def ends_of_columns(errors: Array, trim: float) -> tuple[Array, Array]:
    """Ends (columns,) of the percentile interval of the trimmed mean of every column of errors (N, columns).

    Resamples draw ranks, the same for all columns: for each by itself any are as good, and one product serves all.
    """
    tasks = len(errors)
    if tasks == 1:
        return np.full(errors.shape[1], -np.inf), np.full(errors.shape[1], np.inf)
    return _percentiles((_weights_of_tasks(tasks, trim, *block) for block in _blocks(tasks)), np.sort(errors, axis=0))


def ends(errors: Array, trim: float, over: str) -> tuple[float, float]:
    """Ends of the percentile interval of the trimmed mean of errors (S seeds, N tasks).

    `over` is "tasks", "crossed" or "runs": see `statistics.trimmed_mean_interval`.
    """
    seeds, tasks = errors.shape
    if (seeds if over == "runs" else tasks) == 1:  # another one might be anything
        return -np.inf, np.inf
    errors = errors[:, np.argsort(errors.mean(axis=0), kind="stable")]  # by rank, so that one seed has the ends above
    order = np.argsort(errors, axis=None, kind="stable")
    counts = (_resamples(over, *block, seeds, tasks).reshape(-1, errors.size) for block in _blocks(errors.size))
    weights = ((slice(None), _trimmed_weights(block.take(order, axis=1), trim)) for block in counts)
    low, high = _percentiles(weights, errors.ravel()[order, None])
    return float(low[0]), float(high[0])


def _percentiles(weights: Iterable[tuple[slice, Array]], ordered: Array) -> tuple[Array, Array]:
    """2.5% and 97.5% percentiles (columns,) of the sums of ordered values (n, columns) with weights (RESAMPLES, n).

    A sum is infinite where an infinite value has a weight. Weights come in blocks of resamples, each with the ranks
    that it is about: beyond them its weights are zero.
    """
    values = np.where(np.isfinite(ordered), ordered, 0).T.copy()
    infinities = [infinity for infinity in (-np.inf, np.inf) if infinity in ordered]
    sums = []
    for ranks, block in weights:
        sums.append(np.einsum("rn,cn->rc", block, values[:, ranks]))  # not @: threads of BLAS change bits, and cost
        for infinity in infinities:
            sums[-1][block @ (ordered[ranks] == infinity) > 0] = infinity
    ordered_sums = np.sort(np.concatenate(sums), axis=0)
    return ordered_sums[LOW], ordered_sums[HIGH]


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    """The first resample of every block and how many it has, where a resample is of `size` values."""
    most = max(1, BLOCK // size)
    for start in range(0, RESAMPLES, most):
        yield start, min(most, RESAMPLES - start)


def _counts(rng: np.random.Generator, rows: int, n: int) -> Array:
    """How often (rows, n) each of n things is among n drawn with replacement."""
    drawn = rng.integers(n, size=(rows, n))
    drawn += n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.int32)  # half the memory


def _resamples(over: str, start: int, rows: int, seeds: int, tasks: int) -> Array:
    """How often (rows, seeds, tasks) each error is in every resample of the block that begins with `start`."""
    if over == "tasks":
        resampled = _kept_tasks if tasks <= MOST_KEPT else _resampled_tasks
        return np.broadcast_to(resampled(start, rows, tasks)[:, None, :], (rows, seeds, tasks))
    rng = np.random.default_rng([RESAMPLING_SEED, start])
    if over == "runs":
        return _counts(rng, rows * tasks, seeds).reshape(rows, tasks, seeds).swapaxes(1, 2)
    counts = _counts(rng, rows, tasks)[:, None, :]
    return counts * _counts(rng, rows, seeds)[:, :, None]


def _resampled_tasks(start: int, rows: int, tasks: int) -> Array:
    """How often (rows, tasks) each task is in every resample of the block that begins with `start`."""
    counts = _counts(np.random.default_rng([RESAMPLING_SEED, start]), rows, tasks)
    counts.flags.writeable = False
    return counts


# a comparison asks for every step and pair; all blocks of N tasks take 4 N kB
_kept_tasks = lru_cache(maxsize=1024)(_resampled_tasks)


def _trimmed_weights(counts: Array, trim: float) -> Array:
    """Weights (rows, n) of sorted values in the trimmed means of resamples that hold them `counts` times."""
    n = counts.shape[1]
    cut = int(trim * n)
    kept_so_far = np.cumsum(counts, axis=1, dtype=counts.dtype)
    np.clip(kept_so_far, cut, n - cut, out=kept_so_far)
    weights = np.empty(counts.shape)
    weights[:, 0] = kept_so_far[:, 0] - cut
    np.subtract(kept_so_far[:, 1:], kept_so_far[:, :-1], out=weights[:, 1:])
    weights /= n - 2 * cut
    return weights


@lru_cache(maxsize=128)  # an evaluation asks a dozen times; 64 MB at most, up to 2**16 tasks
def _weights_of_tasks(tasks: int, trim: float, start: int, rows: int) -> tuple[slice, Array]:
    """The ranks that any of these resamples weighs (for the IQM: somewhat more than the middle half), and weights."""
    weights = _trimmed_weights(_resamples("tasks", start, rows, 1, tasks)[:, 0], trim)
    weighed = np.flatnonzero(weights.any(axis=0))
    ranks = slice(int(weighed[0]), int(weighed[-1]) + 1)
    weights = weights[:, ranks].copy()
    weights.flags.writeable = False
    return ranks, weights
