"""Trainings that go on and on, timed turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Training:
    """A training in progress.

    Args:
        step: takes a state to the next one, beside metrics.
        state: the first one.
    """

    def __init__(self, step: Callable[[Any], tuple[Any, Any]], state: Any):
        self._step, self._state = step, state

    def seconds(self, length: float) -> float:
        """Of an iteration, over a turn of so many seconds of processor time."""
        started, made = time.process_time(), 0
        while (taken := time.process_time() - started) < length:
            self._state, _ = self._step(self._state)
            made += 1
        return taken / made
