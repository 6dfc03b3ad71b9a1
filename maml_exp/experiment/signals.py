"""SIGTERM and SIGINT: finish what is under way, save, and say so; a second signal ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class InterruptedRunError(Exception):
    """The run was asked to end."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class Signals:
    """What has arrived. Between `atomic` parts of the work a signal raises; within, it waits for `check`."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._waiting = 0

    def _handle(self, number: int, frame: object) -> None:
        for caught in CAUGHT:  # whoever signals twice means it
            signal.signal(caught, signal.SIG_DFL)
        self._received = number
        if not self._waiting:
            raise InterruptedRunError(number)

    @property
    def received(self) -> bool:
        """Whether a signal has arrived."""
        return self._received is not None

    def check(self) -> None:
        """Raise `InterruptedRunError` if a signal has arrived."""
        if self._received is not None:
            raise InterruptedRunError(self._received)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Work that a signal must not break into: it is noted, and raised at the next `check`."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


@contextmanager
def caught_signals() -> Iterator[Signals]:
    """Catch SIGTERM and SIGINT while inside; in a thread other than the main one nothing can be caught."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals._handle) for number in CAUGHT}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
