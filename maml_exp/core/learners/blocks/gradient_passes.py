"""What the passes of a meta-batch find: the outer direction and the losses, of every way to make one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.inner.points import Points
from maml_exp.core.inner.whole import WholeLoop
from maml_exp.core.learners.blocks.rates import LearnedRates
from maml_exp.core.parameters import Layout

Array = np.ndarray


class Found(NamedTuple):
    """What the passes of a meta-batch find, in memory that the next ones use again."""

    gradient: Array  # (P,), of all parts but the rates
    query: Any  # of the last query pass, what `Loss.mean` takes
    support: Any  # of the first pass
    totals: tuple[Array | None, Array | None]  # of both, where they are known
    dots: list[Any] | None = None  # what the rates' gradient is made of, where they are learned
    curvature: tuple[Array, Array] | None = None  # the exact gradient and that of first order, where both are measured


class Finder:
    """Finds the outer direction from a vector and the arrays of `Points`, in the passes of a `WholeLoop`.

    Its methods compute from these alone, and return arrays alone, so that they can be replayed (core/replay).

    Args:
        layout: the parts of the vector.
        rates: of the inner steps, where they are learned.
        measures_curvature: whether a descent finds the gradients of both orders.
    """

    def __init__(self, layout: Layout, rates: LearnedRates | None, measures_curvature: bool):
        self._layout, self._rates, self._measures_curvature = layout, rates, measures_curvature

    def bind(self, whole: WholeLoop, vector: Array) -> None:
        """Start from `vector`."""
        parts = self._layout.parts(vector)
        whole.bind(parts, () if self._rates is None else self._rates.by_unit(parts["rates"], whole.loop.steps))

    def exact(self, whole: WholeLoop, vector: Array, *arrays: Array) -> Found:
        """The gradient of the query losses."""
        return self._descent(whole, vector, points_of(arrays), first_order=False)

    def first_order(self, whole: WholeLoop, vector: Array, *arrays: Array) -> Found:
        """The gradient of the query losses at the adapted weights (Finn et al. 2017, section 5.2)."""
        return self._descent(whole, vector, points_of(arrays), first_order=True)

    def _descent(self, whole: WholeLoop, vector: Array, points: Points, first_order: bool) -> Found:
        self.bind(whole, vector)
        points = whole.features(points)
        support, query = whole.support(points), whole.query(points)
        if not support:
            z = whole.loop.predict(points.x, 0)
            support = [whole.loop.loss.error(z, points.y, 1.0, out=np.empty_like(z))]
        gradient = np.zeros_like(vector)  # what only second derivatives reach has none in first order
        out = self._layout.parts(gradient)
        dots = None
        if first_order and self._rates is not None:
            whole.follow()
            dots = _dots(whole)
        if not first_order or self._measures_curvature:
            whole.pull_back()
        whole.theta_gradient(points, out["theta"], not first_order)
        if "context" in out:
            whole.loop.below.start_gradient(out["context"], not first_order)
        if not first_order:
            dots = _dots(whole) if self._rates is not None else None
            _second_order_parts(whole, out)
        both = None
        if self._measures_curvature:
            other = whole.theta_gradient(points, np.empty_like(out["theta"]), first_order)
            both = (other, out["theta"]) if first_order else (out["theta"], other)
        return Found(gradient, query, support[0], _totals(whole, query, support[0]), dots, both)

    def reptile(self, whole: WholeLoop, vector: Array, *arrays: Array) -> Found:
        """Theta - theta_S, the mean over tasks (Nichol et al. 2018, algorithm 1); the loss is that of the last step."""
        self.bind(whole, vector)
        support, loop = whole.support(whole.features(points_of(arrays))), whole.loop
        gradient = loop.moved(np.empty_like(vector))
        gradient /= -loop.tasks[-1]
        return Found(gradient, support[-1], support[0], _totals(whole, support[-1], support[0]))

    def joint(self, whole: WholeLoop, vector: Array, *arrays: Array) -> Found:
        """Joint training: the mean loss of all points of all tasks, which are query points, without an inner step."""
        self.bind(whole, vector)
        points = whole.features(points_of(arrays))
        query = whole.query(points)
        gradient = whole.theta_gradient(points, np.empty_like(vector), second_order=False)
        return Found(gradient, query, query, (whole.loop.loss.total(query), None))  # support points are some of them


def _totals(whole: WholeLoop, query: Any, support: Any) -> tuple[Array, Array]:
    """`Loss.total` of both."""
    return whole.loop.loss.total(query), whole.loop.loss.total(support)


def _second_order_parts(whole: WholeLoop, out: dict[str, Array]) -> None:
    """Write the gradients of what nothing but a pull-back reaches."""
    if "head" in out:
        whole.loop.head_gradient(out["head"])
    if "loss" in out:
        whole.loop.loss_gradient(out["loss"])


def _dots(whole: WholeLoop) -> list[Any]:
    """What has been noted of the rates of all that moves: of every step, or of every weight."""
    return [list(rates.dots) if isinstance(rates.dots, list) else rates.dots for rates in whole.loop.rates]


def points_of(arrays: Sequence[Array]) -> Points:
    """Points from their arrays, the choices of every step behind them."""
    x, y, x_query, y_query, *chosen = arrays
    return Points(x, y, x_query, y_query, chosen or None)
