"""What optimizers of the outer loop share: state, settings, and two helpers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting

Array = np.ndarray
FLUSH_EVERY, NEGLIGIBLE = 100, 1e-30
AUTO = "auto"
LIMIT = checks.optional(checks.one_of_or((AUTO,), checks.number()))


@dataclass
class OptimizerSettings(checks.Settings):
    """What every optimizer of the outer loop has."""

    section: ClassVar[str] = "optimizer"
    name: str = "?"  # the file in core/optimizers
    lr: float = setting(1e-3, "rate of the outer loop", checks.number())
    clip_norm: Any = setting(
        AUTO, "the meta-gradient is scaled down to this norm; auto: to 10 where inner.steps > 1; null: never", LIMIT
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.clip_norm, int):  # so that 10 and 10.0 are saved as the same
            self.clip_norm = float(self.clip_norm)


class OptimizerState(NamedTuple):
    """What an optimizer remembers."""

    count: int  # type: ignore[assignment]  # updates made; tuple's own `count` is not needed here
    moments: tuple[Array, ...]  # each (P,): adam's first and second moment; sgd's velocity


def flushed(moment: Array, count: int, negligible: float) -> Array:
    """The moment (P,) itself, every so often with entries below `negligible` set to zero.

    Where the gradient stays zero, as behind a dead ReLU, a moment decays into denormal numbers, at which
    processors are many times slower: 30% of an iteration of width 256. What is negligible depends on the
    optimizer's settings, so that the parameters do not notice; it is at most `NEGLIGIBLE`.
    """
    if count % FLUSH_EVERY == 0:
        moment[np.abs(moment) < negligible] = 0
    return moment


def clipped(gradient: Array, norm: float, limit: float | None) -> Array:
    """The gradient, scaled down to norm `limit` where its norm is larger."""
    return gradient if limit is None or not norm > limit else gradient * (limit / norm)
