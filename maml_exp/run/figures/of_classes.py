"""Figures of a run that tells classes of images apart: a few tasks with their predictions, and what is confused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.tasks.base import FixedTasks
from maml_exp.data.texts import for_figure
from maml_exp.run.figures.drawing import BLACK, GREEN, GREY, RED, Margins, figure
from maml_exp.run.figures.of_tasks import in_steps

Array = np.ndarray
COLUMNS, MOST_WAYS, QUERIES = 15, 20, 3  # images across a figure; classes and queries of a class that are drawn
GAP, CAPTION = 0.12, 0.42  # of an image's side, between images and below one
CONFUSION_TASKS, MOST_SCRIPTS = 300, 12
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def label_name(label: int) -> str:
    """A, B, .. of the labels 0, 1, ..; numbers behind Z."""
    return LETTERS[label] if label < len(LETTERS) else str(label)


def adapted_labels(
    config: Config, learner: BaseLearner, tasks: FixedTasks, vector: Array, lr: float, shots: int
) -> tuple[Array, Array]:
    """Labels (N, G) that are given to the query points before adapting, and after the objective's steps."""
    support = tasks.x_support[:, : learner.problem.family.support_points(shots)]
    labels = tasks.y_support[:, : support.shape[1]]
    with np.errstate(over="ignore", invalid="ignore"):
        made = list(learner.adapt(vector, support, labels, tasks.x_query, config.objective_steps, lr))
    return made[0].argmax(axis=2), made[-1].argmax(axis=2)


# ------------------------------------------------------------------ fine-tuning


def draw_finetune_classes(config: Config, learner: BaseLearner, vector: Array, lr: float, path: Path) -> None:
    """A few held-out tasks: of every class a support image, and below it queries with the labels they are given."""
    family, shots = learner.problem.family, config.objective_shots
    ways = family.outputs
    shown, count = min(ways, MOST_WAYS), max(1, COLUMNS // ways)
    tasks = family.held_out("test", config.evaluation.seed, count, shots, QUERIES * ways)
    before, after = adapted_labels(config, learner, tasks, vector, lr, shots)
    queries = tasks.x_query.shape[1] // ways
    across = 0.52 * shown * (1 + GAP)
    down = 0.52 * (1 + queries) * (1 + GAP + CAPTION)
    size = (count * across + 0.35 * (count - 1) + 1.2, down + 1.25)
    margins = Margins(left=0.95, right=0.25, bottom=0.45, top=0.8, across=0.35)
    with figure(path, 1, count, size, margins=margins, own_folder=True) as (fig, axes):
        for task, axis in enumerate(axes[0]):
            names = tasks.classes[task] if tasks.classes else ("",) * ways
            _draw_images(
                axis, tasks, task, shown, [for_figure(name.rpartition("/")[2], 6) for name in names], (before, after)
            )
            axis.set_title(f"task {task + 1}")
        _name_rows(axes[0, 0], queries)
        steps = config.objective_steps
        how = "adapting at once" if config.adapts_at_once else in_steps(steps)
        fig.suptitle(f"{method_label(config.algorithm)}: {ways}-way {shots}-shot, labels before -> after {how}")
        fig.text(0.5, 0.12 / size[1], "green: right after adapting; orange: wrong", ha="center", color=BLACK)


def _draw_images(
    axis: Any, tasks: FixedTasks, task: int, ways: int, names: Sequence[str], labels: tuple[Array, Array]
) -> None:
    """The first `ways` classes, one a column: a support image on top, its queries below."""
    all_ways = tasks.y_query.shape[2]
    side = round(tasks.x_query.shape[2] ** 0.5)
    for column in range(ways):
        _place(axis, tasks.x_support[task, column], side, 0, column)
        _caption(axis, 0, column, f"{label_name(column)} {names[column]}".strip(), BLACK)
        for row, place in enumerate(range(column, tasks.x_query.shape[1], all_ways), start=1):
            _place(axis, tasks.x_query[task, place], side, row, column)
            first, last = (label_name(given[task, place]) for given in labels)
            _caption(axis, row, column, f"{first}->{last}", GREEN if last == label_name(column) else RED)
    rows = 1 + tasks.x_query.shape[1] // all_ways
    axis.set(xlim=(0, ways * (1 + GAP)), ylim=(rows * (1 + GAP + CAPTION), 0), aspect="auto")
    axis.set_axis_off()


def _place(axis: Any, pixels: Array, side: int, row: int, column: int) -> None:
    left, top = column * (1 + GAP), row * (1 + GAP + CAPTION)
    extent = (left, left + 1, top + 1, top)
    axis.imshow(1 - pixels.reshape(side, side), cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")


def _caption(axis: Any, row: int, column: int, text: str, colour: str) -> None:
    left, top = column * (1 + GAP) + 0.5, row * (1 + GAP + CAPTION) + 1.05
    axis.text(left, top, text, color=colour, ha="center", va="top", fontsize=7)


def _name_rows(axis: Any, queries: int) -> None:
    names = ["support", *(f"query {number}" for number in range(1, queries + 1))]
    for row, name in enumerate(names):
        axis.text(-0.15, row * (1 + GAP + CAPTION) + 0.5, name, ha="right", va="center", color=GREY)


# ------------------------------------------------------------------ confusion by script


def draw_confusion(config: Config, learner: BaseLearner, vector: Array, lr: float, path: Path) -> list[Path]:
    """Of the queries of each script, the share that is taken for another class, by that class's script.

    No figure where classes are of one script: then there is nothing to tell apart by it.
    """
    family, shots = learner.problem.family, config.objective_shots
    scripts = getattr(family, "scripts", {})
    tasks = family.held_out("test", config.evaluation.seed, CONFUSION_TASKS, shots, QUERIES * family.outputs)
    if len({scripts.get(name) for names in tasks.classes for name in names}) < 2:
        return []
    _, given = adapted_labels(config, learner, tasks, vector, lr, shots)
    names, shares, counts = confusion(tasks, given, scripts)
    size = (0.62 * len(names) + 2.6, 0.42 * len(names) + 2.0)
    with figure(path, 1, 1, size, own_folder=True) as (fig, axes):
        axis = axes[0, 0]
        image = axis.imshow(shares, cmap="Blues", vmin=0, aspect="auto")
        for (row, column), value in np.ndenumerate(shares):
            dark = value > 0.6 * shares.max()
            axis.text(column, row, f"{value:.1f}", ha="center", va="center", color="white" if dark else "black")
        axis.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axis.set_yticks(range(len(names)), [f"{name} ({count})" for name, count in zip(names, counts, strict=True)])
        axis.set(xlabel="script of the wrong class", ylabel="script of the query (number)")
        axis.grid(False)
        fig.colorbar(image, label="taken for it (%)")
        title = f"{method_label(config.algorithm)}: what is confused, {family.outputs}-way {shots}-shot"
        fig.suptitle(title, fontsize=9)
    return [path]


def confusion(tasks: FixedTasks, given: Array, scripts: Any) -> tuple[list[str], Array, list[int]]:
    """Names of the scripts, the most frequent first; of each one's queries, the percentage put into a wrong class of
    every script, (S, S); and how many queries it has. Scripts beyond the most frequent are one, "others".
    """
    names = np.array([[scripts.get(name, "") for name in classes] for classes in tasks.classes])  # (N, ways)
    true = tasks.y_query.argmax(axis=2)
    of_query, of_given = (np.take_along_axis(names, labels, axis=1) for labels in (true, given))
    found, counts = np.unique(of_query, return_counts=True)
    order = [str(found[i]) for i in np.argsort(-counts, kind="stable")]
    kept = order if len(order) <= MOST_SCRIPTS else [*order[: MOST_SCRIPTS - 1], "others"]
    place = {name: min(i, len(kept) - 1) for i, name in enumerate(order)}
    table, totals = np.zeros((len(kept), len(kept))), np.zeros(len(kept))
    for query, other, is_wrong in zip(of_query.ravel(), of_given.ravel(), (true != given).ravel(), strict=True):
        totals[place[query]] += 1
        # a script of which no query is drawn has no row: it is among the last
        table[place[query], place.get(other, len(kept) - 1)] += is_wrong
    return [for_figure(name, 16) for name in kept], 100 * table / totals[:, None], totals.astype(int).tolist()
