"""What optimizers of the outer loop share: state, settings, the schedule of their rate, and two helpers."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import SettingError, setting

Array = np.ndarray
FLUSH_EVERY, NEGLIGIBLE = 100, 1e-30
AUTO = "auto"
LIMIT = checks.optional(checks.one_of_or((AUTO,), checks.number()))
CONSTANT = "constant"
# how much of the way from lr_end to lr is left when a share of the iterations is made (cosine: Loshchilov and Hutter
# 2017, equation 5, without restarts)
SCHEDULES: dict[str, Callable[[float], float]] = {
    CONSTANT: lambda made: 1.0,
    "cosine": lambda made: (1 + math.cos(math.pi * made)) / 2,
    "linear": lambda made: 1 - made,
}


@dataclass
class OptimizerSettings(checks.Settings):
    """What every optimizer of the outer loop has."""

    section: ClassVar[str] = "optimizer"
    by_element: ClassVar[bool] = False  # no element minds the others, and lr may be an array: runs go in lockstep
    name: str = "?"  # the file in core/optimizers
    lr: float = setting(1e-3, "rate of the outer loop", checks.number())
    schedule: str = setting(
        CONSTANT, "how the rate falls from lr to lr_end while training", checks.one_of(lambda: SCHEDULES)
    )
    lr_end: float = setting(0.0, "where a schedule leads the rate", checks.not_negative())
    clip_norm: Any = setting(
        AUTO, "the meta-gradient is scaled down to this norm; auto: to 10 where inner.steps > 1; null: never", LIMIT
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.clip_norm, int):  # so that 10 and 10.0 are saved as the same
            self.clip_norm = float(self.clip_norm)
        if self.schedule == CONSTANT and self.lr_end > 0:
            shown = f"optimizer.lr_end={self.lr_end:g} with optimizer.schedule={CONSTANT}"
            raise SettingError(f"{shown} is not usable: nothing leads there; choose cosine or linear")
        checks.require(self.lr_end <= self.lr, "optimizer.lr_end", self.lr_end, f"at most optimizer.lr={self.lr}")


AnySettings = TypeVar("AnySettings", bound=OptimizerSettings)


def scheduled(settings: AnySettings, progress: float) -> AnySettings:
    """The settings with the rate of one iteration; themselves where it is constant.

    eta(t) = eta_end + (eta_0 - eta_end) left(t / N), `progress` being t / N, the share of iterations made.
    """
    if settings.schedule == CONSTANT:
        return settings
    now, left = copy(settings), SCHEDULES[settings.schedule](progress)
    now.lr = settings.lr_end + (settings.lr - settings.lr_end) * left
    return now


class OptimizerState(NamedTuple):
    """What an optimizer remembers."""

    count: int  # type: ignore[assignment]  # updates made; tuple's own `count` is not needed here
    moments: tuple[Array, ...]  # each (P,): adam's first and second moment; sgd's velocity


def is_time_to_flush(count: int) -> bool:
    """Whether `flush` is due behind so many updates."""
    return count % FLUSH_EVERY == 0


def flush(moment: Array, negligible: float) -> None:
    """Set entries of a moment (P,) to zero that are below `negligible`.

    Where the gradient stays zero, as behind a dead ReLU, a moment decays into denormal numbers, at which
    processors are many times slower: 30% of an iteration of width 256. What is negligible depends on the
    optimizer's settings, so that the parameters do not notice; it is at most `NEGLIGIBLE`.
    """
    moment[np.abs(moment) < negligible] = 0


def clipped(gradient: Array, norm: float, limit: float | None) -> Array:
    """The gradient, scaled down to norm `limit` where its norm is larger."""
    return gradient if limit is None or not norm > limit else gradient * (limit / norm)
