"""Figures of single tasks: predictions before and after adapting to a support set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.tasks.base import FixedTasks, TaskFamily
from maml_exp.data.texts import for_figure
from maml_exp.run.figures.drawing import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    RED,
    Margins,
    figure,
    legend_below,
    legend_height,
    say_within,
)
from maml_exp.run.trained import Adapted

Array = np.ndarray
FINETUNE_TASKS, DRAWN_POINTS = 4, 50
NEAR = 1.5  # times the range of what is known of a task: predictions that go further do not widen the view


def how(config: Config, lr: float) -> str:
    """How a run adapts, in a title."""
    return "adapting at once" if config.adapts_at_once else f"gradient steps with {config.rate_in_words(lr)}"


def in_steps(count: int) -> str:
    """1 step, 2 steps."""
    return f"{count} step{'s' * (count != 1)}"


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


class Predicted(NamedTuple):
    """What a learner predicts of held-out tasks, before and after gradient steps."""

    config: Config
    learner: BaseLearner
    tasks: FixedTasks
    made: list[Array]  # on the drawn points (T, Q, m) after 0, 1, .. steps, in the tasks' own units

    @classmethod
    def of(cls, config: Config, learner: BaseLearner, vector: Array, lr: float, count: int) -> Predicted:
        """Of the first `count` evaluation tasks, with as many points of their curves as are drawn."""
        family, seed = learner.problem.family, config.evaluation.seed
        tasks = family.held_out("test", seed, count, config.objective_shots, DRAWN_POINTS)
        with np.errstate(over="ignore", invalid="ignore"):
            points = tasks.x_support, tasks.y_support, tasks.x_query
            made = learner.adapt(vector, *points, config.evaluation_steps, lr)
            return cls(config, learner, tasks, [family.to_own_outputs(each.astype(float)) for each in made])

    @property
    def lines(self) -> list[tuple[int, str, str, str]]:
        """See `step_lines`."""
        return step_lines(self.config, self.learner)


def axis_labels(family: TaskFamily, longest: int = 24) -> tuple[str, str]:
    """What x and y are, which a user's table names."""
    return for_figure(family.input_axis.label, longest), for_figure(family.output_axis.label, longest)


def draw_finetune(config: Config, learner: BaseLearner, vectors: dict[str, Array], lr: float, path: Path) -> None:
    """Predictions on a few held-out tasks, before and after adaptation; below, the random initialisation's."""
    family = learner.problem.family
    predicted = {name: Predicted.of(config, learner, vectors[name], lr, FINETUNE_TASKS) for name in vectors}
    tasks = predicted["trained"].tasks
    columns = min(FINETUNE_TASKS, len(tasks.x_query))
    draw = draw_task if family.is_curve else draw_predicted
    width = 2.6 * columns
    below = 0.5 + legend_height(["", "", *(label for _, label, _, _ in step_lines(config, learner))], width)
    size = (width, 4.5 + below)
    margins = Margins(left=0.75, bottom=below, top=0.62, across=0.34, down=0.2)
    shared = {"sharex": True if family.is_curve else "col", "sharey": "col"}
    options: dict[str, Any] = {"margins": margins, "own_folder": True, **shared}
    with figure(path, 2, columns, size, **options) as (fig, axes):
        x_label, y_label = axis_labels(family)
        labels = {"trained": f"this run ({method_label(config.algorithm)})", "random": "random initialisation"}
        ends = [one.made[-1] for one in predicted.values()]
        for row, (which, label) in zip(axes, labels.items(), strict=True):
            for task, axis in enumerate(row):
                draw(axis, predicted[which], task, ends)
            what = y_label if family.is_curve else f"predicted {y_label}"
            row[0].set_ylabel(f"{label}\n{what}")
        for number, axis in enumerate(axes[0], start=1):
            axis.set_title(for_figure(tasks.names[number - 1], 24) if tasks.names else f"task {number}")
            axis.locator_params(axis="x", nbins=4)
            axis.locator_params(axis="y", nbins=5, steps=[1, 2, 5, 10])  # short labels
        for axis in axes[1]:
            axis.set_xlabel(x_label if family.is_curve else f"true {y_label}")
        fig.suptitle(f"Fine-tuning on {config.objective_shots} points, {how(config, lr)}")
        legend_below(fig, *axes[0, 0].get_legend_handles_labels())


def view_of(shown: Array, ends: Sequence[Array]) -> tuple[float, float]:
    """Limits that hold what is known of a task, with some room, and predictions in the end that are near.

    One that diverges leaves the view, and the task stays readable.
    """
    low, high = float(np.min(shown)), float(np.max(shown))
    size = high - low or max(abs(high), 1.0)
    near = [end for end in ends if ((low - NEAR * size <= end) & (end <= high + NEAR * size)).all()]
    lowest = min([low - 0.3 * size, *(float(end.min()) - 0.05 * size for end in near)])
    highest = max([high + 0.3 * size, *(float(end.max()) + 0.05 * size for end in near)])
    return lowest, highest


def draw_task(axis: Any, predicted: Predicted, task: int, ends: Sequence[Array]) -> None:
    """One task: its curve, support points, predictions before and after gradient steps.

    `ends` are the last predictions (T, Q, m), also of other panels with this y axis.
    """
    tasks, family = predicted.tasks, predicted.learner.problem.family
    own_x, own_y = family.to_own_inputs, family.to_own_outputs
    x, true = own_x(tasks.x_query[task])[:, 0], own_y(tasks.y_query[task])[:, 0]
    support = own_x(tasks.x_support[task])[:, 0], own_y(tasks.y_support[task])[:, 0]
    if family.facts() is None:
        axis.plot(x, true, color=BLACK, lw=1, label="true curve")
    else:  # rows of a table: all there is
        all_x, all_y = (np.concatenate(parts) for parts in zip((x, true), support, strict=True))
        order = np.argsort(all_x, kind="stable")
        axis.plot(all_x[order], all_y[order], color=BLACK, lw=1, label="all rows")
    for step, label, colour, style in predicted.lines:
        axis.plot(x, predicted.made[step][task, :, 0], color=colour, ls=style, lw=1.6, label=label)
    axis.plot(*support, "o", color=RED, ms=4, label="support points", zorder=3)
    axis.set_ylim(*view_of(np.concatenate([true, support[1]]), [end[task, :, 0] for end in ends]))
    _say_hidden(axis, predicted, task)


def draw_predicted(axis: Any, predicted: Predicted, task: int, ends: Sequence[Array]) -> None:
    """One task of several inputs: predictions before and after gradient steps against the truth, on a diagonal."""
    true = predicted.learner.problem.family.to_own_outputs(predicted.tasks.y_query[task])[:, 0]
    reach = [true.min(), true.max()]
    axis.plot(reach, reach, color=BLACK, lw=1, label="predicted = true")
    for (step, label, colour, _), shape in zip(predicted.lines, ".x+", strict=False):
        axis.plot(true, predicted.made[step][task, :, 0], shape, color=colour, ms=4, label=label)
    axis.set_ylim(*view_of(true, [end[task, :, 0] for end in ends]))
    _say_hidden(axis, predicted, task)


def _say_hidden(axis: Any, predicted: Predicted, task: int) -> None:
    """Name the predictions of which nothing is in the view, a line each."""
    low, high = axis.get_ylim()
    hidden = [
        (label, colour)
        for step, label, colour, _ in predicted.lines
        if not ((low <= predicted.made[step][task, :, 0]) & (predicted.made[step][task, :, 0] <= high)).any()
    ]
    for line, (label, colour) in enumerate(hidden):
        say_within(axis, f"{label}: beyond the view", colour, 0.97 - 0.07 * line)


def draw_adapted(path: Path, family: TaskFamily, adapted: Adapted, at: Array, made: Array) -> None:
    """Support points, and predictions `made` (steps + 1, G, 1) at inputs (G, 1), before and after adaptation."""
    order = np.argsort(at[:, 0], kind="stable")
    x, before, after = at[order, 0], made[0, order, 0], made[-1, order, 0]
    with figure(path, 1, 1, (5.6, 3.8)) as (fig, axes):
        axis = axes[0, 0]
        shape = "." if len(x) < DRAWN_POINTS else ""  # between a few points a line is no prediction
        axis.plot(x, before, color=GREY, ls=":", marker=shape, lw=1.6, label="before")
        axis.plot(x, after, color=BLUE, marker=shape, lw=1.6, label=f"after {in_steps(adapted.steps)}")
        axis.plot(adapted.x_own[:, 0], adapted.y_own[:, 0], "o", color=RED, ms=5, label="support points", zorder=3)
        x_label, y_label = axis_labels(family, 50)
        axis.set(xlabel=x_label, ylabel=y_label)
        legend_below(fig, *axis.get_legend_handles_labels())
