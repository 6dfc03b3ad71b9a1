"""What one call of Hydra's command line has come to in this process, and the signals that stop it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from maml_exp.core.checks import SettingError
from maml_exp.run.outcome import Outcome
from maml_exp.run.stopping import ask_to_stop
from maml_exp.store.files import failure
from maml_exp.store.run_folder import locked
from maml_exp.store.system import HANGUP, block, can_mask, handling, next_of, send_to_thread, signals_that_stop, unblock
from maml_exp.sweep.plan import Sweep, stop_file

SHIELDED = {signal.SIGINT} | ({HANGUP} if HANGUP is not None else set())  # what a terminal sends to all at once


class RefusedError(SystemExit):
    """A mistake found inside one of Hydra's callbacks, which swallow every Exception."""

    def __init__(self, message: str):
        super().__init__(1)
        self.message = message


class Rest(NamedTuple):
    """What is left of a sweep: the folders of its jobs, which say what is to be done in them."""

    sweep: Sweep
    folders: Sequence[Path]


class Session:
    """What one call of Hydra's command line has come to, in this process."""

    def __init__(self) -> None:
        self.folder: Path | None = None  # made for a run or a sweep
        self.outcome: Outcome | None = None  # of the last run in this process
        self.sweep: Sweep | None = None
        self.rest: Rest | None = None  # where a sweep is resumed
        self.received: int | None = None  # a signal that stopped the sweep
        self.ended_by: Exception | None = None  # what the launcher raised: a worker process was killed, say
        self._held = ExitStack()

    def stop(self, number: int, frame: object = None) -> None:
        """Ask a sweep to stop: running jobs save and end, the others do not start. A second signal ends at once."""
        self.received = self.received or number
        if self.sweep is None:
            raise KeyboardInterrupt(number)
        ask_to_stop(stop_file(self.sweep.folder))

    def hold(self, folder: Path) -> None:
        """Lock a sweep's folder for as long as this session lasts; raises `SettingError` if it is held."""
        self._held.enter_context(hold_sweep(folder))

    def release(self) -> None:
        """Let go of what is held."""
        self._held.close()

    def shield_workers(self) -> None:
        """Keep a terminal's Ctrl-C and hangup from the worker processes to come: they inherit the mask.

        Without it, Ctrl-C kills those that are starting or idle, and with them the launcher. Running jobs see the
        stop file.
        """
        if can_mask():
            block(SHIELDED)
            threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self) -> None:
        """Pass what is blocked in the main thread on to it, as the SIGTERM that is not."""
        main = threading.main_thread().ident
        assert main is not None  # it runs
        while number := next_of(SHIELDED):
            if number == HANGUP and self.received:  # the shell's, after the system's
                continue
            self.received = self.received or number
            send_to_thread(main, signal.SIGTERM)

    def take_back(self) -> None:
        """Leave nothing of a sweep that was refused before any job had a folder."""
        if self.sweep is not None and self.rest is None and not self.sweep.folders():
            self.sweep.take_back()
            self.sweep = None

    def report(self) -> int:
        """Print how it ended; returns the exit status."""
        if self.sweep is not None:
            stop_file(self.sweep.folder).unlink(missing_ok=True)
            failed = self.sweep.report()
            return 128 + self.received if self.received else int(failed)
        return 0 if self.outcome is None else self.outcome.exit_status


_CURRENT: list[Session] = []  # at most one


def current() -> Session | None:
    """The session that Hydra's callbacks in this process belong to; none in a launcher's worker."""
    return _CURRENT[0] if _CURRENT else None


@contextmanager
def hold_sweep(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder; raises `SettingError` if another live process runs or resumes it."""
    with locked(folder, f"is being run by another process; wait for it, or stop it: touch {stop_file(folder)}"):
        yield


@contextmanager
def collecting() -> Iterator[Session]:
    """Have what jobs in this process come to be collected, and nothing else: for a worker process."""
    ours = Session()
    _CURRENT.append(ours)
    try:
        yield ours
    finally:
        _CURRENT.remove(ours)


@contextmanager
def session() -> Iterator[Session]:
    """Catch signals and collect outcomes around Hydra's main."""
    try:
        with collecting() as ours, handling(signals_that_stop(), ours.stop):
            try:
                yield ours
            finally:
                ours.release()
    except SystemExit as error:
        if ours.received is None or isinstance(error, RefusedError):
            raise
    except KeyboardInterrupt:
        if ours.received is None or ours.received == signal.SIGINT:
            raise
        raise SystemExit(128 + ours.received) from None
    except Exception as error:
        ours.take_back()
        # Hydra's own files; a run reports its own. Some of Hydra's errors are OSErrors by class alone.
        if isinstance(error, OSError) and error.errno is not None:
            raise SettingError(f"cannot write {failure(error, ours.folder)}") from error
        if ours.sweep is None:
            raise
        ours.ended_by = error  # its jobs are reported all the same
    finally:
        unblock(SHIELDED)
