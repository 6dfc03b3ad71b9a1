"""What not every operating system has: signal masks, SIGHUP, locks on files, a share of the cores. Windows has none."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

try:
    import fcntl
except ImportError:  # folders are not locked there
    fcntl = None  # type: ignore[assignment]

MADE_BETWEEN_LOOKS = 20_000  # objects; Python's own number is 700 or 2,000
HANGUP: int | None = getattr(signal, "SIGHUP", None)  # the terminal was closed, or the connection dropped


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def seldom_look_for_garbage() -> None:
    """Have Python look for cycles that nobody refers to less often, and not when the process ends.

    A command makes many small objects, of configurations say, and keeps them: to look through all of them takes an
    eighth of the time of a short one. For a process that is ours, once: at its end its memory is the system's again.
    """
    gc.set_threshold(MADE_BETWEEN_LOOKS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)


def signals_that_stop() -> tuple[int, ...]:
    """The signals that ask this process to end; a hangup is none under `nohup`, which has it ignored."""
    hangup = () if HANGUP is None or signal.getsignal(HANGUP) == signal.SIG_IGN else (HANGUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)


@contextmanager
def handling(numbers: Iterable[int], handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Have these signals handled by `handler` while inside; only the main thread may."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def let_the_next_end(numbers: Iterable[int]) -> None:
    """Have the next of these signals end this process at once: whoever signals twice means it.

    But not a hangup: a terminal that closes sends it from the system and once more from the shell.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN if number == HANGUP else signal.SIG_DFL)


def can_mask() -> bool:
    """Whether signals can be kept from the processes that this one starts, and waited for."""
    return all(hasattr(signal, name) for name in ("pthread_sigmask", "sigwait", "pthread_kill"))


def block(numbers: Iterable[int]) -> None:
    """Keep these signals from this thread and from the processes it starts; nothing where there are no masks."""
    if can_mask():
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def unblock(numbers: Iterable[int]) -> None:
    """The reverse of `block`."""
    if can_mask():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def next_of(numbers: Iterable[int]) -> int:
    """Wait for one of these signals, blocked before; needs `can_mask`."""
    return signal.sigwait(numbers)


def send_to_thread(thread: int, number: int) -> None:
    """Have a thread of this process handle a signal; needs `can_mask`."""
    signal.pthread_kill(thread, number)


def try_to_lock(file: IO[Any]) -> bool:
    """Hold an open file until it is closed; whether no other process holds it. True where there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
