"""Rates of inner steps: alpha is in the errors already, so a rate rho is kept as kappa = rho / alpha.

    theta_{s+1} = theta_s + kappa_s u_s                   u_s = -alpha g_s
    dL/dkappa_s = u_s . v_{s+1}                           v_{s+1}: the derivative with respect to theta_{s+1}

See docs/derivation.md, "Rates that are learned". An object of one of these classes belongs to whatever moves: a layer,
or a context. `kappa` is set before a meta-batch, `dots` is read behind it. The arrays u_s are given as `errors`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maml_exp.core.arrays import inner_product

Array = np.ndarray


class UnitRates:
    """kappa = 1, for good: steps are the very arrays of the errors, and a direction is v as it stands."""

    is_learned = False
    kappa: Any = 1.0
    dots: Any = 0.0

    def __init__(self, errors: list[Array]):
        self.steps = errors

    def step(self, s: int) -> Array:
        """Make kappa_s u_s, and return it."""
        return self.steps[s]

    def direction(self, s: int, hv: Array) -> Array:
        """h_s (kappa_s V) + kappa_s c, in place of hv = h_s V + c (T, K, m)."""
        return hv

    def start(self) -> None:
        """Nothing is pulled back yet."""

    def along(self, s: int, v: Array) -> Array:
        """kappa_s v of a vector that moves, u_s and v being (T, 1, c)."""
        return v


class StepRates(UnitRates):
    """One number kappa_s a step.

    Attributes:
        kappa: S arrays (1, 1, 1), of runs in lockstep (R, 1, 1, 1); an array is quicker to multiply by than a number.
        dots: S numbers, dL/dkappa_s summed over tasks. They are free: r_forward holds h_s V + c, and the sum over
            points and outputs of u_s * (h_s V + c) is u_s . v.
    """

    is_learned = True

    def __init__(self, errors: list[Array]):
        self._errors = errors
        self.steps = [np.empty_like(u) for u in errors]
        self.kappa: list[Array] = []
        self.dots = [0.0] * len(errors)

    def step(self, s: int) -> Array:
        """Make kappa_s u_s, and return it."""
        return np.multiply(self._errors[s], self.kappa[s], out=self.steps[s])

    def direction(self, s: int, hv: Array) -> Array:
        """h_s (kappa_s V) + kappa_s c, in place of hv = h_s V + c (T, K, m)."""
        self.dots[s] = inner_product(self._errors[s], hv)
        hv *= self.kappa[s]
        return hv

    def along(self, s: int, v: Array) -> Array:
        """kappa_s v of a vector that moves, u_s and v being (T, 1, c)."""
        return self.direction(s, v.copy())


class WeightRates(UnitRates):
    """One kappa a weight, the same in every step; a layer that has them multiplies them out (`WeightRatesLayer`).

    Attributes:
        kappa: of the shape of what moves, for every task: (1, n + 1, m) of a layer, (1, 1, c) of a context.
        dots: (n + 1, m) or (1, c), dL/dkappa summed over tasks and steps.
    """

    is_learned = True

    def step(self, s: int) -> Array:
        """kappa * u_s of a vector that moves, u_s being (T, 1, c)."""
        return self.kappa * self.steps[s]

    def start(self) -> None:
        """Nothing is pulled back yet."""
        self.dots = 0.0

    def note(self, product: Array) -> None:
        """Add what one step says, g_s * v_{s+1} of every task, (T, ...)."""
        self.dots = self.dots + np.add.reduce(product, axis=-3)

    def along(self, s: int, v: Array) -> Array:
        """kappa * v of a vector that moves, u_s and v being (T, 1, c)."""
        self.note(self.steps[s] * v)
        return self.kappa * v
