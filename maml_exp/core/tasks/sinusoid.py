"""Families of few-shot regression tasks, drawn in whole meta-batches from an explicit generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from maml_exp.core.settings import TaskSettings

Array = np.ndarray


class Batch(NamedTuple):
    """A meta-batch: support points to adapt on and query points to judge by."""

    x_support: Array  # (T, K, n)
    y_support: Array  # (T, K, m)
    x_query: Array  # (T, Q, n)
    y_query: Array  # (T, Q, m)

    def pooled(self) -> tuple[Array, Array]:
        """x (T, K + Q, n) and y (T, K + Q, m): support and query together, for joint training."""
        x = np.concatenate([self.x_support, self.x_query], axis=1)
        return x, np.concatenate([self.y_support, self.y_query], axis=1)


class Sinusoids:
    """y = A sin(f x - phi), with A, phi, f and x uniform in the settings' ranges (Finn et al. 2017, section 5.1).

    Everything is drawn and computed in float64 and then rounded, so that all dtypes see the same tasks.
    With `settings.oracle` a network is also told A and phi: its inputs are (x, A, phi).
    """

    def __init__(self, settings: TaskSettings):
        self.settings = settings
        self.inputs, self.outputs = (3 if settings.oracle else 1), 1
        low, high = np.array([settings.amplitude, settings.phase, settings.frequency, settings.x_range]).T
        draws = [1, 1, 1, settings.shots + settings.query]  # of each, for a task
        self._low, self._width = np.repeat(low, draws), np.repeat(high - low, draws)

    def parameters(self, uniform: Array) -> tuple[Array, Array, Array]:
        """Amplitude, phase (radians) and frequency, (T, 1) each, from uniform numbers (T, 3) in [0, 1)."""
        return _columns(self._low[:3] + self._width[:3] * uniform)

    def inputs_from(self, uniform: Array) -> Array:
        """x in the x range from uniform numbers of the same shape in [0, 1)."""
        return self._low[3] + self._width[3] * uniform

    def features(self, parameters: tuple[Array, Array, Array], x: Array) -> Array:
        """What a network sees (T, K, n) of x (T, K) or (K,)."""
        amplitude, phase, _ = parameters
        x = x if x.ndim == 2 else np.broadcast_to(x, (len(amplitude), len(x)))
        if not self.settings.oracle:
            return x[..., None]
        return np.stack([x, np.broadcast_to(amplitude, x.shape), np.broadcast_to(phase, x.shape)], axis=-1)

    @staticmethod
    def curve(parameters: tuple[Array, Array, Array], x: Array) -> Array:
        """y = A sin(f x - phi) for x (T, K) or (K,)."""
        amplitude, phase, frequency = parameters
        y = frequency * x
        y -= phase
        np.sin(y, out=y)
        y *= amplitude
        return y

    def sample(self, rng: np.random.Generator, tasks: int, dtype: np.dtype | type | str) -> Batch:
        """A meta-batch of `tasks` tasks with the settings' numbers of support and query points."""
        shots, queries = self.settings.shots, self.settings.query
        drawn = self._low + self._width * rng.random((tasks, 3 + shots + queries))
        parameters, x = _columns(drawn), drawn[:, 3:]
        y = self.curve(parameters, x)[..., None].astype(dtype)
        x = self.features(parameters, x).astype(dtype)
        return Batch(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])


def _columns(drawn: Array) -> tuple[Array, Array, Array]:
    """The first three columns of (T, 3) or more, (T, 1) each."""
    return drawn[:, 0:1], drawn[:, 1:2], drawn[:, 2:3]


TASKS: dict[str, Callable[[TaskSettings], Sinusoids]] = {"sinusoid": Sinusoids}
