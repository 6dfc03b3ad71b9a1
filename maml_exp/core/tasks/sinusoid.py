"""Sinusoids y = A sin(f x - phi) (Finn et al. 2017, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.tasks._curves import NOISE, OTHER_RANGE, columns, noise_of, plain
from maml_exp.core.tasks.base import Batch, FixedTasks, TaskFamily, TaskSettings

Array = np.ndarray
X_TRAINING = ("random", "grid")
SHIFT = np.pi / 3  # radians, by which targets are shifted
SUPPORT_TARGETS = ("plain", "shifted", "root", "none")


@dataclass
class Settings(TaskSettings):
    """Every range is [low, high], drawn uniformly, anew for every task."""

    name: str = "sinusoid"
    amplitude: list[float] = setting([0.1, 5.0], "range of A", checks.interval())
    phase: list[float] = setting([0.0, 3.141592653589793], "range of phi", checks.interval(), unit="radians")
    frequency: list[float] = setting([1.0, 1.0], "range of f", checks.interval(), unit="radians per unit of x")
    x_range: list[float] = setting([-5.0, 5.0], "range of x", checks.interval(strict=True))
    x_training: str = setting("random", "x in training: random, or evenly spaced", checks.one_of(lambda: X_TRAINING))
    noise: float = setting(0.0, NOISE, checks.not_negative())
    amplitude_test: list[float] | None = setting(None, OTHER_RANGE, checks.optional(checks.interval()))
    phase_test: list[float] | None = setting(None, OTHER_RANGE, checks.optional(checks.interval()), unit="radians")
    x_range_test: list[float] | None = setting(None, OTHER_RANGE, checks.optional(checks.interval(strict=True)))
    support_targets: str = setting(
        "plain",
        "those of support points: y, shifted by pi/3, sign(y) sqrt|y|, or none",
        checks.one_of(lambda: SUPPORT_TARGETS),
    )
    oracle: bool = setting(False, "the network is told A and phi too: the best one can hope for", checks.boolean())


class Family(TaskFamily):
    """y = A sin(f x - phi), with A, phi, f and x uniform in the settings' ranges.

    Everything is drawn and computed in float64 and then rounded, so that all dtypes see the same tasks.
    With `settings.oracle` a network is also told A and phi: its inputs are (x, A, phi).

    Support targets may be seen through a distortion that nobody is told, while query targets are y: A sin(f x - phi +
    pi/3), or sign(y) sqrt|y|. Or there are none, 0 everywhere; then support points lie within A of phi, so that x tells
    the task. Adapting to such targets takes a loss that is learned.
    """

    outputs = 1
    draws_by_task = True

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.input_names = ("x", "amplitude", "phase") if settings.oracle else ("x",)
        self.inputs = len(self.input_names)
        low, high = np.array([settings.amplitude, settings.phase, settings.frequency, settings.x_range]).T
        draws = [1, 1, 1, settings.shots + settings.query]  # of each, for a task
        self._low, self._width = np.repeat(low, draws), np.repeat(high - low, draws)
        test = [settings.amplitude_test, settings.phase_test, None, settings.x_range_test]
        own = [settings.amplitude, settings.phase, settings.frequency, settings.x_range]
        self._test_ranges = [other or usual for other, usual in zip(test, own, strict=True)]

    def sample(self, rng: np.random.Generator, tasks: int, dtype: np.dtype | type | str) -> Batch:
        """A meta-batch; one draw of uniform numbers gives parameters and points of all tasks."""
        shots, queries = self.settings.shots, self.settings.query
        uniform = rng.random((tasks, 3 + shots + queries))
        if self.settings.x_training == "grid":  # in random order, so that support points lie anywhere
            uniform[:, 3:] = uniform[:, 3:].argsort(axis=1) / max(shots + queries - 1, 1)
        drawn = self._low + self._width * uniform
        parameters, x = _columns(drawn), drawn[:, 3:]
        if self.settings.support_targets == "none":
            x[:, :shots] = _around_phase(parameters, uniform[:, 3 : 3 + shots])
        y = self.curve(parameters, x)
        if self.settings.support_targets != "plain":
            y[:, :shots] = self._seen(parameters, x[:, :shots])
        if self.settings.noise:
            y += self.settings.noise * rng.standard_normal(y.shape)
        y = y[..., None].astype(dtype)
        x = self.features(parameters, x).astype(dtype)
        return Batch(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])

    def held_out(self, split: str, seed: int, tasks: int, shots: int, grid: int) -> FixedTasks:
        """Support points at random, and the true curve on `grid` evenly spaced x; splits differ by their seeds."""
        ranges = self._test_ranges if split == "test" else None

        def uniform(places: range) -> Array:
            return columns(seed, places, tasks, np.random.Generator.random)

        parameters = self.parameters(uniform(range(3)), ranges)
        places = uniform(range(3, 3 + shots))
        x_support = self.inputs_from(places, ranges)
        if self.settings.support_targets == "none":
            x_support = _around_phase(parameters, places)
        x_query = self.inputs_from(np.linspace(0, 1, grid), ranges)
        y_support = self._seen(parameters, x_support)[..., None]
        y_query = self.curve(parameters, x_query)[..., None]
        if self.settings.noise:
            y_support = y_support + np.expand_dims(noise_of(self.settings.noise, seed, tasks, shots), -1)
        return FixedTasks(self.features(parameters, x_support), y_support, self.features(parameters, x_query), y_query)

    def bayes_error(self, shots: int) -> float | None:
        """0 from two points on, where the frequency is known: y = a cos(f x) + b sin(f x), distorted or not."""
        low, high = self.settings.frequency
        known = low == high and not self.settings.noise and self.settings.support_targets != "none"
        return 0.0 if known and shots >= 2 else None

    def fingerprint(self) -> dict[str, Any]:
        """The ranges; what a network is told beside x changes neither tasks nor errors."""
        ranges = ("amplitude", "phase", "frequency", "x_range")
        found: dict[str, Any] = {"name": "sinusoid"}
        found |= {key: [float(end) for end in getattr(self.settings, key)] for key in ranges}
        others = {key: plain(getattr(self.settings, key)) for key in ("amplitude_test", "phase_test", "x_range_test")}
        if self.settings.noise:
            found["noise"] = float(self.settings.noise)
        if self.settings.support_targets != "plain":
            found["support_targets"] = self.settings.support_targets
        return found | {
            key: value for key, value in others.items() if value is not None
        }  # older runs had none of these

    def parameters(self, uniform: Array, ranges: list[list[float]] | None = None) -> tuple[Array, Array, Array]:
        """Amplitude, phase (radians) and frequency, (T, 1) each, from uniform numbers (T, 3) in [0, 1)."""
        low, width = (self._low[:3], self._width[:3]) if ranges is None else _ends(ranges[:3])
        return _columns(low + width * uniform)

    def inputs_from(self, uniform: Array, ranges: list[list[float]] | None = None) -> Array:
        """x in the x range from uniform numbers of the same shape in [0, 1)."""
        low, width = (self._low[3], self._width[3]) if ranges is None else _ends(ranges[3])
        return low + width * uniform

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

    def _seen(self, parameters: tuple[Array, Array, Array], x: Array) -> Array:
        """Targets of support points x (T, K)."""
        amplitude, phase, frequency = parameters
        kind = self.settings.support_targets
        if kind == "none":
            return np.zeros_like(x)
        y = self.curve((amplitude, phase - SHIFT, frequency) if kind == "shifted" else parameters, x)
        return np.sign(y) * np.sqrt(np.abs(y)) if kind == "root" else y


def _around_phase(parameters: tuple[Array, Array, Array], uniform: Array) -> Array:
    """x within A of phi (T, K), from uniform numbers in [0, 1)."""
    amplitude, phase, _ = parameters
    return phase + amplitude * (2 * uniform - 1)


def _ends(ranges: Any) -> tuple[Any, Any]:
    """Low ends and widths of one range or several."""
    low, high = np.array(ranges, dtype=float).T
    return low, high - low


def _columns(drawn: Array) -> tuple[Array, Array, Array]:
    """The first three columns of (T, 3) or more, (T, 1) each."""
    return drawn[:, 0:1], drawn[:, 1:2], drawn[:, 2:3]
