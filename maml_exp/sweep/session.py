"""What one call of Hydra's command line has come to in this process, and the signals that stop it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from maml_exp.config.plain import as_plain
from maml_exp.core.checks import SettingError
from maml_exp.run.run import Outcome
from maml_exp.run.stopping import CAUGHT, ask_to_stop
from maml_exp.store.files import failure
from maml_exp.sweep.plan import Sweep, stop_file


class RefusedError(SystemExit):
    """A mistake found inside one of Hydra's callbacks, which swallow every Exception."""

    def __init__(self, message: str):
        super().__init__(1)
        self.message = message


class Session:
    """What one call of Hydra's command line has come to, in this process."""

    def __init__(self) -> None:
        self.folder: Path | None = None  # made for a run or a sweep
        self.outcome: Outcome | None = None  # of a single run
        self.sweep: Sweep | None = None
        self.received: int | None = None  # a signal that stopped the sweep
        self.ended_by: Exception | None = None  # what the launcher raised: a worker process was killed, say

    def stop(self, number: int, frame: object = None) -> None:
        """Ask a sweep to stop: running jobs save and end, the others do not start. A second signal ends at once."""
        self.received = self.received or number
        if self.sweep is None:
            raise KeyboardInterrupt(number)
        ask_to_stop(stop_file(self.sweep.folder))

    def _shield_workers(self) -> None:
        """Keep a terminal's Ctrl-C from the worker processes to come: they inherit the mask, and see the stop file.

        Without it, Ctrl-C kills those that are starting or idle, and with them the launcher.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self) -> None:
        """Pass SIGINT on to the main thread, as the SIGTERM that is not blocked there."""
        main = threading.main_thread().ident
        assert main is not None  # it runs
        while signal.sigwait({signal.SIGINT}):
            self.received = self.received or signal.SIGINT
            signal.pthread_kill(main, signal.SIGTERM)

    def prepare_launcher(self, launcher: DictConfig) -> None:
        """Have signals reach this process alone; it asks the jobs to stop."""
        target = launcher.get("_target_", "")
        if "joblib_launcher" in target:  # starting these later would lift the mask
            import multiprocessing.resource_tracker

            import joblib.externals.loky.backend.resource_tracker

            multiprocessing.resource_tracker.ensure_running()
            joblib.externals.loky.backend.resource_tracker.ensure_running()
        if not target.startswith("hydra._internal.core_plugins.basic_launcher"):
            self._shield_workers()
        if "ray_launcher" in target and "ray" in launcher:
            import ray

            settings = as_plain(launcher.ray.init, resolve=True)
            settings.setdefault("object_store_memory", 78643200)  # as the launcher would, which finds Ray running
            ray.init(**settings)
            signal.signal(signal.SIGTERM, self.stop)  # Ray installs a handler that aborts

    def take_back(self) -> None:
        """Leave nothing of a sweep that was refused before any job had a folder."""
        if self.sweep is not None and not self.sweep.folders():
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
def session() -> Iterator[Session]:
    """Catch signals and collect outcomes around Hydra's main."""
    ours = Session()
    _CURRENT.append(ours)
    before = {number: signal.signal(number, ours.stop) for number in CAUGHT}
    try:
        yield ours
    except SystemExit as error:
        if ours.received is None or isinstance(error, RefusedError):
            raise
    except Exception as error:
        ours.take_back()
        # Hydra's own files; a run reports its own. Some of Hydra's errors are OSErrors by class alone.
        if isinstance(error, OSError) and error.errno is not None:
            raise SettingError(f"cannot write {failure(error, ours.folder)}") from error
        if ours.sweep is None:
            raise
        ours.ended_by = error  # its jobs are reported all the same
    finally:
        _CURRENT.remove(ours)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
