"""Adam (Kingma and Ba 2015, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.optimizers.base import NEGLIGIBLE, OptimizerSettings, OptimizerState, flushed

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
    count = state.count + 1
    # first  <- beta1 first  + (1 - beta1) g
    # second <- beta2 second + (1 - beta2) g^2, in new arrays but with few temporary ones: P may be large
    first = beta1 * state.moments[0]
    work = (1 - beta1) * gradient
    first += work
    second = beta2 * state.moments[1]
    np.multiply(gradient, gradient, out=work)
    work *= 1 - beta2
    second += work
    # with m = first / (1 - beta1^t) and v = second / (1 - beta2^t)
    correction = (1 - beta2**count) ** 0.5
    np.sqrt(second, out=work)
    work += settings.epsilon * correction
    np.divide(first, work, out=work)
    work *= np.asarray(settings.lr * correction / (1 - beta1**count), work.dtype)
    first = flushed(first, count, min(NEGLIGIBLE, NEGLIGIBLE_FIRST * settings.epsilon))
    second = flushed(second, count, min(NEGLIGIBLE, (NEGLIGIBLE_ROOT * settings.epsilon) ** 2))
    return theta - work, OptimizerState(count, (first, second))
