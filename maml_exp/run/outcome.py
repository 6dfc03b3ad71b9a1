"""How a run ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maml_exp.run.final_evaluation import FinalEvaluation, next_steps
from maml_exp.run.progress import is_quiet


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

    def report(self) -> str:
        """What a finished run says at its end: its table, what to do next, and last its folder; the table if quiet."""
        assert self.evaluation is not None
        table = self.evaluation.table()
        if is_quiet():
            return table
        return f"{table}\n\n{next_steps(self.folder, self.evaluation.config, self.evaluation.loss)}\n\n{self.folder}"
