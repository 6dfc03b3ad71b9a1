"""Sinusoids y = A sin(f x - phi) (Finn et al. 2017, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.tasks.base import Batch, FixedTasks, TaskFamily, TaskSettings

Array = np.ndarray


@dataclass
class Settings(TaskSettings):
    """Every range is [low, high], drawn uniformly, anew for every task."""

    name: str = "sinusoid"
    amplitude: list[float] = setting([0.1, 5.0], "range of A", checks.interval())
    phase: list[float] = setting([0.0, 3.141592653589793], "range of phi", checks.interval(), unit="radians")
    frequency: list[float] = setting([1.0, 1.0], "range of f", checks.interval(), unit="radians per unit of x")
    x_range: list[float] = setting([-5.0, 5.0], "range of x", checks.interval(strict=True))
    oracle: bool = setting(False, "the network is told A and phi too: the best one can hope for", checks.boolean())


class Family(TaskFamily):
    """y = A sin(f x - phi), with A, phi, f and x uniform in the settings' ranges.

    Everything is drawn and computed in float64 and then rounded, so that all dtypes see the same tasks.
    With `settings.oracle` a network is also told A and phi: its inputs are (x, A, phi).
    """

    outputs = 1

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.input_names = ("x", "amplitude", "phase") if settings.oracle else ("x",)
        self.inputs = len(self.input_names)
        low, high = np.array([settings.amplitude, settings.phase, settings.frequency, settings.x_range]).T
        draws = [1, 1, 1, settings.shots + settings.query]  # of each, for a task
        self._low, self._width = np.repeat(low, draws), np.repeat(high - low, draws)

    def sample(self, rng: np.random.Generator, tasks: int, dtype: np.dtype | type | str) -> Batch:
        """A meta-batch; one draw of uniform numbers gives parameters and points of all tasks."""
        shots, queries = self.settings.shots, self.settings.query
        drawn = self._low + self._width * rng.random((tasks, 3 + shots + queries))
        parameters, x = _columns(drawn), drawn[:, 3:]
        y = self.curve(parameters, x)[..., None].astype(dtype)
        x = self.features(parameters, x).astype(dtype)
        return Batch(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])

    def held_out(self, split: str, seed: int, tasks: int, shots: int, grid: int) -> FixedTasks:
        """Support points at random, and the true curve on `grid` evenly spaced x; splits differ by their seeds."""

        def uniform(columns: range) -> Array:  # (N, columns), every column from a stream of its own
            streams = [np.random.SeedSequence(seed, spawn_key=(column,)) for column in columns]
            return np.stack([np.random.default_rng(stream).random(tasks) for stream in streams], axis=1)

        parameters = self.parameters(uniform(range(3)))
        x_support = self.inputs_from(uniform(range(3, 3 + shots)))
        x_query = self.inputs_from(np.linspace(0, 1, grid))
        y_support, y_query = (self.curve(parameters, x)[..., None] for x in (x_support, x_query))
        return FixedTasks(self.features(parameters, x_support), y_support, self.features(parameters, x_query), y_query)

    def fingerprint(self) -> dict[str, Any]:
        """The ranges; what a network is told beside x changes neither tasks nor errors."""
        ranges = ("amplitude", "phase", "frequency", "x_range")
        return {"name": "sinusoid"} | {key: [float(end) for end in getattr(self.settings, key)] for key in ranges}

    def parameters(self, uniform: Array) -> tuple[Array, Array, Array]:
        """Amplitude, phase (radians) and frequency, (T, 1) each, from uniform numbers (T, 3) in [0, 1)."""
        return _columns(self._low[:3] + self._width[:3] * uniform)

    def inputs_from(self, uniform: Array) -> Array:
        """x in the x range from uniform numbers of the same shape in [0, 1)."""
        return self._low[3] + self._width[3] * uniform

    def features(self, parameters: tuple[Array, Array, Array], x: Array) -> Array:
        """What a network sees (T, K, n) of x (T, K) or (K,)."""
        amplitude, phase, _ = parameters
        x = x if x.ndim == 2 else np.broadcast_to(x, (len(amplitude), len(x)))
        if not self.settings.oracle:
            return x[..., None]
        return np.stack([x, np.broadcast_to(amplitude, x.shape), np.broadcast_to(phase, x.shape)], axis=-1)

    @staticmethod
    def curve(parameters: tuple[Array, Array, Array], x: Array) -> Array:
        """y = A sin(f x - phi) for x (T, K) or (K,)."""
        amplitude, phase, frequency = parameters
        y = frequency * x
        y -= phase
        np.sin(y, out=y)
        y *= amplitude
        return y


def _columns(drawn: Array) -> tuple[Array, Array, Array]:
    """The first three columns of (T, 3) or more, (T, 1) each."""
    return drawn[:, 0:1], drawn[:, 1:2], drawn[:, 2:3]
