"""Logged numbers: one row a logged step, in metrics.csv and, the same, in TensorBoard.

metrics.csv is the record; a resumed run writes the event file anew from it, so that TensorBoard shows
every point once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maml_exp.run.progress import log
from maml_exp.run.tensorboard import Board
from maml_exp.store.run_folder import PLAN_FILE, RunFolder, flatten, naming, read_json, write_atomically

if TYPE_CHECKING:
    from maml_exp.config.schema import Config

Row = dict[str, float]  # the step, and values by tag
TRAINING_TAGS = ("meta/loss", "meta/support_loss", "meta/grad_norm")
CURVATURE_TAGS = ("meta/curvature_share", "meta/fomaml_cosine")  # with training.log_curvature
SPEED_TAG = "time/iterations_per_second"
CLOCK_TAGS = (SPEED_TAG, "time/seconds", "time/unix")  # the columns that no rerun repeats
OBJECTIVE_TAG = "final/objective"
FINAL_STEPS = (0, 1, 5, 10)  # gradient steps whose errors are a run's final metrics


def evaluation_tag(shots: int, statistic: str, step: int) -> str:
    """Tag of a small evaluation's statistic: a group per number of support points."""
    return f"evaluation_K{shots}/{statistic}_step_{step:02d}"


def final_tag(shots: int, step: int) -> str:
    """Tag of the final evaluation's mean error."""
    return f"final/mean_K{shots}_step_{step:02d}"


def final_steps(last: int) -> list[int]:
    """Those of `FINAL_STEPS` that an evaluation with `last` gradient steps has."""
    return [step for step in FINAL_STEPS if step <= last]


def final_tags(evaluation: dict[str, Any]) -> list[str]:
    """Tags of the final evaluation, the metrics of the HParams tab, from the settings of evaluation."""
    steps = final_steps(evaluation["steps"])
    return [OBJECTIVE_TAG, *(final_tag(shots, step) for shots in evaluation["shots"] for step in steps)]


def columns(config: Config) -> list[str]:
    """All columns of metrics.csv, known before the first row."""
    evaluation, small = config.evaluation, []
    if config.training.evaluate_every:
        steps = range(evaluation.steps + 1)
        statistics = ("mean", "median")
        small = [evaluation_tag(k, name, step) for k in evaluation.shots for name in statistics for step in steps]
    curvature = CURVATURE_TAGS if config.training.log_curvature else ()
    return ["step", *TRAINING_TAGS, *curvature, *CLOCK_TAGS, *small, *final_tags(config.to_dict()["evaluation"])]


class MetricsLog:
    """Writes rows to metrics.csv and TensorBoard; each is with the system before `write` returns."""

    def __init__(self, folder: RunFolder, config: Config, rows: list[Row]):
        """Start a log that already holds `rows`."""
        self._names, self._path = columns(config), folder.metrics
        self.board = Board(folder.path)
        self.board.text("config", "```yaml\n" + folder.config.read_text() + "```")
        settings = config.to_dict()
        self.board.session_start(hparams(settings), final_tags(settings["evaluation"]), _swept_keys(folder))
        lines = [_line(self._names), *(_line(self._cells(row)) for row in rows)]
        write_atomically(folder.metrics, "".join(lines).encode())
        self._file = open(folder.metrics, "a", encoding="utf-8")  # noqa: SIM115  closed in close()
        for row in rows:
            self._show(row)

    def write(self, row: Row) -> None:
        """Log one row: `step` and any of the columns."""
        row = {**row, "time/unix": time.time()}
        with naming(self._path):
            self._file.write(_line(self._cells(row)))
            self._file.flush()
        self._show(row)

    def sync(self) -> None:
        """Have the rows on the disk: no checkpoint is ahead of the rows before it."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def _cells(self, row: Row) -> list[str]:
        return [_text(row[name]) if name in row else "" for name in self._names]

    def _show(self, row: Row) -> None:
        shown = {tag: float(value) for tag, value in row.items() if tag != "step" and tag not in CLOCK_TAGS[1:]}
        self.board.scalars(shown, int(row["step"]), row["time/unix"])

    def close(self, success: bool) -> None:
        """End the run's session in TensorBoard and close both files; what does not fit on the disk is only named."""
        for step in (self._file.close, lambda: self.board.session_end(success), self.board.close):
            try:
                step()
            except OSError as error:
                log.warning("cannot write %s: %s", error.filename or self._path, error.strerror)


def hparams(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, dotted, as the HParams tab takes them: numbers, booleans and texts."""
    plain = (bool, int, float, str)
    return {name: value if isinstance(value, plain) else str(value) for name, value in flatten(settings).items()}


def _swept_keys(folder: RunFolder) -> set[str]:
    """The keys in which the jobs of the sweep around a folder differ; none where there is no sweep."""
    try:
        plan = read_json(folder.path.parent / PLAN_FILE)
        given = {text.lstrip("+").split("=")[0] for job in plan["jobs"] for text in job}
        return given - set(plan["constant"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()


def _text(value: float) -> str:
    """The shortest text that reads back to the same number."""
    return str(value) if isinstance(value, int) else repr(float(value))


def _line(cells: list[str]) -> str:
    """A line of CSV; no column name or number needs quoting."""
    return ",".join(cells) + "\n"


def read_rows(path: Path, last_step: int | None = None) -> list[Row]:
    """Rows of a metrics.csv, those up to `last_step`; a line torn by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    rows = [_row(names, line) for names in whole[:1] for line in whole[1:]]
    return [row for row in rows if row and (last_step is None or row["step"] <= last_step)]


def _row(names: str, line: str) -> Row | None:
    """One line's numbers by column, or None for a line that is not a row."""
    try:
        cells = zip(names.strip().split(","), line.strip("\n").split(","), strict=True)
        row = {name: float(cell) for name, cell in cells if cell}
        return {**row, "step": int(row["step"])}
    except (ValueError, KeyError, OverflowError):
        return None
