"""metrics.csv, one row a logged step: the record that event files are written anew from. And its columns' tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maml_exp.config.schema import Config

Row = dict[str, float]  # the step, and values by tag
TRAINING_TAGS = ("meta/loss", "meta/support_loss", "meta/grad_norm")
EXPLOSIONS_TAG = "health/explosions"  # meta-gradients that exploded, since the first iteration
VALIDATION_TAG = "validation/objective"  # what the best checkpoint is chosen by
SPEED_TAG = "time/iterations_per_second"
CLOCK_TAGS = (SPEED_TAG, "time/seconds", "time/unix")  # the columns that no rerun repeats
OBJECTIVE_TAG = "final/objective"
ROBUST = ("median", "iqm")  # what a few tasks that diverge do not move, at the objective's shots and steps
EVALUATION_GROUP, OLD_GROUP = "test_K", "evaluation_K"  # of the small evaluations; the latter until version 0.1.0
FINAL_STEPS = (0, 1, 5, 10)  # gradient steps whose errors are a run's final metrics


def extra_tag(name: str) -> str:
    """Tag of a number that a learner measures beside the loss."""
    return f"meta/{name}"


def evaluation_tag(shots: int, statistic: str, step: int) -> str:
    """Tag of a small evaluation's statistic on test tasks: a group per number of support points.

    TensorBoard orders groups by name: these charts, dozens, stand below meta/.
    """
    return f"{EVALUATION_GROUP}{shots}/{statistic}_step_{step:02d}"


def column_names(line: str) -> list[str]:
    """The columns that the first line of a metrics.csv names, by the names of today."""
    names = line.rstrip("\n").split(",")
    return [EVALUATION_GROUP + name.removeprefix(OLD_GROUP) if name.startswith(OLD_GROUP) else name for name in names]


def final_tag(shots: int, step: int) -> str:
    """Tag of the final evaluation's mean error."""
    return f"final/mean_K{shots}_step_{step:02d}"


def robust_tag(statistic: str) -> str:
    """Tag of a statistic of the final evaluation at the objective's shots and steps."""
    return f"final/{statistic}"


def final_steps(last: int) -> list[int]:
    """Those of `FINAL_STEPS` that an evaluation with `last` gradient steps has."""
    return [step for step in FINAL_STEPS if step <= last]


def final_tags(evaluation: dict[str, Any]) -> list[str]:
    """Tags of the final evaluation, the metrics of the HParams tab, from the settings of evaluation."""
    steps = final_steps(evaluation["steps"])
    robust = [robust_tag(name) for name in ROBUST]
    return [OBJECTIVE_TAG, *robust, *(final_tag(shots, step) for shots in evaluation["shots"] for step in steps)]


def columns(config: Config, extras: Sequence[str]) -> list[str]:
    """All columns of metrics.csv, known before the first row; `extras` are the learner's own numbers."""
    evaluation, small = config.evaluation, []
    if config.training.evaluate_every:
        steps = range(evaluation.steps + 1)
        statistics = ("mean", "median")
        small = [evaluation_tag(k, name, step) for k in evaluation.shots for name in statistics for step in steps]
    learned = [extra_tag(name) for name in extras]
    chosen_by = [VALIDATION_TAG] if config.training.validates else []
    training = [*TRAINING_TAGS, *learned, EXPLOSIONS_TAG, *chosen_by]
    return ["step", *training, *CLOCK_TAGS, *small, *final_tags(config.to_dict()["evaluation"])]


def cells(row: Row, names: Sequence[str]) -> list[str]:
    """A row's cells, in the order of the columns."""
    return [_text(row[name]) if name in row else "" for name in names]


def _text(value: float) -> str:
    """The shortest text that reads back to the same number."""
    return str(value) if isinstance(value, int) else repr(float(value))


def as_line(cells: Sequence[str]) -> str:
    """A line of CSV; no column name or number needs quoting."""
    return ",".join(cells) + "\n"


def read_rows(path: Path, last_step: int | None = None) -> list[Row]:
    """Rows of a metrics.csv, those up to `last_step`; a line torn by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    names = column_names(whole[0]) if whole else []
    rows = [_row(names, line) for line in whole[1:]]
    return [row for row in rows if row and (last_step is None or row["step"] <= last_step)]


def _row(names: Sequence[str], line: str) -> Row | None:
    """One line's numbers by column, or None for a line that is not a row."""
    try:
        cells = zip(names, line.strip("\n").split(","), strict=True)
        row = {name: float(cell) for name, cell in cells if cell}
        return {**row, "step": int(row["step"])}
    except (ValueError, KeyError, OverflowError):
        return None
