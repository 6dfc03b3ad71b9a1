"""Adam (Kingma and Ba 2015, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.optimizers.base import NEGLIGIBLE, OptimizerSettings, OptimizerState, flush, is_time_to_flush

Array = np.ndarray
# m / (sqrt(v) + epsilon) does not notice a root of v, or an m, that is smaller than this share of epsilon
NEGLIGIBLE_ROOT, NEGLIGIBLE_FIRST = 1e-7, 1e-22


@dataclass
class Settings(OptimizerSettings):
    """Adam's settings."""

    by_element: ClassVar[bool] = True
    name: str = "adam"
    beta1: float = setting(0.9, "decay of the mean of gradients", checks.fraction())
    beta2: float = setting(0.999, "decay of the mean of squared gradients", checks.fraction())
    epsilon: float = setting(1e-8, "added to the root of the mean square", checks.number())


def init(theta: Array) -> OptimizerState:
    """No update yet, both moments zero."""
    return OptimizerState(0, (np.zeros_like(theta), np.zeros_like(theta)))


def update(gradient: Array, state: OptimizerState, theta: Array, settings: Settings) -> tuple[Array, OptimizerState]:
    """One step of Adam: theta <- theta - lr m / (sqrt(v) + epsilon), m and v the bias-corrected moments."""
    beta1, beta2 = settings.beta1, settings.beta2
    count, (first, second) = state.count + 1, state.moments
    decay1, share1, decay2, share2 = _numbers(beta1, beta2, gradient.dtype)
    # first  <- beta1 first  + (1 - beta1) g
    # second <- beta2 second + (1 - beta2) g^2, in new arrays but with few temporary ones: P may be large
    first = np.multiply(first, decay1)
    work = np.multiply(gradient, share1)
    np.add(first, work, first)
    second = np.multiply(second, decay2)
    np.multiply(gradient, gradient, work)
    np.multiply(work, share2, work)
    np.add(second, work, second)
    # with m = first / (1 - beta1^t) and v = second / (1 - beta2^t)
    correction = (1 - beta2**count) ** 0.5
    np.sqrt(second, work)
    np.add(work, np.asarray(settings.epsilon * correction, work.dtype), work)
    np.divide(first, work, work)
    np.multiply(work, np.asarray(settings.lr * correction / (1 - beta1**count), work.dtype), work)
    np.subtract(theta, work, work)
    if is_time_to_flush(count):
        flush(first, min(NEGLIGIBLE, NEGLIGIBLE_FIRST * settings.epsilon))
        flush(second, min(NEGLIGIBLE, (NEGLIGIBLE_ROOT * settings.epsilon) ** 2))
    return work, OptimizerState(count, (first, second))


@lru_cache(maxsize=32)
def _numbers(beta1: float, beta2: float, dtype: np.dtype) -> tuple[Array, ...]:
    """beta1, 1 - beta1, beta2, 1 - beta2 as arrays: to convert a number takes longer than a small product."""
    return tuple(np.asarray(number, dtype) for number in (beta1, 1 - beta1, beta2, 1 - beta2))
