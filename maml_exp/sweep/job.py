"""Hydra's task function: one run, alone or as a job of a sweep.

A job never raises for a run that failed: its outcome is in its folder, and a sweep goes on with its
other jobs under every launcher. A sweep is asked to stop by a file in its folder, which jobs on any
machine that shares the folder see.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from maml_exp.config import schema
from maml_exp.core.checks import SettingError
from maml_exp.run.metrics_log import hparams
from maml_exp.run.progress import is_quiet, log, logging_to
from maml_exp.run.run import Outcome, execute
from maml_exp.run.tensorboard import Board
from maml_exp.store import run_folder as states
from maml_exp.store.run_folder import RunFolder
from maml_exp.sweep.plan import describe_outcome, stop_file
from maml_exp.sweep.session import current
from maml_exp.sweep.workers import IN_THIS_PROCESS, end_with_parent


def without_hydra(config: DictConfig) -> DictConfig:
    """The job's part of a composed configuration."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def job(composed: DictConfig) -> float:
    """Hydra's task function: one run; returns the number that sweepers minimise, NaN for a run without it."""
    context = HydraConfig.get()
    path, sweeping = Path(context.runtime.output_dir), context.mode == RunMode.MULTIRUN
    session = current()
    if sweeping and session is None and "joblib" in context.launcher._target_:
        end_with_parent()
    with IN_THIS_PROCESS:
        outcome = _run_or_refuse(composed, path, stop_file(Path(context.sweep.dir)) if sweeping else None)
    if not sweeping:
        if session is not None:
            session.outcome = outcome
        if outcome.evaluation is not None:
            print(outcome.report())
        return 0.0
    if not is_quiet():
        print(f"{path.name}: {describe_outcome(outcome)}\n", end="", flush=True)
    if outcome.state == states.INTERRUPTED and session is not None and session.sweep is not None:
        session.received = session.received or max(outcome.exit_status - 128, signal.SIGINT)
        raise SystemExit(outcome.exit_status)  # the basic launcher, in this process, goes no further
    return outcome.evaluation.objective() if outcome.evaluation is not None else float("nan")


def _run_or_refuse(composed: DictConfig, path: Path, stop: Path | None) -> Outcome:
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
    board.session_start(hparams(settings), [])
    board.session_end(success=False)
    board.close()
