"""Which representation a layer's adapted weights get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.inner.layers.layer import Layer, SharedLayer
from maml_exp.core.inner.layers.matrices import FadingMultipliedOutLayer, MultipliedOutLayer, WeightRatesLayer
from maml_exp.core.inner.layers.pairs import FadingPairedLayer, PairedLayer
from maml_exp.core.inner.layers.rates import UnitRates, WeightRates
from maml_exp.core.inner.passes import Pass, step_count


def pairs_pay(n: int, m: int, rank: int) -> bool:
    """The rule of numbers: R pairs are R (n + m) a task, multiplied out they are n m (docs/derivation.md, section 11).

    Pairs pay somewhat beyond equality, since products with the shared W stay one large product over all
    tasks; the factor 1.5 is where both were measured to take the same time (docs/performance.md).
    """
    return rank * (n + m) < 1.5 * n * m


def calls_cost_more(n: int, m: int, tasks: int, steps: int) -> bool:
    """Whether the calls of numpy that pairs need cost more than numbers of tasks and steps that pairs save.

    Every step has a product with each of the others, so the calls grow with S^2, what they save with S T n m. The
    factor is where multiplying out took 15 to 25% less time (docs/performance.md); with one or two steps it never did.
    """
    return tasks * n * m < 14_000 * (steps - 2)


def keeps_pairs(n: int, m: int, tasks: int, steps: int, rank: int) -> bool:
    """Both rules: whether a layer's adapted weights stay pairs."""
    return pairs_pay(n, m, rank) and not calls_cost_more(n, m, tasks, steps)


def make_layer(
    n: int,
    m: int,
    tasks: tuple[int, ...],
    passes: Sequence[Pass],
    dtype: np.dtype | type | str,
    *,
    bias_is_data: bool = False,
    constant_inputs: bool = False,
    moves: bool = True,
    rates: type = UnitRates,
    keep: float = 1.0,
    pairs: bool | None = None,
) -> Layer:
    """A layer in the representation that costs less.

    Args:
        n, m, tasks, passes, dtype, bias_is_data, constant_inputs: see `Layer`.
        moves: whether inner steps change it.
        rates: the class of its steps' rates; rates by weight are always multiplied out.
        keep: what a step leaves of the earlier ones, below 1 where steps fade.
        pairs: force one representation, for tests and benchmarks.
    """
    sizes = (n, m, tasks, passes, np.dtype(dtype), bias_is_data, constant_inputs)
    if not moves:
        return SharedLayer(*sizes)
    if rates is WeightRates:
        return WeightRatesLayer(*sizes, rates)
    if pairs is None:
        steps = step_count(passes)
        pairs = keeps_pairs(n, m, tasks[-1], steps, sum(p.points for p in passes[:steps]))
    if keep != 1:
        fading = FadingPairedLayer if pairs else FadingMultipliedOutLayer
        return fading(*sizes, rates, keep=keep)
    kind = PairedLayer if pairs else MultipliedOutLayer
    return kind(*sizes, rates)
