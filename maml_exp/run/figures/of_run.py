"""Figures of one run: fine-tuning on a few tasks; the learning curve and the error after every gradient step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.losses import Measure
from maml_exp.core.tasks.base import FixedTasks, TaskFamily
from maml_exp.data.texts import for_figure
from maml_exp.run.figures.drawing import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    RED,
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
from maml_exp.run.trained import Adapted
from maml_exp.store import metrics_file as metrics

Array = np.ndarray
FINETUNE_TASKS, DRAWN_POINTS = 4, 50
RANDOM, TRAINED, MEAN, MEDIAN = "random initialisation", "this run", "mean with 95% CI", "median"
CURVES = [f"{network}, {number}" for network in (RANDOM, TRAINED) for number in (MEAN, MEDIAN)]
A_LINE = 0.2  # inches, of a title
BEYOND = "triangles: beyond the view, where tasks diverge"


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


def how(config: Config, lr: float) -> str:
    """How a run adapts, in a title."""
    return "adapting at once" if config.adapts_at_once else f"gradient steps with {config.rate_in_words(lr)}"


def in_steps(count: int) -> str:
    """1 step, 2 steps."""
    return f"{count} step{'s' * (count != 1)}"


# ------------------------------------------------------------------ fine-tuning


def step_lines(config: Config, learner: BaseLearner) -> list[tuple[int, str, str, str]]:
    """The predictions drawn: (step, label, colour, line style), that of the step trained for among them."""
    trained, last = learner.trained_steps, config.evaluation_steps
    lines = [(0, "before", GREY, ":")]
    if config.adapts_at_once:
        return [*lines, (1, "after", BLUE, "-")][: last + 1]
    if 0 < trained <= last:
        lines.append((trained, f"{in_steps(trained)} (trained for)", ORANGE, "--"))
    elif last > 1:
        lines.append((1, "1 step", ORANGE, "--"))
    if last > lines[-1][0]:
        lines.append((last, in_steps(last), BLUE, "-"))
    return lines


def draw_finetune(config: Config, learner: BaseLearner, vectors: dict[str, Array], lr: float, path: Path) -> None:
    """Predictions on a few held-out tasks, before and after adaptation; below, the random initialisation's."""
    tasks = plotted_tasks(config, learner, FINETUNE_TASKS)
    family = learner.problem.family
    columns = min(FINETUNE_TASKS, len(tasks.x_query))
    draw = draw_task if family.is_curve else draw_predicted
    width = 2.6 * columns
    below = 0.5 + legend_height(["", "", *(label for _, label, _, _ in step_lines(config, learner))], width)
    size = (width, 4.5 + below)
    margins = Margins(left=0.75, bottom=below, top=0.62, across=0.34, down=0.2)
    shared = {"sharex": True if family.is_curve else "col", "sharey": "col"}
    options: dict[str, Any] = {"margins": margins, "own_folder": True, **shared}
    with figure(path, 2, columns, size, **options) as (fig, axes):
        labels = {"trained": f"this run ({method_label(config.algorithm)})", "random": "random initialisation"}
        for row, (which, label) in zip(axes, labels.items(), strict=True):
            made = predictions(config, learner, tasks, vectors[which], lr)
            for task, axis in enumerate(row):
                draw(axis, config, learner, tasks, task, made)
            what = family.output_axis.label if family.is_curve else f"predicted {family.output_axis.label}"
            row[0].set_ylabel(f"{label}\n{what}")
        for number, axis in enumerate(axes[0], start=1):
            axis.set_title(for_figure(tasks.names[number - 1], 24) if tasks.names else f"task {number}")
            axis.locator_params(axis="x", nbins=4)
            axis.locator_params(axis="y", nbins=5)
        for axis in axes[1]:
            axis.set_xlabel(family.input_axis.label if family.is_curve else f"true {family.output_axis.label}")
        fig.suptitle(f"Fine-tuning on {config.objective_shots} points, {how(config, lr)}")
        legend_below(fig, *axes[0, 0].get_legend_handles_labels())


def plotted_tasks(config: Config, learner: BaseLearner, tasks: int) -> FixedTasks:
    """The first evaluation tasks, with as many points of their curves as are drawn."""
    seed = config.evaluation.seed
    return learner.problem.family.held_out("test", seed, tasks, config.objective_shots, DRAWN_POINTS)


def predictions(config: Config, learner: BaseLearner, tasks: FixedTasks, vector: Array, lr: float) -> list[Array]:
    """On the drawn points of all tasks, (T, Q, m) after 0, 1, .. gradient steps, in the tasks' own units."""
    with np.errstate(over="ignore", invalid="ignore"):
        points = tasks.x_support, tasks.y_support, tasks.x_query
        made = learner.adapt(vector, *points, config.evaluation_steps, lr)
        return [learner.problem.family.to_own_outputs(prediction.astype(float)) for prediction in made]


def draw_task(
    axis: Any, config: Config, learner: BaseLearner, tasks: FixedTasks, task: int, made: Sequence[Array]
) -> None:
    """One task: true curve, support points, predictions before and after gradient steps, of those `made` for all."""
    own_x, own_y = learner.problem.family.to_own_inputs, learner.problem.family.to_own_outputs
    x, true = own_x(tasks.x_query[task])[:, 0], own_y(tasks.y_query[task])[:, 0]
    axis.plot(x, true, color=BLACK, lw=1, label="true curve")
    for step, label, colour, style in step_lines(config, learner):
        axis.plot(x, made[step][task, :, 0], color=colour, ls=style, lw=1.6, label=label)
    support = own_x(tasks.x_support[task])[:, 0], own_y(tasks.y_support[task])[:, 0]
    axis.plot(*support, "o", color=RED, ms=4, label="support points", zorder=3)
    middle, reach = (true.max() + true.min()) / 2, 0.8 * (true.max() - true.min()) + 0.1
    axis.set_ylim(middle - reach, middle + reach)  # a prediction that diverges leaves the view, the task stays readable
    _say_hidden(axis, config, learner, task, made)


def draw_predicted(
    axis: Any, config: Config, learner: BaseLearner, tasks: FixedTasks, task: int, made: Sequence[Array]
) -> None:
    """One task of several inputs: predictions before and after gradient steps against the truth, on a diagonal."""
    true = learner.problem.family.to_own_outputs(tasks.y_query[task])[:, 0]
    reach = [true.min(), true.max()]
    axis.plot(reach, reach, color=BLACK, lw=1, label="predicted = true")
    for (step, label, colour, _), shape in zip(step_lines(config, learner), ".x+", strict=False):
        axis.plot(true, made[step][task, :, 0], shape, color=colour, ms=4, label=label)
    room = 0.3 * (reach[1] - reach[0]) + 1e-9
    axis.set_ylim(reach[0] - room, reach[1] + room)
    _say_hidden(axis, config, learner, task, made)


def _say_hidden(axis: Any, config: Config, learner: BaseLearner, task: int, made: Sequence[Array]) -> None:
    """Name the predictions of which nothing is in the view, a line each."""
    low, high = axis.get_ylim()
    hidden = [
        (label, colour)
        for step, label, colour, _ in step_lines(config, learner)
        if not ((low <= made[step][task, :, 0]) & (made[step][task, :, 0] <= high)).any()
    ]
    for line, (label, colour) in enumerate(hidden):
        say_within(axis, f"{label}: beyond the view", colour, 0.97 - 0.07 * line)


# ------------------------------------------------------------------ learning curve, error by steps


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
            beyond.append(_draw_learning(panels.pop(0), config, learned, tag, measure, limits))
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
            title = f"{title}\n{BEYOND}"
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
            calm = _floats(results.get("diverged", results.get("nonfinite", [0]))) == 0
            found.append(_floats(results["mean"])[calm])
    return found


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
) -> bool:
    """Held-out error while training, at the objective's shots and steps; whether something lies beyond the view."""
    x = np.array([row["step"] for row in rows])
    found = (np.array([row.get(tag.format(name), np.nan) for row in rows]) for name in ("mean", "median"))
    mean, median = map(measure.of, found)
    axis.plot(x, mean, color=BLUE, marker="o", ms=3)
    axis.plot(x, median, color=BLUE, ls="--", lw=1)
    axis.set(xlabel="iteration", xlim=(0, None))
    axis.set_title(f"learning curve\nK = {config.objective_shots}, {in_steps(config.objective_steps)}", fontsize=9)
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
    return beyond


def _say_diverged(axis: Any, results: dict[str, Any], tasks: int, label: str, colour: str) -> None:
    counts = results.get("diverged", results.get("nonfinite", [0]))
    if max(counts):
        height = 0.97 if colour == BLUE else 0.85
        say_within(axis, f"{int(max(counts))} of {tasks} tasks diverge\n({label})", colour, height)


def draw_adapted(path: Path, family: TaskFamily, adapted: Adapted, at: Array, made: Array) -> None:
    """Support points, and predictions `made` (steps + 1, G, 1) at inputs (G, 1), before and after adaptation."""
    order = np.argsort(at[:, 0], kind="stable")
    x, before, after = at[order, 0], made[0, order, 0], made[-1, order, 0]
    with figure(path, 1, 1, (5.6, 3.8)) as (fig, axes):
        axis = axes[0, 0]
        axis.plot(x, before, color=GREY, ls=":", lw=1.6, label="before")
        axis.plot(x, after, color=BLUE, lw=1.6, label=f"after {in_steps(adapted.steps)}")
        axis.plot(adapted.x_own[:, 0], adapted.y_own[:, 0], "o", color=RED, ms=5, label="support points", zorder=3)
        axis.set(xlabel=family.input_axis.label, ylabel=family.output_axis.label)
        legend_below(fig, *axis.get_legend_handles_labels())
