"""Learned inner rates as a part of the vector of meta-parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maml_exp.core.inner.layers.rates import StepRates, UnitRates, WeightRates

Array = np.ndarray
QUANTILES = {"lowest_tenth": 0.1, "median": 0.5, "highest_tenth": 0.9}  # what is told of rates by weight


class LearnedRates:
    """What the part "rates" says of every step of everything that moves (Li et al. 2017; Antoniou et al. 2019).

    A rate rho is kept as kappa = rho / alpha, alpha being inner.lr; the part holds log kappa, which starts at 0, or
    rho itself, which may become negative.

    Args:
        by: what shares a rate: one, layer, layer_and_step or weight.
        store: log or raw.
        alpha: inner.lr, of runs in lockstep one each.
        steps: S.
        shapes: of whatever moves, by name, layer by layer, then the context: (n + 1, m) and (1, c).
    """

    def __init__(
        self, by: str, store: str, alpha: float | tuple[float, ...], steps: int, shapes: Mapping[str, tuple[int, ...]]
    ):
        self.by, self.store, self.steps = by, store, steps
        self.alpha: Any = np.reshape(alpha, (-1, 1)) if isinstance(alpha, tuple) else alpha
        self.names, self.shapes = list(shapes), list(shapes.values())
        unit, step = np.arange(len(self.shapes))[:, None], np.arange(steps)
        # which of the part's numbers is the rate of every unit and step
        numbers = {"one": 0 * unit + 0 * step, "layer": unit + 0 * step, "layer_and_step": step * len(unit) + unit}
        self._number = numbers.get(by)
        counts = {"one": 1, "layer": len(unit), "layer_and_step": steps * len(unit)}
        self.size = int(sum(map(np.prod, self.shapes))) if by == "weight" else counts[by]

    @property
    def kind(self) -> type[UnitRates]:
        """The class that computes with them in an inner loop."""
        return WeightRates if self.by == "weight" else StepRates

    def init(self, start: Sequence[float] | None, rng: np.random.Generator) -> Array:
        """The part (size,) before training: alpha, or uniform in [low, high] = start."""
        rho = np.full(self.size, self.alpha) if start is None else rng.uniform(start[0], start[1], self.size)
        return np.log(rho / self.alpha) if self.store == "log" else rho

    def kappa(self, part: Array) -> Array:
        """rho / alpha (size,)."""
        return np.exp(part) if self.store == "log" else part / np.asarray(self.alpha, part.dtype)

    def by_unit(self, part: Array, steps: int) -> list:
        """kappa of everything that moves, for so many steps: S arrays (1, 1, 1) each, or one of (1, its shape).

        Steps beyond the trained ones have the last one's rates.
        """
        kappa = self.kappa(part)
        if self.by == "weight":
            ends = np.cumsum([np.prod(shape) for shape in self.shapes], dtype=int)[:-1]
            pieces = zip(np.split(kappa, ends, axis=-1), self.shapes, strict=True)
            return [piece.reshape(*part.shape[:-1], 1, *shape) for piece, shape in pieces]
        table = kappa.T[self._number][..., None, None, None]
        last = self.steps - 1
        return [[unit[min(s, last)] for s in range(steps)] for unit in table]

    def by_name(self, part: Array) -> dict[str, Array]:
        """rho of everything that moves: (S,) each, or of its shape if rates are by weight."""
        kappas = self.by_unit(part, self.steps)
        kappas = [kappa[0] if self.by == "weight" else np.ravel(kappa) for kappa in kappas]
        return {name: self.alpha * kappa for name, kappa in zip(self.names, kappas, strict=True)}

    def told(self, part: Array) -> dict[str, float]:
        """rho of every step of everything that moves, or, if rates are by weight, their quantiles; by name."""
        found: dict[str, float] = {}
        for name, rates in self.by_name(part).items():
            if self.by == "weight":
                values = dict(zip(QUANTILES, np.quantile(rates, list(QUANTILES.values())), strict=True))
            else:
                values = {f"step_{s}": rate for s, rate in enumerate(rates)}
            found |= {f"rate_{name}_{which}": float(value) for which, value in values.items()}
        return found

    def gradient(self, part: Array, dots: Sequence) -> Array:
        """dL/dpart (size,) from dL/dkappa of everything that moves: S numbers each, or an array of its shape."""
        runs = part.shape[:-1]
        if self.by == "weight":
            by_kappa = np.concatenate([dot.reshape(*runs, -1) for dot in dots], axis=-1)
        else:
            assert self._number is not None  # as by weight alone
            number, of_runs = self._number.ravel(), np.reshape(dots, (self._number.size, -1)).T
            sums = [np.bincount(number, of_run, self.size) for of_run in of_runs]
            by_kappa = np.reshape(sums, part.shape).astype(part.dtype)
        if self.store == "log":  # kappa = exp(part)
            return by_kappa * self.kappa(part)
        return by_kappa / np.asarray(self.alpha, part.dtype)
