"""Two harmonics, each task near an x of its own (Lacoste et al. 2018, section 5.1).

y = a_1 sin(f x + b_1) + a_2 sin(2 f x + b_2), f the frequency; x ~ N(mu, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.tasks._curves import OTHER_RANGE, CurveFamily, CurveSettings

Array = np.ndarray
CENTRE = "range of mu, about which a task's x are normally distributed"


@dataclass
class Settings(CurveSettings):
    """Amplitudes are N(0, 1), phases uniform in [0, 2 pi]."""

    name: str = "harmonic"
    frequency: list[float] = setting([5.0, 7.0], "range of f", checks.interval(), unit="radians per unit of x")
    x_range: list[float] = setting([-4.0, 4.0], CENTRE, checks.interval(strict=True))
    x_range_test: list[float] | None = setting(None, OTHER_RANGE, checks.optional(checks.interval(strict=True)))


class Family(CurveFamily):
    """Held-out points are the quantiles of a task's x, so that errors are the mean over its own distribution."""

    draws = 6

    def parameters(self, uniform: Array) -> tuple[Array, ...]:
        """Frequency, amplitudes, phases and the place of mu in its range, (T, 1) each."""
        low, high = self.settings.frequency
        # two normal numbers from two uniform ones (Box and Muller 1958)
        radius, angle = np.sqrt(-2 * np.log1p(-uniform[:, 1:2])), 2 * np.pi * uniform[:, 2:3]
        amplitudes = radius * np.cos(angle), radius * np.sin(angle)
        phases = 2 * np.pi * uniform[:, 3:4], 2 * np.pi * uniform[:, 4:5]
        return (low + (high - low) * uniform[:, 0:1], *amplitudes, *phases, uniform[:, 5:6])

    def curve(self, parameters: tuple[Array, ...], x: Array) -> Array:
        """The sum of both harmonics."""
        f, a_1, a_2, b_1, b_2, _ = parameters
        return a_1 * np.sin(f * x + b_1) + a_2 * np.sin(2 * f * x + b_2)

    def raw_inputs(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Normal numbers."""
        return rng.standard_normal(shape)

    def raw_grid(self, points: int) -> Array:
        """Quantiles of the normal distribution, at the middles of even shares."""
        return np.array([NormalDist().inv_cdf((place + 0.5) / points) for place in range(points)])

    def inputs_from(self, parameters: Any, raw: Array, test: bool) -> Array:
        """Mu + raw."""
        low, high = (test and self.settings.x_range_test) or self.settings.x_range
        return low + (high - low) * parameters[5] + raw
