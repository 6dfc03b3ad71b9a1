"""Statistics of errors: over the tasks of a run, over seeds, over seeds and tasks, and of paired differences.

Errors over tasks are heavy-tailed and may be infinite, so beside each mean stands the interquartile mean (IQM), that of
the middle half (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice"). Intervals
are two sided, at 95%, in the unit of the errors; the bootstrap has a generator of its own, so they repeat. About

    this network, new tasks     `statistics`
    new seeds, these tasks      `estimate` of one number for each seed
    new seeds and new tasks     `trimmed_mean_interval`, `paired_difference`
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from maml_exp.core import bootstrap

Array = np.ndarray

DIVERGED_FACTOR = 100.0  # see `diverged`
IQM_TRIM = 0.25  # share of the values that the interquartile mean leaves out at either end
OVER = ("seeds and tasks", "tasks", "crossed", "runs")  # see `trimmed_mean_interval`


class Statistics(NamedTuple):
    """Per step, over the tasks of a run: each an array (steps + 1,)."""

    mean: Array
    ci95: Array  # half width of the mean's interval: 1.96 sd / sqrt(N)
    median: Array
    p95: Array  # 95th percentile
    iqm: Array
    iqm_low: Array  # ends of the IQM's interval
    iqm_high: Array
    diverged: Array  # number of tasks, see `diverged`


class Estimate(NamedTuple):
    """A mean over n seeds and the half width of its 95% confidence interval (NaN for one seed)."""

    n: int
    mean: float
    ci95: float


class Interval(NamedTuple):
    """A number and the ends of its 95% confidence interval, which need not be equally far from it."""

    value: float
    low: float
    high: float


class PairedDifference(NamedTuple):
    """Errors of one method minus those of another, on the same seeds and tasks: negative where the first is better."""

    over_seeds: Estimate  # of each seed's mean difference: about new seeds, these tasks
    mean: Interval  # about new seeds and new tasks, as is the next
    iqm: Interval
    median: float


def diverged(errors: Array, reference: Array | float) -> Array:
    """Which of errors (N, ..) are non-finite or above DIVERGED_FACTOR times what predicting each task's mean costs.

    `reference` is the error of that prediction, (N,) or one number; its mean over the tasks counts. (A nearly
    constant task is far above its own before it is adapted to: a sinusoid of amplitude 0.1 has 0.005, and a prediction
    of 0.75 exceeds a hundred times that.) At 100 references a prediction is at least 9 standard deviations of the
    targets from their mean (root mean square): nothing that learned their size gets there. One such task in 600 moves
    the mean by a sixth of the reference. Where the reference is 0 it says nothing: only non-finite errors count.
    """
    limit = DIVERGED_FACTOR * float(np.mean(reference)) or np.inf
    return ~np.isfinite(errors) | (errors > limit)


@np.errstate(over="ignore", invalid="ignore")
def statistics(errors: Array, reference: Array | float) -> Statistics:
    """Statistics over the tasks of errors (N, steps + 1), where non-finite ones count as infinite.

    `reference` is that of `diverged`. The IQM's interval is the bootstrap over tasks; of one task, intervals are
    infinite. Raises `ValueError` where there is no error.
    """
    count = diverged(errors, reference).sum(axis=0)
    errors = _infinite(errors)
    spread = np.std(errors, axis=0, ddof=1) if len(errors) > 1 else np.full(errors.shape[1], np.inf)
    ci95 = np.where(np.isfinite(spread), 1.96 * spread / np.sqrt(len(errors)), np.inf)
    mean, median = errors.mean(axis=0), np.median(errors, axis=0)
    p95 = np.percentile(errors, 95, axis=0, method="higher")
    return Statistics(
        mean, ci95, median, p95, trimmed_mean(errors), *bootstrap.ends_of_columns(errors, IQM_TRIM), count
    )


def trimmed_mean(values: Array, trim: float = IQM_TRIM) -> Array:
    """Mean along the first axis, but for the int(trim n) smallest and as many largest: `scipy.stats.trim_mean`."""
    cut = int(trim * len(values))
    return np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)


@lru_cache(maxsize=256)
def student_quantile(freedom: int) -> float:
    """q with P(|t| <= q) = 95% for Student's t with `freedom` = 1, 2, .. degrees of freedom."""
    if freedom < 1 or freedom != int(freedom):
        raise ValueError(f"degrees of freedom are 1, 2, .., not {freedom}")
    low, high = 0.0, np.pi / 2
    for _ in range(60):  # bisection, down to the spacing of floats
        middle = (low + high) / 2
        if _student_probability(middle, freedom) < 0.95:
            low = middle
        else:
            high = middle
    return float(np.sqrt(freedom) * np.tan(low))


def _student_probability(angle: float, freedom: int) -> float:
    """P(|t| <= sqrt(freedom) tan(angle)): Abramowitz & Stegun 1964, equations 26.7.3 and 26.7.4."""
    odd = freedom % 2
    k = np.arange(1 + odd, freedom - 1, 2)
    series = 1 + np.cumprod(k / (k + 1) * np.cos(angle) ** 2).sum()
    if not odd:
        return np.sin(angle) * series
    if freedom == 1:
        return 2 / np.pi * angle
    return 2 / np.pi * (angle + np.sin(angle) * np.cos(angle) * series)


@np.errstate(over="ignore", invalid="ignore")
def estimate(found: Sequence[float] | Array) -> Estimate:
    """Mean and Student's 95% confidence interval; infinite where a value is not finite."""
    values = np.asarray(found, dtype=float)
    n = len(values)
    if n == 0:
        return Estimate(0, float("nan"), float("nan"))
    if not np.isfinite(values).all():
        return Estimate(n, float("inf"), float("inf"))
    if n == 1:
        return Estimate(1, float(values[0]), float("nan"))
    ci95 = student_quantile(n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Estimate(n, float(values.mean()), float(ci95))


@np.errstate(over="ignore", invalid="ignore")
def trimmed_mean_interval(errors: Array, trim: float = IQM_TRIM, over: str = "seeds and tasks") -> Interval:
    """Trimmed mean of all of errors (S seeds, N tasks) together, and its interval; non-finite errors are infinite.

    All seeds are judged on the same tasks, and the errors of a seed come from one network: a new seed and a new task
    each move many errors at once. `over` says what is resampled:

    "seeds and tasks"  about new seeds and tasks, however few the seeds: "tasks" below and Student's t over seeds (by
                       the jackknife), joined by the method of variance estimates recovery (Zou & Donner 2008): squares
                       of distances add up. In simulations it covers 93% to 98%. With one seed it is "tasks".
    "tasks"            about new tasks, these seeds: the bootstrap of tasks, each with all its seeds.
    "crossed"          about new seeds and tasks, where seeds are many: the bootstrap of both (Owen 2007, "The
                       pigeonhole bootstrap"). From 3 seeds it can be less than half as wide as Student's t has to be.
    "runs"             about new runs, these tasks: the stratified bootstrap, of runs within each task (Agarwal et al.
                       2021). Far too narrow where one network serves all tasks: it takes their runs to be independent.

    `trim` is the share left out at either end; 0 makes it the mean. Raises `ValueError` where there is no error.
    """
    if over not in OVER:
        raise ValueError(f"over={over!r} is not one of: {', '.join(OVER)}")
    return _interval(_infinite(errors), trim, over)


def _interval(errors: Array, trim: float, over: str = OVER[0]) -> Interval:
    value = float(trimmed_mean(errors.ravel(), trim))
    if over != OVER[0]:
        return Interval(value, *bootstrap.ends(errors, trim, over))
    low, high = bootstrap.ends(errors, trim, "tasks")
    if len(errors) == 1:
        return Interval(value, low, high)
    if not np.isfinite(value):
        return Interval(value, -np.inf, np.inf)
    margin = _margin_over_seeds(errors, trim)
    return Interval(value, value - float(np.hypot(value - low, margin)), value + float(np.hypot(high - value, margin)))


def _margin_over_seeds(errors: Array, trim: float) -> float:
    """Half width of Student's interval for the trimmed mean of errors (S, N); the jackknife leaves out each seed."""
    seeds = len(errors)
    without = [trimmed_mean(np.delete(errors, seed, axis=0).ravel(), trim) for seed in range(seeds)]
    if not np.isfinite(without).all():
        return np.inf
    return student_quantile(seeds - 1) * float(np.sqrt((seeds - 1) * np.var(without)))


@np.errstate(over="ignore", invalid="ignore")
def paired_difference(first: Array, second: Array) -> PairedDifference:
    """`first` minus `second`, both errors (S seeds, N tasks) of the same seeds and tasks.

    Where both are infinite, the IQM and the median take the difference as 0. Means are infinite if any error is.
    Raises `ValueError` where shapes differ or there is no error.
    """
    first, second = _infinite(first), _infinite(second)
    if first.shape != second.shape:
        raise ValueError(f"errors of the same seeds and tasks have one shape, not {first.shape} and {second.shape}")
    difference = np.where(first == second, 0.0, first - second)
    iqm, median = _interval(difference, IQM_TRIM), float(np.median(difference))
    if not np.isfinite([first, second]).all():
        unknown = Interval(np.inf, -np.inf, np.inf)
        return PairedDifference(estimate(np.full(len(first), np.inf)), unknown, iqm, median)
    return PairedDifference(estimate(difference.mean(axis=1)), _interval(difference, 0.0), iqm, median)


def _infinite(errors: Array) -> Array:
    """Errors as float64, the non-finite ones infinite."""
    errors = np.asarray(errors, dtype=float)
    if errors.size == 0:
        raise ValueError(f"there are no errors: their shape is {errors.shape}")
    return np.where(np.isfinite(errors), errors, np.inf)
