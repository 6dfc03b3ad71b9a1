"""Evaluation: adapt to fixed tasks and measure the error after every gradient step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from maml_exp.core.inner.loop import InnerLoop
from maml_exp.core.network import Network
from maml_exp.core.tasks.sinusoid import Sinusoids

Array = np.ndarray


class FixedTasks(NamedTuple):
    """Tasks for evaluation, float64. With the same seed, task i and its k-th support point are the same
    however many tasks or points are asked for: 5 shots are the first 5 of 20."""

    x_support: Array  # (N, K, n)
    y_support: Array  # (N, K, m)
    x_grid: Array  # (N, G, n), evenly spaced over the x range, the same for all tasks
    y_grid: Array  # (N, G, m), the true curve


def fixed_tasks(family: Sinusoids, seed: int, tasks: int, shots: int, grid: int) -> FixedTasks:
    """`tasks` tasks with `shots` support points, and the true curve on `grid` evenly spaced x."""

    def uniform(columns: range) -> Array:  # (N, columns), every column from a stream of its own
        streams = [np.random.SeedSequence(seed, spawn_key=(column,)) for column in columns]
        return np.stack([np.random.default_rng(stream).random(tasks) for stream in streams], axis=1)

    parameters = family.parameters(uniform(range(3)))
    x_support = family.inputs_from(uniform(range(3, 3 + shots)))
    x_grid = family.inputs_from(np.linspace(0, 1, grid))
    y_support, y_grid = (family.curve(parameters, x)[..., None] for x in (x_support, x_grid))
    return FixedTasks(family.features(parameters, x_support), y_support, family.features(parameters, x_grid), y_grid)


def adapt_and_predict(
    network: Network, theta: Array, x_support: Array, y_support: Array, x: Array, lr: float, steps: int
) -> list[Array]:
    """Predictions (T, G, m) at x (T, G, n) after 0 .. `steps` gradient steps from theta on each support set."""
    tasks, shots, _ = x_support.shape
    return list(_predictions(_adapting_loop(network, theta, tasks, shots, lr, steps), x_support, y_support, x))


def _adapting_loop(network: Network, theta: Array, tasks: int, shots: int, lr: float, steps: int) -> InnerLoop:
    """An inner loop that starts from theta and has no query pass."""
    loop = InnerLoop(network, tasks, [shots] * steps + [0], lr, theta.dtype)
    loop.bind(theta)
    return loop


def _predictions(loop: InnerLoop, x_support: Array, y_support: Array, x: Array) -> Iterator[Array]:
    """Predictions after 0, 1 .. steps of `loop`, each computed as it is asked for."""
    x_support, y_support, x = (array.astype(loop.dtype) for array in (x_support, y_support, x))
    for step in range(loop.steps + 1):
        yield loop.predict(x, step)
        if step < loop.steps:
            loop.run_pass(step, x_support, y_support)


def adaptation_errors(network: Network, theta: Array, tasks: FixedTasks, shots: int, lr: float, steps: int) -> Array:
    """Mean squared error on the grid (N, steps + 1) of every task, after 0 .. `steps` gradient steps.

    Adapts to the first `shots` support points. A task whose weights overflow has a non-finite error.
    Runs in chunks of tasks, so memory does not grow with their number.
    """
    count = len(tasks.x_support)
    most = int(np.clip(2**18 // (tasks.x_grid.shape[1] * max(network.sizes)), 8, 32))
    chunk = -(-count // max(1, -(-count // most)))  # as large as `most` allows, and all about as large
    loop = _adapting_loop(network, theta, chunk, shots, lr, steps)
    errors = np.empty((count, steps + 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for end in range(chunk, count + chunk, max(1, chunk)):
            end = min(end, count)
            part = slice(end - chunk, end)  # the last one as large as the others: it repeats some of their tasks
            x_support, y_support = tasks.x_support[part, :shots], tasks.y_support[part, :shots]
            for step, prediction in enumerate(_predictions(loop, x_support, y_support, tasks.x_grid[part])):
                residual = prediction - tasks.y_grid[part]
                errors[part, step] = np.mean(residual * residual, axis=(1, 2))
    return errors


class Statistics(NamedTuple):
    """Per step, over tasks: each an array (steps + 1,). A task that diverged counts as infinite."""

    mean: Array
    ci95: Array  # half width: 1.96 sd / sqrt(n)
    median: Array
    p95: Array  # 95th percentile
    nonfinite: Array  # number of tasks with a non-finite error


def statistics(errors: Array) -> Statistics:
    """Statistics over the tasks of errors (N, steps + 1)."""
    finite = np.isfinite(errors)
    errors = np.where(finite, errors, np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.std(errors, axis=0, ddof=1) if len(errors) > 1 else np.full(errors.shape[1], np.inf)
        ci95 = np.where(np.isfinite(spread), 1.96 * spread / np.sqrt(len(errors)), np.inf)
        p95 = np.percentile(errors, 95, axis=0, method="higher")
        return Statistics(errors.mean(axis=0), ci95, np.median(errors, axis=0), p95, (~finite).sum(axis=0))


def evaluate(
    network: Network, theta: Array, tasks: FixedTasks, shots: Sequence[int], lr: float, steps: int
) -> dict[int, Array]:
    """`adaptation_errors` for every number of shots."""
    return {k: adaptation_errors(network, theta, tasks, k, lr, steps) for k in shots}
