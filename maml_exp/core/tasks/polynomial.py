"""Polynomials y = sum c_i x^i, c_i uniform in [-1, 1] / 2^i."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.tasks._curves import CurveFamily, CurveSettings

Array = np.ndarray


@dataclass
class Settings(CurveSettings):
    """Coefficients are drawn anew for every task."""

    name: str = "polynomial"
    degree: int = setting(3, "the highest power of x", checks.integer(0, 20))
    x_range: list[float] = setting([-2.0, 2.0], "range of x", checks.interval(strict=True))


class Family(CurveFamily):
    """Polynomials of one degree: degree + 1 points decide one without noise."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.draws = settings.degree + 1

    def bayes_error(self, shots: int) -> float | None:
        """0 where there are as many points as coefficients."""
        return 0.0 if shots >= self.draws and not self.settings.noise else None

    def parameters(self, uniform: Array) -> Array:
        """Coefficients (T, degree + 1), from that of x^0 on."""
        return (2 * uniform - 1) / 2.0 ** np.arange(self.draws)

    def curve(self, parameters: Array, x: Array) -> Array:
        """Horner's scheme."""
        y = np.zeros(x.shape)
        for power in reversed(range(self.draws)):
            y = y * x + parameters[:, power : power + 1]
        return y
