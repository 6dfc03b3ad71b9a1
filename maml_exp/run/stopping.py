"""SIGTERM, SIGINT and SIGHUP: finish what is under way, save, and say so; a second signal ends at once."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maml_exp.store.system import handling, let_the_next_end, signals_that_stop

SECONDS_BETWEEN_LOOKS = 0.3  # at the file that stops a sweep
ORPHANED = threading.Event()  # set where the process that this one works for is gone


def ask_to_stop(stop: Path) -> None:
    """Make the file that runs in other processes look for; from now on a signal ends this process at once."""
    let_the_next_end(signals_that_stop())
    stop.touch()
    with suppress(OSError, ValueError):  # the terminal may be what has gone
        print("maml-exp: stopping; running jobs save a checkpoint first (again: end at once)", file=sys.stderr)


class InterruptedRunError(Exception):
    """The run was asked to end."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class Signals:
    """What has arrived. Outside of what is `deferred` a signal raises; within, it waits for `check`."""

    def __init__(self, stop: Path | None = None) -> None:
        self._received: int | None = None
        self._waiting = 0
        self._stop, self._looked = stop, 0.0

    def _handle(self, number: int, frame: object) -> None:
        let_the_next_end(signals_that_stop())
        self._received = number
        if not self._waiting:
            raise InterruptedRunError(number)

    @property
    def received(self) -> bool:
        """Whether a signal has arrived, or the file that stands for one."""
        now = time.monotonic()
        if self._stop is not None and now - self._looked > SECONDS_BETWEEN_LOOKS:
            self._looked = now
            if self._stop.exists():
                self._received = signal.SIGINT
        if ORPHANED.is_set():  # its signal may have come where none is caught
            self._received = signal.SIGTERM
        return self._received is not None

    @property
    def exit_status(self) -> int:
        """128 + the signal that has arrived, 0 where none has."""
        return 128 + self._received if self.received and self._received is not None else 0

    def check(self) -> None:
        """Raise `InterruptedRunError` if a signal has arrived."""
        if self.received and self._received is not None:
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
def caught_signals(stop: Path | None = None) -> Iterator[Signals]:
    """Catch signals while inside, and look for a file `stop`; only the main thread can catch signals."""
    signals = Signals(stop)
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    with handling(signals_that_stop(), signals._handle):
        yield signals
