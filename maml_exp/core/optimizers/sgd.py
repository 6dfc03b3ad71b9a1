"""Gradient descent with heavy-ball momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.optimizers.base import NEGLIGIBLE, OptimizerSettings, OptimizerState, flush, is_time_to_flush

Array = np.ndarray


@dataclass
class Settings(OptimizerSettings):
    """The settings of gradient descent."""

    by_element: ClassVar[bool] = True
    name: str = "sgd"
    momentum: float = setting(0.0, "share of the last velocity that is kept", checks.fraction())


def init(theta: Array) -> OptimizerState:
    """No update yet, velocity zero."""
    return OptimizerState(0, (np.zeros_like(theta),))


def update(gradient: Array, state: OptimizerState, theta: Array, settings: Settings) -> tuple[Array, OptimizerState]:
    """velocity <- momentum velocity + g; theta <- theta - lr velocity."""
    count = state.count + 1
    velocity = settings.momentum * state.moments[0] + gradient
    theta = theta - np.asarray(settings.lr, theta.dtype) * velocity
    if is_time_to_flush(count):
        flush(velocity, NEGLIGIBLE / np.maximum(settings.lr, 1.0))
    return theta, OptimizerState(count, (velocity,))
