"""What Hydra calls: the task function, and the callbacks around single runs and sweeps.

A job never raises for a run that failed: its outcome is in its folder, and a sweep goes on with its
other jobs under every launcher. A sweep is asked to stop by a file in its folder, which jobs on any
machine that shares the folder see.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from maml_exp.core.errors import SettingError
from maml_exp.experiment import config as schema
from maml_exp.experiment import folder as states
from maml_exp.experiment import metrics
from maml_exp.experiment.board import Board
from maml_exp.experiment.console import log, logging_to
from maml_exp.experiment.folder import RunFolder, create_folder
from maml_exp.experiment.runner import Outcome, execute
from maml_exp.experiment.signals import CAUGHT
from maml_exp.experiment.sweeps import STOP_FILE, Sweep, describe_outcome

LONGEST_NAME = 120  # characters of a job's folder; file systems allow 255 bytes


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
        for caught in CAUGHT:
            signal.signal(caught, signal.SIG_DFL)
        self.received = self.received or number
        if self.sweep is None:
            raise KeyboardInterrupt
        self.sweep.stop()
        print("maml-exp: stopping; running jobs save a checkpoint first (again: end at once)", file=sys.stderr)

    def shield_workers(self) -> None:
        """Keep a terminal's Ctrl-C from the worker processes to come: they inherit the mask, and see the stop file.

        Without it, Ctrl-C kills those that are starting or idle, and with them the launcher.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self) -> None:
        """Pass SIGINT on to the main thread, as the SIGTERM that is not blocked there."""
        while signal.sigwait({signal.SIGINT}):
            self.received = self.received or signal.SIGINT
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

    def report(self) -> int:
        """Print how it ended; returns the exit status."""
        if self.sweep is not None:
            failed = self.sweep.report()
            return 128 + self.received if self.received else int(failed)
        return 0 if self.outcome is None else self.outcome.exit_status


SESSION: Session | None = None  # the one Hydra's callbacks in this process belong to


@contextmanager
def session() -> Iterator[Session]:
    """Catch signals and collect outcomes around Hydra's main."""
    global SESSION
    SESSION = current = Session()
    before = {number: signal.signal(number, current.stop) for number in CAUGHT}
    try:
        yield current
    except SystemExit as error:
        if current.received is None or isinstance(error, RefusedError):
            raise
    except Exception as error:
        # Hydra's own files; a run reports its own. Some of Hydra's errors are OSErrors by class alone.
        if isinstance(error, OSError) and error.errno is not None:
            raise SettingError(f"cannot write {error.filename or current.folder}: {error.strerror}") from error
        if current.sweep is None:
            raise
        current.ended_by = error  # its jobs are reported all the same
    finally:
        SESSION = None
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class Guard(Callback):
    """Checks the configuration and claims the folder before anything is written."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a single run."""
        with refusing():
            checked = schema.from_omegaconf(without_hydra(config))
            path, chosen = Path(config.hydra.run.dir), _chosen(config, "hydra.run.dir")
            folder = create_folder(path if chosen else path.with_name(f"{path.name}-{checked.label}"), exact=chosen)
        with read_write(config.hydra.run):
            config.hydra.run.dir = str(folder)
        if SESSION is not None:
            SESSION.folder = folder

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a sweep: what its jobs have in common is checked, its folder made, its plan written there."""
        with refusing():
            schema.from_omegaconf(without_hydra(config))
            # as written: an interpolation is each job's to resolve
            params = OmegaConf.to_container(config.hydra.sweeper, resolve=False).get("params") or {}
            given = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
            overrides = [f"{key}={value}" for key, value in params.items()] + given
            folder = create_folder(Path(config.hydra.sweep.dir), exact=_chosen(config, "hydra.sweep.dir"))
            sweep = Sweep.plan(folder.resolve(), overrides)
            _hand_to_jobs(config, sweep)
        if SESSION is not None:
            SESSION.folder, SESSION.sweep = folder, sweep
            _prepare_launcher(config.hydra.launcher)


def _prepare_launcher(launcher: DictConfig) -> None:
    """Have signals reach this process alone; it asks the jobs to stop."""
    target = launcher.get("_target_", "")
    if "joblib_launcher" in target:  # starting these later would lift the mask
        import multiprocessing.resource_tracker

        import joblib.externals.loky.backend.resource_tracker

        multiprocessing.resource_tracker.ensure_running()
        joblib.externals.loky.backend.resource_tracker.ensure_running()
    if not target.startswith("hydra._internal.core_plugins.basic_launcher"):
        SESSION.shield_workers()
    if "ray_launcher" in target and "ray" in launcher:
        import ray

        settings = OmegaConf.to_container(launcher.ray.init, resolve=True)
        settings.setdefault("object_store_memory", 78643200)  # as the launcher would, which finds Ray running
        ray.init(**settings)
        signal.signal(signal.SIGTERM, SESSION.stop)  # Ray installs a handler that aborts


def _hand_to_jobs(config: DictConfig, sweep: Sweep) -> None:
    """Have jobs see the sweep's folder, and only swept keys in their own folders' names.

    Hydra composes each job anew, from the overrides: they are what a job sees of a change made here.
    """
    excluded = "[" + ",".join(map(quoted, sweep.constant)) + "]"
    settings = [
        f"hydra.sweep.dir={quoted(str(sweep.folder))}",
        f"hydra.job.config.override_dirname.exclude_keys={excluded}",
    ]
    with read_write(config.hydra):
        config.hydra.overrides.hydra.extend(settings)
        config.hydra.sweep.dir = str(sweep.folder)


@contextmanager
def refusing() -> Iterator[None]:
    """Carry an error past Hydra, which turns Exceptions in callbacks into warnings and goes on."""
    try:
        yield
    except Exception as error:
        raise RefusedError(str(error) or repr(error)) from error


def _chosen(config: DictConfig, key: str) -> bool:
    """Whether the user gave this folder."""
    return any(item.lstrip("+").startswith(f"{key}=") for item in config.hydra.overrides.hydra)


def quoted(text: str) -> str:
    """A text in the quotes of Hydra's override grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def safe_name(text: str) -> str:
    """Part of a folder name that every file system takes: odd characters become _, long ones are cut."""
    name = re.sub(r"[^\w.,=+-]+", "_", str(text))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "~"


def without_hydra(config: DictConfig) -> DictConfig:
    """The job's part of a composed configuration."""
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


RUNNING = threading.Lock()  # held while a job runs in this process


def _end_with_parent() -> None:
    """Have a joblib worker end when the sweep's process is killed: it would wait for work for ever.

    A running job gets SIGTERM, and so saves first.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        with RUNNING:
            os._exit(1)

    if not any(thread.name == "end_with_parent" for thread in threading.enumerate()):
        threading.Thread(target=watch, name="end_with_parent", daemon=True).start()


def job(composed: DictConfig) -> float:
    """Hydra's task function: one run; returns the number that sweepers minimise, NaN for a run without it."""
    context = HydraConfig.get()
    path, sweeping = Path(context.runtime.output_dir), context.mode == RunMode.MULTIRUN
    if sweeping and SESSION is None and "joblib" in context.launcher._target_:
        _end_with_parent()
    with RUNNING:
        outcome = _run(composed, path, Path(context.sweep.dir) / STOP_FILE if sweeping else None)
    if not sweeping:
        if SESSION is not None:
            SESSION.outcome = outcome
        if outcome.verdict is not None:
            print(f"{outcome.verdict.table()}\n\n{outcome.folder}")
        return 0.0
    print(f"{path.name}: {describe_outcome(outcome)}\n", end="", flush=True)
    if outcome.state == states.INTERRUPTED and SESSION is not None and SESSION.sweep is not None:
        SESSION.received = SESSION.received or max(outcome.exit_status - 128, signal.SIGINT)
        raise SystemExit(outcome.exit_status)  # the basic launcher, in this process, goes no further
    return outcome.verdict.objective() if outcome.verdict is not None else float("nan")


def _run(composed: DictConfig, path: Path, stop: Path | None) -> Outcome:
    """Run a job, or say in its folder why it cannot run."""
    if stop is not None and stop.exists():
        return Outcome(states.INTERRUPTED, path, "not started", 128 + signal.SIGINT)
    try:
        return execute(schema.from_omegaconf(composed), path, stop=stop)
    except SettingError as error:
        record_refusal(RunFolder(path), OmegaConf.to_container(composed), str(error))
        return Outcome(states.FAILED, path, str(error))


def record_refusal(folder: RunFolder, settings: Any, message: str) -> None:
    """Leave what a failed run leaves: status, log, and its row in TensorBoard's HParams tab."""
    with logging_to(folder.log):
        log.error(message)
    folder.write_status(states.FAILED, 0, 0, message)
    board = Board(folder.path)
    board.session_start(metrics.hparams(settings), [])
    board.session_end(success=False)
    board.close()
