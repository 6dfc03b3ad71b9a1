"""What Hydra calls: the task function, and the callbacks around single runs and sweeps.

A job never raises for a run that failed: its outcome is in its folder, and a sweep goes on with its
other jobs under every launcher. A sweep is asked to stop by a file in its folder, which jobs on any
machine that shares the folder see.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from maml_exp.config import schema
from maml_exp.core.checks import SettingError
from maml_exp.run import metrics_log as metrics
from maml_exp.run.progress import log, logging_to
from maml_exp.run.run import Outcome, execute
from maml_exp.run.tensorboard import Board
from maml_exp.store import run_folder as states
from maml_exp.store.run_folder import RunFolder, create_folder
from maml_exp.sweep.plan import Sweep, describe_outcome, stop_file
from maml_exp.sweep.session import RefusedError, current
from maml_exp.sweep.workers import RUNNING, end_with_parent

LONGEST_NAME = 120  # characters of a job's folder; file systems allow 255 bytes


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
        if (session := current()) is not None:
            session.folder = folder

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a sweep: what its jobs have in common is checked, its folder made, its plan written there."""
        with refusing():
            schema.from_omegaconf(without_hydra(config))
            # as written: an interpolation is each job's to resolve
            params = OmegaConf.to_container(config.hydra.sweeper, resolve=False).get("params") or {}
            given = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
            overrides = [f"{key}={value}" for key, value in params.items()] + given
            path = Path(config.hydra.sweep.dir)
            made = not path.is_dir()
            folder = create_folder(path, exact=_chosen(config, "hydra.sweep.dir"))
            sweep = Sweep.plan(folder.resolve(), overrides, made_folder=made or folder != path)
            _hand_to_jobs(config, sweep)
        if (session := current()) is not None:
            session.folder, session.sweep = folder, sweep
            session.prepare_launcher(config.hydra.launcher)


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


def job(composed: DictConfig) -> float:
    """Hydra's task function: one run; returns the number that sweepers minimise, NaN for a run without it."""
    context = HydraConfig.get()
    path, sweeping = Path(context.runtime.output_dir), context.mode == RunMode.MULTIRUN
    session = current()
    if sweeping and session is None and "joblib" in context.launcher._target_:
        end_with_parent()
    with RUNNING:
        outcome = _run(composed, path, stop_file(Path(context.sweep.dir)) if sweeping else None)
    if not sweeping:
        if session is not None:
            session.outcome = outcome
        if outcome.verdict is not None:
            print(f"{outcome.verdict.table()}\n\n{outcome.folder}")
        return 0.0
    print(f"{path.name}: {describe_outcome(outcome)}\n", end="", flush=True)
    if outcome.state == states.INTERRUPTED and session is not None and session.sweep is not None:
        session.received = session.received or max(outcome.exit_status - 128, signal.SIGINT)
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
