"""metrics.csv, one row a logged step: the record that event files are written anew from. And its columns' tags."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.learners.base import BaseLearner
from maml_exp.data import door

LARGEST = 8 * 2**30  # bytes; read a line at a time
MOST_COLUMNS = 200_000
IN_NUMBERS = b"0123456789+-.eE" + b"naif" + b",\n"  # with nan and inf
Row = dict[str, float]  # the step, and values by tag
TRAINING_TAGS = ("meta/loss", "meta/support_loss", "meta/grad_norm")
EXPLOSIONS_TAG = "health/explosions"  # meta-gradients that exploded, since the first iteration
VALIDATION_TAG = "validation/objective"  # what the best checkpoint is chosen by
SPEED_TAG = "time/iterations_per_second"
CLOCK_TAGS = (SPEED_TAG, "time/seconds", "time/unix")  # the columns that no rerun repeats
OBJECTIVE_TAG = "final/objective"
ROBUST = ("median", "iqm")  # what a few tasks that diverge do not move, at the objective's shots and steps
EVALUATION_GROUP, OLD_GROUP = "test_K", "evaluation_K"  # of the small evaluations; the latter until version 0.1.0
# how columns' names start
KNOWN_TAGS = ("meta/", "learned/", "health/", "validation/", "time/", EVALUATION_GROUP, "final/")
NEEDED = {"time/unix"}  # in every row
FINAL_STEPS = (0, 1, 5, 10)  # gradient steps whose errors are a run's final metrics


def extra_tag(name: str) -> str:
    """Tag of a number that a learner measures beside the loss."""
    return f"meta/{name}"


def learned_tag(name: str) -> str:
    """Tag of a number in the meta-parameters, as a learned rate."""
    return f"learned/{name}"


def learner_tags(learner: BaseLearner) -> list[str]:
    """Tags of the numbers that a learner has to tell beside the loss."""
    nowhere = np.zeros(learner.layout.size)  # the names are the same everywhere
    return [*map(extra_tag, learner.extra_names), *map(learned_tag, learner.learned(nowhere))]


def evaluation_tag(shots: int, statistic: str, step: int) -> str:
    """Tag of a small evaluation's statistic on test tasks: a group per number of support points.

    TensorBoard orders groups by name: these charts, dozens, stand below meta/.
    """
    return f"{EVALUATION_GROUP}{shots}/{statistic}_step_{step:02d}"


def column_names(line: str) -> list[str]:
    """The columns that the first line of a metrics.csv names, by the names of today."""
    names = line.rstrip("\n").split(",", MOST_COLUMNS)
    return [EVALUATION_GROUP + name.removeprefix(OLD_GROUP) if name.startswith(OLD_GROUP) else name for name in names]


def final_tag(shots: int, step: int) -> str:
    """Tag of the final evaluation's mean error."""
    return f"final/mean_K{shots}_step_{step:02d}"


def holds_errors(tag: str) -> bool:
    """Whether a column is of errors that are reported, which figures may show by another measure."""
    return tag.startswith((EVALUATION_GROUP, "final/", "validation/"))


def robust_tag(statistic: str) -> str:
    """Tag of a statistic of the final evaluation at the objective's shots and steps."""
    return f"final/{statistic}"


def final_steps(last: int) -> list[int]:
    """Those of `FINAL_STEPS` that an evaluation with `last` gradient steps has."""
    return [step for step in FINAL_STEPS if step <= last]


def final_tags(config: Config) -> list[str]:
    """Tags of the final evaluation, the metrics of the HParams tab."""
    steps = final_steps(config.evaluation_steps)
    robust = [robust_tag(name) for name in ROBUST]
    return [OBJECTIVE_TAG, *robust, *(final_tag(shots, step) for shots in config.evaluation.shots for step in steps)]


def columns(config: Config, learner: BaseLearner) -> list[str]:
    """All columns of metrics.csv, known before the first row."""
    evaluation, small = config.evaluation, []
    if config.training.evaluate_every:
        steps = range(config.evaluation_steps + 1)
        statistics = ("mean", "median")
        small = [evaluation_tag(k, name, step) for k in evaluation.shots for name in statistics for step in steps]
    chosen_by = [VALIDATION_TAG] if config.training.validates else []
    training = [*TRAINING_TAGS, *learner_tags(learner), EXPLOSIONS_TAG, *chosen_by]
    return ["step", *training, *CLOCK_TAGS, *small, *final_tags(config)]


def cells(row: Row, names: Sequence[str]) -> list[str]:
    """A row's cells, in the order of the columns."""
    return [_text(row[name]) if name in row else "" for name in names]


def _text(value: float) -> str:
    """The shortest text that reads back to the same number."""
    return str(value) if isinstance(value, int) else repr(float(value))


def as_line(cells: Sequence[str]) -> str:
    """A line of CSV; no column name or number needs quoting."""
    return ",".join(cells) + "\n"


class MetricsError(SettingError):
    """A metrics.csv that is damaged; the message names the file, the line and what is wrong."""


def table(path: Path, expected: Sequence[str] | None = None) -> tuple[list[str], Iterator[list[str]]]:
    """The columns of a metrics.csv and, as they are read, the cells of its rows; no columns where there is no file.

    A line torn by a crash, which is the last one, is left out. Anything else that we do not write raises
    `MetricsError`: columns that are not `expected` (an older version wrote fewer), cells that are no numbers, steps
    that do not increase.
    """
    if door.kind_of(path) is None:
        return [], iter(())
    lines = door.read_lines(path, LARGEST)
    first = next(lines, b"")
    if not first.endswith(b"\n"):
        return [], iter(())
    names = column_names(first.decode(errors="replace"))
    start = ["step", *TRAINING_TAGS]
    known = names[: len(start)] == start and all(name.startswith(KNOWN_TAGS) for name in names[1:])
    if len(set(names)) != len(names) or not known or (expected is not None and not set(names) <= set(expected)):
        raise MetricsError(f"{path}, line 1: these are not the columns of this run")
    return names, _checked(path, names, lines)


def _checked(path: Path, names: list[str], lines: Iterator[bytes]) -> Iterator[list[str]]:
    """Cells of the rows. The final evaluation's row, which has an objective, repeats the last step."""
    before, width = 0, len(names)
    objective = names.index(OBJECTIVE_TAG) if OBJECTIVE_TAG in names else None
    for number, line in enumerate(lines, start=2):
        if not line.endswith(b"\n"):
            return
        if line.translate(None, IN_NUMBERS) or line.count(b",") != width - 1:
            raise MetricsError(f"{path}, line {number}: this is no row of {width} numbers")
        cells = line.decode().rstrip("\n").split(",")
        is_final = objective is not None and bool(cells[objective])
        step = int(cells[0]) if cells[0].isdecimal() and len(cells[0]) <= 10 else -1
        if step < before or (step == before and not is_final):
            raise MetricsError(f"{path}, line {number}: step {cells[0][:20]} comes after step {before}")
        before = step
        yield cells


def as_row(path: Path, names: Sequence[str], cells: Sequence[str]) -> Row:
    """A row's numbers by column; raises `MetricsError`."""
    row = {name: number_in(path, cell) for name, cell in zip(names, cells, strict=True) if cell}
    return {**row, "step": int(cells[0])}


def number_in(path: Path, cell: str) -> float:
    """A cell's number; raises `MetricsError`."""
    try:
        return float(cell)
    except ValueError as error:
        raise MetricsError(f"{path}: {cell[:40]!r} is no number") from error


def read_rows(path: Path, last_step: int | None = None) -> list[Row]:
    """Rows of a metrics.csv, those up to `last_step`; raises `MetricsError` for a damaged one, and OSError."""
    names, found = table(path)
    rows = (as_row(path, names, cells) for cells in found)
    return list(itertools.takewhile(lambda row: last_step is None or row["step"] <= last_step, rows))


def read_sound_rows(path: Path, expected: Sequence[str], last: int) -> tuple[list[Row], SettingError | None]:
    """The rows, up to step `last`, before the first that is damaged, and what is wrong with that one, if any is."""
    rows: list[Row] = []
    try:
        names, found = table(path, expected)
        for cells in found:
            row = as_row(path, names, cells)
            if row["step"] > last or not row.keys() >= NEEDED:
                raise MetricsError(f"{path}: the row of step {cells[0]} is none of this run's")
            rows.append(row)
    except (MetricsError, door.DoorError) as error:
        return rows, error
    return rows, None
