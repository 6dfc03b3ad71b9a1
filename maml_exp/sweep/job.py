"""Hydra's task function: one run, alone or as a job of a sweep.

A job never raises for a run that failed: its outcome is in its folder, and a sweep goes on with its
other jobs under every launcher. A sweep is asked to stop by a file in its folder, which jobs on any
machine that shares the folder see.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from maml_exp.config import schema
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.data.streams import sturdy_streams
from maml_exp.run.execution import Ready, execute
from maml_exp.run.metrics_log import hparams
from maml_exp.run.outcome import Outcome
from maml_exp.run.progress import is_quiet, log, logging_to
from maml_exp.run.stopping import InterruptedRunError
from maml_exp.run.tensorboard import Board
from maml_exp.store import checkpoints
from maml_exp.store import run_folder as states
from maml_exp.store.files import failure
from maml_exp.store.memory import require_memory, require_tasks
from maml_exp.store.run_folder import HeldError, RunFolder
from maml_exp.sweep.plan import describe_outcome, stop_file
from maml_exp.sweep.rest import make_rest
from maml_exp.sweep.session import current
from maml_exp.sweep.workers import IN_THIS_PROCESS, end_with_parent, not_started


def without_hydra(config: DictConfig) -> DictConfig:
    """The job's part of a composed configuration."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def job(composed: DictConfig) -> float:
    """Hydra's task function: one run; returns the number that sweepers minimise, infinity for a run without it."""
    context = HydraConfig.get()
    path, sweeping = Path(context.runtime.output_dir), context.mode == RunMode.MULTIRUN
    if not sweeping:
        outcome = _run_or_refuse(composed, path, None)
        if (session := current()) is not None:
            session.outcome = outcome
        if outcome.evaluation is not None:
            print(outcome.report(), flush=True)
        return 0.0
    return _in_sweep(context, lambda stop: _run_or_refuse(composed, path, stop))


def rest_job(composed: DictConfig) -> float:
    """Hydra's task function where a sweep is resumed: the job's folder says what is left; nothing else is looked at."""
    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    return _in_sweep(context, lambda stop: make_rest(folder, stop))


def _in_sweep(context: Any, make: Callable[[Path], Outcome]) -> float:
    """One run of a sweep, under any launcher."""
    session = current()
    if session is None and "joblib" in context.launcher._target_:
        end_with_parent(os.getppid())
    outcome = make(stop_file(Path(context.sweep.dir)))
    if session is not None:
        session.outcome = outcome
    ours_to_say = session is None or session.sweep is not None  # our own launcher says it itself
    if ours_to_say and not is_quiet():
        with sturdy_streams():  # a launcher's worker may outlive the terminal
            print(f"{outcome.folder.name}: {describe_outcome(outcome)}", flush=True)
    if outcome.stops and session is not None and session.sweep is not None:
        session.received = session.received or outcome.stops - 128
        raise SystemExit(outcome.stops)  # the basic launcher, in this process, goes no further
    return objective_of(outcome)


def objective_of(outcome: Outcome) -> float:
    """The number that sweepers minimise; infinity for a run without it: NaN would end an Optuna search."""
    objective = outcome.evaluation.objective() if outcome.evaluation is not None else float("inf")
    return float("inf") if isnan(objective) else objective


def ready_or_refused(composed: DictConfig, path: Path, stop: Path) -> Ready | Outcome:
    """A job that can be made with others, or why it cannot run, said in its folder."""
    if stop.exists():
        return not_started(path)
    try:
        config = schema.from_omegaconf(composed).reading()
        require_tasks(config)
        require_memory(config)
        return Ready(config, path, _was_begun(config, path))
    except HeldError as error:
        return Outcome(states.FAILED, path, str(error))
    except (Exception, SystemExit) as error:
        return _refused(error, composed, path)


def _was_begun(config: schema.Config, path: Path) -> bool:
    """Whether a job's folder holds checkpoints to go on from, as of one that its launcher starts again.

    Hydra has written over the settings there. Raises `SettingError` where they cannot be written, `HeldError` where
    another process has the folder.
    """
    folder = RunFolder(path)
    if not checkpoints.listed(folder.checkpoints):
        return False
    try:
        with states.locked(path):
            door.write(folder.config, schema.to_yaml(config).encode(), own_folder=True)
    except OSError as error:
        raise SettingError(f"cannot write {failure(error, folder.config)}") from error
    return True


def _run_or_refuse(composed: DictConfig, path: Path, stop: Path | None) -> Outcome:
    """Run a job, or say in its folder why it cannot run."""
    with IN_THIS_PROCESS:
        if stop is not None and stop.exists():
            return not_started(path)
        try:
            config = schema.from_omegaconf(composed).reading()
            return execute(config, path, _was_begun(config, path), stop)
        except HeldError as error:
            return Outcome(states.FAILED, path, str(error))
        except InterruptedRunError as error:  # between a run and what is around it, which has said all there is
            return Outcome(states.INTERRUPTED, path, str(error), error.exit_status)
        except (Exception, SystemExit) as error:
            return _refused(error, composed, path)


def _refused(error: BaseException, composed: DictConfig, path: Path) -> Outcome:
    """The outcome of a job whose settings cannot be used, or that code of the user's, asked about them, ended.

    Said in its folder, where that is nobody else's; what a run has left there says more.
    """
    is_ours = isinstance(error, SettingError)
    message = str(error) if is_ours else f"{type(error).__name__}: {error}"
    folder = RunFolder(path)
    with suppress(SettingError), states.locked(path):
        if checkpoints.listed(folder.checkpoints):
            with logging_to(folder.log):
                log.error(message, exc_info=not is_ours)
        else:
            record_refusal(folder, OmegaConf.to_container(composed), message, with_traceback=not is_ours)
    return Outcome(states.FAILED, path, message)


def record_refusal(folder: RunFolder, settings: Any, message: str, with_traceback: bool = False) -> None:
    """Leave what a failed run leaves: status, log, and its row in TensorBoard's HParams tab."""
    with logging_to(folder.log):
        log.error(message, exc_info=with_traceback)
    folder.write_status(states.FAILED, 0, 0, message)
    board = Board(folder.path)
    board.session_start(hparams(settings), [])
    board.session_end(success=False)
    board.close()
