"""Curves of several kinds, a task one of them: sinusoids and lines (Finn, Xu and Levine 2018, section 5.1), with
parabolas, tanh and absolute values (Vuorio et al. 2019, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import Check, setting
from maml_exp.core.tasks._curves import CurveFamily, CurveSettings

Array = np.ndarray


class Mode(NamedTuple):
    """One kind of curve: its ranges, and y at x (T, K) from its parameters a, b, c (T, 1)."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    curve: Callable[[Array, Array, Array, Array], Array]


def _parabola(x: Array, a: Array, b: Array, c: Array) -> Array:
    """A (x - c)^2 + b, |a| in [0.02, 0.15]: a is drawn in [-1, 1], and its sign kept."""
    return (np.sign(a) * 0.02 + 0.13 * a) * (x - c) ** 2 + b


MODES = {
    "sinusoid": Mode((0.1, 0.0, 0.0), (5.0, np.pi, 0.0), lambda x, a, b, c: a * np.sin(x - b)),
    "line": Mode((-3.0, -3.0, 0.0), (3.0, 3.0, 0.0), lambda x, a, b, c: a * x + b),
    "quadratic": Mode((-1.0, -3.0, -3.0), (1.0, 3.0, 3.0), _parabola),
    "tanh": Mode((-3.0, -3.0, -3.0), (3.0, 3.0, 3.0), lambda x, a, b, c: a * np.tanh(x - c) + b),
    "absolute": Mode((-3.0, -3.0, -3.0), (3.0, 3.0, 3.0), lambda x, a, b, c: a * np.abs(x - c) + b),
}


def _are_modes(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and set(value) <= set(MODES) and len(set(value)) == len(value)


@dataclass
class Settings(CurveSettings):
    """A task is one of several kinds of curves; every meta-batch has as many of each, to one."""

    name: str = "mixture"
    noise: float = setting(0.3, "standard deviation of what is added to targets", checks.not_negative())
    modes: list[str] = setting(
        ["sinusoid", "line"], "the kinds", Check(_are_modes, lambda: f"a list of different ones of {', '.join(MODES)}")
    )


class Family(CurveFamily):
    """Curves of the settings' modes; which one a task has, its network must find out from its support points."""

    draws = 4
    draws_by_task = False  # the first one's mode is drawn

    def parameters(self, uniform: Array) -> tuple[Array, Array]:
        """The mode of each task (T,), in turns from a random one on, and its a, b, c (3, T, 1)."""
        modes = [MODES[name] for name in self.settings.modes]
        mode = (np.arange(len(uniform)) + int(uniform[0, 0] * len(modes))) % len(modes)
        low, high = np.array([m.low for m in modes])[mode], np.array([m.high for m in modes])[mode]
        return mode, (low + (high - low) * uniform[:, 1:]).T[..., None]

    def curve(self, parameters: tuple[Array, Array], x: Array) -> Array:
        """See `MODES`."""
        mode, numbers = parameters
        y = np.empty(x.shape)
        for place, name in enumerate(self.settings.modes):
            tasks = mode == place
            y[tasks] = MODES[name].curve(x[tasks], *numbers[:, tasks])
        return y
