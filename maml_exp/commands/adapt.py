"""`maml-exp adapt`: adapt what a run learned to points of one's own, and predict."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maml_exp.commands import parser_of
from maml_exp.core.checks import SettingError
from maml_exp.core.tasks.base import TaskFamily
from maml_exp.data.points import read_points
from maml_exp.run.trained import Adapted, Run
from maml_exp.store.files import write_atomically

Array = np.ndarray
GRID = 200  # points of a curve where no others are asked for


def run_adapt(arguments: Sequence[str]) -> int:
    """Adapt a run to the points of a CSV file; write predictions, and draw them where inputs are one-dimensional.

    Exit status 1: it diverged.
    """
    parser = parser_of("adapt", run_adapt)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("points", type=Path, help="CSV with the task's columns, as x,y: the support set")
    parser.add_argument("--at", type=Path, help="CSV with the inputs to predict at (default: an even grid)")
    parser.add_argument("--steps", type=int, help="inner steps (default: as many as in training, at least 1)")
    parser.add_argument("--lr", type=float, help="their rate (default: the one the run was evaluated with)")
    parser.add_argument("--out", type=Path, help="predictions (default: POINTS-adapted.csv in this folder)")
    options = parser.parse_args(arguments)

    run = Run(options.run)
    family = run.learner.problem.family
    columns = [*family.input_columns, *family.output_names]
    points = read_points(options.points, columns, required=columns, texts=family.text_columns)
    x, y = family.inputs_of(points), np.stack([points[name] for name in family.output_names], axis=1)
    adapted = run.adapt(x, y, options.steps, options.lr)
    at = _inputs(family, options.at)
    path = adapted.path(at)
    out = options.out or Path(f"{options.points.stem}-adapted.csv")
    _write(out, _table(family, at, path))
    print(_describe(adapted, out, len(at)))
    if family.is_curve and family.outputs == 1:
        print(_draw(out.with_suffix(".png"), family, adapted, at, path))
    lost = int((~np.isfinite(path[-1])).any(axis=-1).sum())
    if lost:
        tried = f"a smaller --lr (now {adapted.lr or run.config.inner.lr:g}) or fewer --steps (now {adapted.steps})"
        if run.config.adapts_at_once:
            tried = "points nearer to those of its training"
        print(f"maml-exp: it diverged: {lost} of {len(at)} predictions are not finite; try {tried}", file=sys.stderr)
    return int(lost > 0)


def _inputs(family: TaskFamily, path: Path | None) -> Array:
    """Where to predict (G, n): the file's inputs, or a grid over the family's own range."""
    if path is not None:
        columns = [*family.input_columns, *family.output_names]
        return family.inputs_of(read_points(path, columns, required=family.input_columns, texts=family.text_columns))
    if family.inputs > 1:
        names = ", ".join(family.input_columns)
        raise SettingError(f"these tasks have {family.inputs} inputs: give --at FILE.csv with the columns {names}")
    return family.curve_inputs(GRID)


def _table(family: TaskFamily, at: Array, path: Array) -> list[list[str]]:
    before = [f"{name}_before" for name in family.output_names]
    rows = np.concatenate([at, path[0], path[-1]], axis=1)
    return [[*family.input_names, *before, *family.output_names], *([repr(v) for v in row] for row in rows.tolist())]


def _write(path: Path, table: list[list[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue().encode())
    except OSError as error:
        raise SettingError(f"cannot write {error.filename}: {error.strerror}") from error


def _describe(adapted: Adapted, out: Path, count: int) -> str:
    family, predicted = adapted.learner.problem.family, adapted.path(adapted.x_own)
    loss, target = family.loss, family.from_own_outputs(adapted.y_own)[None]
    made = [family.from_own_outputs(predicted[step].reshape(adapted.y_own.shape))[None] for step in (0, -1)]
    errors = [loss.measure.of(float(loss.by_task(prediction, target)[0])) for prediction in made]
    steps, before = f"{adapted.steps} step{'s' * (adapted.steps != 1)}", f"{loss.measure.label} {errors[0]:.4g} before"
    return f"{len(adapted.x_own)} support points: {before}, {errors[1]:.4g} after {steps}\n{count} predictions: {out}"


def _draw(path: Path, family: TaskFamily, adapted: Adapted, at: Array, made: Array) -> Path:
    from maml_exp.run.figures.of_tasks import draw_adapted

    try:
        draw_adapted(path, family, adapted, at, made)
    except OSError as error:
        raise SettingError(f"cannot write {error.filename}: {error.strerror}") from error
    return path
