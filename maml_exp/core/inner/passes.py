"""The passes of one meta-batch, in the order in which buffers are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Pass(NamedTuple):
    """One forward and backward pass at theta_behind (docs/derivation.md, sections 1 and 5).

    S support passes come first, pass s behind s steps; then one or several query passes, the last of them at theta_S.
    """

    behind: int  # inner steps made before it
    points: int  # a task
    factor: Any  # its errors are factor * dL/dz: -alpha in a support pass, omega / T in a query pass
    kept: bool = True  # for a pull-back or a sum over steps; else all passes may be made in the same buffers


def step_count(passes: Sequence[Pass]) -> int:
    """S: as many support passes as there are steps behind the last query pass."""
    return passes[-1].behind


def support_passes(steps: int, points: int, alpha: Any, kept: bool = True) -> tuple[Pass, ...]:
    """The passes at theta_0 .. theta_{S-1}, whose errors are u = -alpha dL/dz; alpha may be an array, one a run."""
    return tuple(Pass(s, points, -alpha, kept) for s in range(steps))


def query_passes(omega: Sequence[float], points: int, tasks: int) -> tuple[Pass, ...]:
    """The passes at those of theta_0 .. theta_S whose query loss has a weight, and the one at theta_S in any case."""
    last = len(omega) - 1
    return tuple(Pass(r, points, weight / tasks) for r, weight in enumerate(omega) if weight or r == last)
