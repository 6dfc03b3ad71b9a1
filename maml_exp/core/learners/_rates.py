"""Learned inner rates as a part of the vector of meta-parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.inner.rates import StepRates, UnitRates, WeightRates

Array = np.ndarray


class LearnedRates:
    """What the part "rates" says of every step of everything that moves (Li et al. 2017; Antoniou et al. 2019).

    A rate rho is kept as kappa = rho / alpha, alpha being inner.lr; the part holds log kappa, which starts at 0, or
    rho itself, which may become negative.

    Args:
        by: what shares a rate: one, layer, layer_and_step or weight.
        store: log or raw.
        alpha: inner.lr.
        steps: S.
        shapes: of whatever moves, layer by layer, then the context: (n + 1, m) and (c,).
    """

    def __init__(self, by: str, store: str, alpha: float, steps: int, shapes: Sequence[tuple[int, ...]]):
        self.by, self.store, self.alpha, self.steps = by, store, alpha, steps
        self.shapes = list(shapes)
        units = len(self.shapes)
        numbers = {"one": 1, "layer": units, "layer_and_step": steps * units}
        self.size = sum(map(int, map(np.prod, self.shapes))) if by == "weight" else numbers[by]

    @property
    def kind(self) -> type[UnitRates]:
        """The class that computes with them in an inner loop."""
        return WeightRates if self.by == "weight" else StepRates

    def init(self, start: Sequence[float] | None, rng: np.random.Generator) -> Array:
        """The part (size,) before training: alpha, or uniform in [low, high] = start."""
        rho = np.full(self.size, self.alpha) if start is None else rng.uniform(*start, self.size)
        return np.log(rho / self.alpha) if self.store == "log" else rho

    def kappa(self, part: Array) -> Array:
        """rho / alpha (size,)."""
        return np.exp(part) if self.store == "log" else part / part.dtype.type(self.alpha)

    def by_unit(self, part: Array, steps: int) -> list:
        """kappa of everything that moves, for so many steps: S numbers, or one array of its shape.

        Steps beyond the trained ones have the last one's rates.
        """
        kappa = self.kappa(part)
        if self.by == "weight":
            ends = np.cumsum([np.prod(shape) for shape in self.shapes], dtype=int)[:-1]
            return [piece.reshape(shape) for piece, shape in zip(np.split(kappa, ends), self.shapes, strict=True)]
        table = self._table(kappa)
        made = np.minimum(np.arange(steps), self.steps - 1)
        return table[made].T.tolist()

    def _table(self, kappa: Array) -> Array:
        """(S, units) from what is shared among them."""
        shapes = {"one": (1, 1), "layer": (1, -1), "layer_and_step": (self.steps, -1)}
        return np.broadcast_to(kappa.reshape(shapes[self.by]), (self.steps, len(self.shapes)))

    def gradient(self, part: Array, dots: Sequence) -> Array:
        """dL/dpart (size,) from dL/dkappa of everything that moves."""
        if self.by == "weight":
            by_kappa = np.concatenate([np.ravel(dot) for dot in dots])
        else:
            table = np.array(dots, part.dtype).T  # (S, units)
            sums = {"one": table.sum(keepdims=True), "layer": table.sum(axis=0), "layer_and_step": table}
            by_kappa = sums[self.by].ravel()
        if self.store == "log":  # kappa = exp(part)
            return by_kappa * self.kappa(part)
        return by_kappa / self.alpha
