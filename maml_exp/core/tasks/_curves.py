"""What families of curves y = f(x) share: one input, one output, parameters drawn anew for every task, noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.tasks.base import Batch, FixedTasks, TaskFamily, TaskSettings

Array = np.ndarray
NOISE = "standard deviation of what is added to targets; errors are measured against the true curve"
OTHER_RANGE = "the same of test tasks, to judge beyond training; null: as in training"


@dataclass
class CurveSettings(TaskSettings):
    """What every family of curves has."""

    noise: float = setting(0.0, NOISE, checks.not_negative())
    x_range: list[float] = setting([-5.0, 5.0], "range of x", checks.interval(strict=True))
    x_range_test: list[float] | None = setting(None, OTHER_RANGE, checks.optional(checks.interval(strict=True)))


class CurveFamily(TaskFamily):
    """Curves of a task's own parameters, which are made of `draws` uniform numbers in [0, 1).

    Everything is drawn and computed in float64 and then rounded, so that all dtypes see the same tasks.
    """

    inputs = outputs = 1
    draws_by_task = True
    draws: int

    @abstractmethod
    def parameters(self, uniform: Array) -> Any:
        """The parameters of T tasks, from uniform numbers (T, draws)."""

    @abstractmethod
    def curve(self, parameters: Any, x: Array) -> Array:
        """y (T, K) at x (T, K)."""

    def raw_inputs(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Random numbers that `inputs_from` makes x of."""
        return rng.random(shape)

    def raw_grid(self, points: int) -> Array:
        """As many of them (points,), evenly."""
        return np.linspace(0, 1, points)

    def inputs_from(self, parameters: Any, raw: Array, test: bool) -> Array:
        """x (T, K) from what `raw_inputs` drew (T, K)."""
        low, high = (test and self.settings.x_range_test) or self.settings.x_range
        return low + (high - low) * raw

    def sample(self, rng: np.random.Generator, tasks: int, dtype: np.dtype | type | str) -> Batch:
        """A meta-batch of new tasks."""
        shots, points = self.settings.shots, self.settings.shots + self.settings.query
        parameters = self.parameters(rng.random((tasks, self.draws)))
        x = self.inputs_from(parameters, self.raw_inputs(rng, (tasks, points)), test=False)
        y = self.curve(parameters, x)
        if self.settings.noise:
            y += self.settings.noise * rng.standard_normal(y.shape)
        x, y = x[..., None].astype(dtype), y[..., None].astype(dtype)
        return Batch(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])

    def held_out(self, split: str, seed: int, tasks: int, shots: int, grid: int) -> FixedTasks:
        """Support points at random, with noise, and the true curve on `grid` x."""
        test = split == "test"
        parameters = self.parameters(columns(seed, range(self.draws), tasks, np.random.Generator.random))
        places = range(self.draws, self.draws + shots)
        raw = columns(seed, places, tasks, lambda rng, count: self.raw_inputs(rng, (count,)))
        x_support = self.inputs_from(parameters, raw, test)
        x_query = self.inputs_from(parameters, np.broadcast_to(self.raw_grid(grid), (tasks, grid)), test)
        y_support, y_query = (self.curve(parameters, x) for x in (x_support, x_query))
        y_support = y_support + noise_of(self.settings.noise, seed, tasks, shots)
        x_support, y_support, x_query, y_query = (p[..., None] for p in (x_support, y_support, x_query, y_query))
        return FixedTasks(x_support, y_support, x_query, y_query)

    def fingerprint(self) -> dict[str, Any]:
        """Every setting but those of training."""
        settings = vars(self.settings).items()
        return {key: plain(value) for key, value in settings if key not in ("shots", "query")}


def columns(seed: int, places: range, tasks: int, draw: Callable[[np.random.Generator, int], Array]) -> Array:
    """Random numbers (tasks, places), every column from a stream of its own: more tasks or columns change none."""
    streams = [np.random.SeedSequence(seed, spawn_key=(place,)) for place in places]
    return np.stack([draw(np.random.default_rng(stream), tasks) for stream in streams], axis=1)


def noise_of(deviation: float, seed: int, tasks: int, shots: int) -> Array | float:
    """Noise (tasks, shots) on held-out support targets, from streams of its own; 0 where there is none."""
    if not deviation:
        return 0.0
    return deviation * columns(seed, range(10**6, 10**6 + shots), tasks, np.random.Generator.standard_normal)


def plain(value: Any) -> Any:
    """A setting's value for a fingerprint: ranges as lists of floats."""
    is_range = isinstance(value, (list, tuple)) and all(checks.is_number(end) for end in value)
    return [float(end) for end in value] if is_range else value
