"""How a run ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from maml_exp.core.checks import SettingError
from maml_exp.run.final_evaluation import FinalEvaluation, next_steps
from maml_exp.run.progress import is_quiet, log
from maml_exp.run.stopping import InterruptedRunError
from maml_exp.store import run_folder as states
from maml_exp.store.files import disk_trouble, failure
from maml_exp.store.run_folder import RunFolder


class DivergedError(Exception):
    """The meta-loss or a meta-parameter is no longer finite: what "diverged" means of a run."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: str
    folder: Path
    message: str = ""
    exit_status: int = 1
    evaluation: FinalEvaluation | None = None  # of a finished run
    late_signal: int = 0  # 128 + that of one that came too late to interrupt it

    @property
    def stops(self) -> int:
        """The exit status with which nothing is to follow this run; 0 where others may."""
        return self.exit_status if self.state == states.INTERRUPTED else self.late_signal

    def report(self) -> str:
        """What a finished run says at its end: its table, what to do next, and last its folder; the table if quiet."""
        assert self.evaluation is not None
        table = self.evaluation.table()
        if is_quiet():
            return table
        return f"{table}\n\n{next_steps(self.folder, self.evaluation.config, self.evaluation.loss)}\n\n{self.folder}"


def ended_by(error: BaseException, folder: RunFolder, step: int, iterations: int, notes: Sequence[str]) -> Outcome:
    """The outcome of a run that an exception ended after `step` iterations, logged and said in status.json."""
    again, status = f"maml-exp resume {quote(str(folder.path))}", 1
    state, message = states.FAILED, str(error)
    if isinstance(error, InterruptedRunError):
        state, message, status = states.INTERRUPTED, f"{error} after iteration {step}", error.exit_status
        log.warning("%s; to go on: %s", message, again)
    elif isinstance(error, DivergedError):
        state = states.DIVERGED
        log.error(message)
    elif isinstance(error, OSError):
        message = disk_trouble(error, folder.path)
        log.error("%s; to go on when that is mended: %s", message, again)
    elif isinstance(error, SettingError):
        log.error(message)
    else:
        message = f"{type(error).__name__}: {error}"
        log.error("%s (the traceback is in %s)", message, folder.log, exc_info=error)
    try:
        folder.write_status(state, step, iterations, message, notes)
    except OSError as failed:
        log.error("cannot write %s", failure(failed))
    return Outcome(state, folder.path, message, status)
