"""Figures of one run: all of them; the learning curve and the error after every gradient step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.losses import Measure
from maml_exp.run.figures.drawing import (
    BLUE,
    GREY,
    ORANGE,
    Margins,
    draw_band,
    figure,
    heighten,
    legend_below,
    legend_height,
    mark_beyond,
    say_within,
    set_error_limits,
)
from maml_exp.run.figures.of_learned import draw_learned
from maml_exp.run.figures.of_tasks import draw_finetune, how, in_steps
from maml_exp.store import metrics_file as metrics

Array = np.ndarray
RANDOM, TRAINED, MEAN, MEDIAN = "random initialisation", "this run", "mean with 95% CI", "median"
CURVES = [f"{network}, {number}" for network in (RANDOM, TRAINED) for number in (MEAN, MEDIAN)]
A_LINE = 0.2  # inches, of a title
BEYOND, DIVERGING = "triangles: beyond the view", ", where tasks diverge"


def draw_all(
    config: Config,
    learner: BaseLearner,
    vectors: dict[str, Array],
    evaluation: dict[str, Any],
    rows: Sequence[metrics.Row],
    folder: Path,
    suffix: str = "png",
) -> list[Path]:
    """Draw the figures of a run into `folder`; returns their paths.

    Args:
        config, learner: of the run.
        vectors: the meta-parameters (P,) "trained" and "random".
        evaluation: what summary.json holds under that name.
        rows: of metrics.csv.
        folder: plots/.
        suffix: png, pdf or svg.
    """
    paths = [folder / f"finetune.{suffix}", folder / f"adaptation.{suffix}"]
    if learner.problem.family.are_images:
        from maml_exp.run.figures.of_classes import draw_confusion, draw_finetune_classes

        judged = config, learner, vectors["trained"], evaluation["lr"]
        draw_finetune_classes(*judged, paths[0])
        paths += draw_confusion(*judged, folder / f"confusion.{suffix}")
    else:
        draw_finetune(config, learner, vectors, evaluation["lr"], paths[0])
    draw_adaptation(config, learner, evaluation, rows, paths[1])
    paths += draw_learned(learner, vectors, folder / f"rates.{suffix}")
    if evaluation.get("baselines") and len(evaluation["shots"]) > 1:
        from maml_exp.run.figures.by_points import draw_by_points  # for few runs: the others do without

        paths.append(draw_by_points(config, learner.problem.family.loss, evaluation, folder / f"points.{suffix}"))
    return paths


def draw_adaptation(
    config: Config, learner: BaseLearner, evaluation: dict[str, Any], rows: Sequence[metrics.Row], path: Path
) -> None:
    """The learning curve of held-out error, and the error against gradient steps for every number of shots."""
    shots = evaluation["shots"]
    tag = metrics.evaluation_tag(config.objective_shots, "{}", config.objective_steps)
    learned = [row for row in rows if tag.format("mean") in row]
    columns = len(shots) + bool(learned)
    measure = learner.problem.family.loss.measure
    width = 2.7 * max(2, columns) + 0.8  # of one panel, too: the title stands above
    below = 0.5 + legend_height([*CURVES, *["chance"] * measure.rises], width)
    size = (width, 2.75 + below)
    margins = Margins(left=0.7, bottom=below, top=0.75, across=0.26)
    with figure(path, 1, columns, size, margins=margins, own_folder=True, sharey=True) as (fig, axes):
        panels = list(axes[0])
        limits = set_error_limits(panels[0], measure, _representative(evaluation), _baseline(evaluation))
        beyond = []
        if learned:
            split = learner.problem.family.watched_split
            beyond.append(_draw_learning(panels.pop(0), config, learned, tag, measure, limits, split))
        for axis, (k, results) in zip(panels, shots.items(), strict=True):
            beyond.append(_draw_steps(axis, results, evaluation["tasks"], measure, limits))
            axis.set_title(_points_title(config, int(k), measure), fontsize=9)
            if measure.rises:
                axis.axhline(measure.of(evaluation["reference"]), color=GREY, lw=1, ls=":", label="chance")
            axis.set(xlabel="before (0) and after (1)" if config.adapts_at_once else "gradient steps")
            best = learner.problem.family.bayes_error(int(k))
            if best is not None:
                axis.set_title(f"{axis.get_title()}\nBayes error: {best:g}", fontsize=9)
        axes[0, 0].set_ylabel(measure.label)
        method, adapted = method_label(config.algorithm), how(config, evaluation["lr"])
        title = f"{method}: {evaluation['tasks']} held-out tasks, {adapted}"
        if any(beyond):
            title = f"{title}\n{BEYOND}{DIVERGING if _diverges(evaluation) else ''}"
            heighten(fig, A_LINE, margins, 1, columns)
        fig.suptitle(title)
        legend_below(fig, *axes[0, -1].get_legend_handles_labels())


def _floats(values: Any) -> Array:
    """Numbers of summary.json, NaN where one is not finite: null in the file, infinite in a run that draws itself."""
    found = np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.where(np.isfinite(found), found, np.nan)


def _representative(evaluation: dict[str, Any]) -> list[Any]:
    """What the view must hold: medians of both networks, the trained one's means where no task diverged."""
    found: list[Any] = [evaluation.get("reference", np.nan)]
    for both in evaluation["shots"].values():
        for results in both.values():
            found.append(_floats(results["median"]))
            calm = _floats(_diverged(results)) == 0
            found.append(_floats(results["mean"])[calm])
    return found


def _diverges(evaluation: dict[str, Any]) -> bool:
    """Whether a task has, with either network."""
    return any(max(_diverged(results)) > 0 for both in evaluation["shots"].values() for results in both.values())


def _diverged(results: dict[str, Any]) -> list[int]:
    """The number of tasks that have, after every gradient step; the first version counted non-finite errors."""
    return results.get("diverged", results.get("nonfinite", [0]))


def _baseline(evaluation: dict[str, Any]) -> float:
    """The error of what has learned nothing: the random initialisation's median before the first step."""
    medians = [_floats(both["random"]["median"])[0] for both in evaluation["shots"].values()]
    return float(np.nanmax(medians)) if np.isfinite(medians).any() else np.inf


def _draw_learning(
    axis: Any,
    config: Config,
    rows: Sequence[metrics.Row],
    tag: str,
    measure: Measure,
    limits: tuple[float, float],
    split: str,
) -> bool:
    """Held-out error while training, at the objective's shots and steps; whether something lies beyond the view."""
    x = np.array([row["step"] for row in rows])
    found = (np.array([row.get(tag.format(name), np.nan) for row in rows]) for name in ("mean", "median"))
    mean, median = map(measure.of, found)
    axis.plot(x, mean, color=BLUE, marker="o", ms=3)
    axis.plot(x, median, color=BLUE, ls="--", lw=1)
    axis.set(xlabel="iteration", xlim=(0, None))
    of_others = " (validation tasks)" if split == "validation" else ""
    rates = config.evaluation_rates
    rate = f", rate {rates[0]:g}" if len(rates) > 1 else ""
    how_far = f"K = {config.objective_shots}, {in_steps(config.objective_steps)}{rate}"
    axis.set_title(f"learning curve{of_others}\n{how_far}", fontsize=9)
    axis.locator_params(axis="x", nbins=4)
    return mark_beyond(axis, x, mean, limits, BLUE)


def _points_title(config: Config, shots: int, measure: Measure) -> str:
    """The number of support points, and where a run was trained with several others than these, that it was."""
    trained = config.task.all_shots
    points = f"K = {shots} support points" + " a class" * measure.rises
    return points + ("\n(not trained with)" if len(trained) > 1 and shots not in trained else "")


def _draw_steps(axis: Any, results: dict[str, Any], tasks: int, measure: Measure, limits: tuple[float, float]) -> bool:
    """Error after every gradient step: mean with its 95% band, and median; whether something lies beyond the view."""
    steps, beyond = np.arange(len(results["trained"]["mean"])), False
    for key, label, colour in (("random", RANDOM, ORANGE), ("trained", TRAINED, BLUE)):
        mean, median = (measure.of(_floats(results[key][name])) for name in ("mean", "median"))
        ci95 = abs(measure.slope) * _floats(results[key]["ci95"])
        axis.plot(steps, mean, color=colour, marker="o", ms=3, label=f"{label}, {MEAN}")
        draw_band(axis, steps, mean - ci95, mean + ci95, limits, colour)
        axis.plot(steps, median, color=colour, ls="--", lw=1, label=f"{label}, {MEDIAN}")
        beyond |= mark_beyond(axis, steps, mean, limits, colour)
        _say_diverged(axis, results[key], tasks, label, colour)
    axis.locator_params(axis="x", nbins=6, integer=True)
    if len(steps) == 1:
        axis.set_xticks(steps)
    return beyond


def _say_diverged(axis: Any, results: dict[str, Any], tasks: int, label: str, colour: str) -> None:
    if max(counts := _diverged(results)):
        height = 0.97 if colour == BLUE else 0.85
        say_within(axis, f"{int(max(counts))} of {tasks} tasks diverge\n({label})", colour, height)
