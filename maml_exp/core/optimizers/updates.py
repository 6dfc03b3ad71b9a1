"""Optimizers of the outer loop, as pairs of functions on the flat parameter vector.

`init(theta)` gives an optimizer's state; `update(gradient, state, theta, settings)` gives the new
(theta, state). Nothing is changed in place: a state that was handed out stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from maml_exp.core.settings import OptimizerSettings

Array = np.ndarray


class OptimizerState(NamedTuple):
    """What an optimizer remembers."""

    count: int  # updates made
    moments: tuple[Array, ...]  # each (P,): adam's first and second moment; sgd's velocity


class Optimizer(NamedTuple):
    """An optimizer's two functions."""

    init: Callable[[Array], OptimizerState]
    update: Callable[[Array, OptimizerState, Array, OptimizerSettings], tuple[Array, OptimizerState]]


FLUSH_EVERY, NEGLIGIBLE = 100, 1e-30


def flushed(moment: Array, count: int) -> Array:
    """The moment (P,) itself, every so often with negligible entries set to zero.

    Where the gradient stays zero, as behind a dead ReLU, a moment decays into denormal numbers, at which
    processors are many times slower: 30% of an iteration of width 256. A square root of `NEGLIGIBLE` is far
    below any epsilon in use, so the parameters do not notice.
    """
    if count % FLUSH_EVERY == 0:
        moment[np.abs(moment) < NEGLIGIBLE] = 0
    return moment


def adam_init(theta: Array) -> OptimizerState:
    """No update yet, both moments zero."""
    return OptimizerState(0, (np.zeros_like(theta), np.zeros_like(theta)))


def adam_update(
    gradient: Array, state: OptimizerState, theta: Array, settings: OptimizerSettings
) -> tuple[Array, OptimizerState]:
    """Adam (Kingma and Ba 2015, algorithm 1)."""
    beta1, beta2, count = settings.beta1, settings.beta2, state.count + 1
    # first  <- beta1 first  + (1 - beta1) g
    # second <- beta2 second + (1 - beta2) g^2, in new arrays but with few temporary ones: P may be large
    first = beta1 * state.moments[0]
    work = (1 - beta1) * gradient
    first += work
    second = beta2 * state.moments[1]
    np.multiply(gradient, gradient, out=work)
    work *= 1 - beta2
    second += work
    # theta - lr m / (sqrt(v) + epsilon), with m = first / (1 - beta1^t) and v = second / (1 - beta2^t)
    correction = (1 - beta2**count) ** 0.5
    np.sqrt(second, out=work)
    work += settings.epsilon * correction
    np.divide(first, work, out=work)
    work *= settings.lr * correction / (1 - beta1**count)
    return theta - work, OptimizerState(count, (flushed(first, count), flushed(second, count)))


def sgd_init(theta: Array) -> OptimizerState:
    """No update yet, velocity zero."""
    return OptimizerState(0, (np.zeros_like(theta),))


def sgd_update(
    gradient: Array, state: OptimizerState, theta: Array, settings: OptimizerSettings
) -> tuple[Array, OptimizerState]:
    """Gradient descent with heavy-ball momentum: velocity <- momentum velocity + g, theta <- theta - lr velocity."""
    velocity, count = settings.momentum * state.moments[0] + gradient, state.count + 1
    return theta - settings.lr * velocity, OptimizerState(count, (flushed(velocity, count),))


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(adam_init, adam_update),
    "sgd": Optimizer(sgd_init, sgd_update),
}


def clipped(gradient: Array, norm: float, limit: float | None) -> Array:
    """The gradient, scaled down to norm `limit` where its norm is larger."""
    return gradient if limit is None or not norm > limit else gradient * (limit / norm)
