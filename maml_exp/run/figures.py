"""Figures of one run. The only module that imports matplotlib, and only when a figure is drawn."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.tasks.base import FixedTasks, TaskFamily
from maml_exp.data import door
from maml_exp.run.trained import Adapted

Array = np.ndarray
# Okabe and Ito's colours, told apart by readers with colour vision deficiency
BLACK, GREY, ORANGE, BLUE, GREEN, RED = "#000000", "#999999", "#E69F00", "#0072B2", "#009E73", "#D55E00"
COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", BLACK)
MARKERS = "osD^vPX"
STYLE: dict[Any, Any] = {
    "figure.dpi": 120,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}
STEP_LINES = ((0, GREY, ":"), (1, ORANGE, "--"), (10, BLUE, "-"))  # gradient steps shown, and how
FINETUNE_TASKS, DRAWN_POINTS = 4, 50


@contextmanager
def figure(
    path: Path,
    rows: int,
    columns: int,
    size: tuple[float, float],
    style: str | None = None,
    own_folder: bool = False,
    **options,
) -> Iterator[Any]:
    """Subplots that are saved to `path` and closed, whatever happens; `style` is one of matplotlib's, over ours.

    An `own_folder` is a run's plots/: made where it is not there, and never a link.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if style is not None and style not in plt.style.available:
        raise SettingError(f"--style {style} is not usable: it must be one of {', '.join(plt.style.available)}")
    with plt.rc_context(STYLE), plt.style.context(style or {}):
        fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)
        try:
            yield fig, axes
            drawn, suffix = io.BytesIO(), path.suffix.lstrip(".")
            # no date or version in the file: the same run gives the same picture
            metadata = {"Software": None} if suffix == "png" else None
            fig.savefig(drawn, format=suffix, metadata=metadata)
            door.write(path, drawn.getvalue(), own_folder)
        finally:
            plt.close(fig)


def draw_all(
    config: Config,
    learner: BaseLearner,
    vectors: dict[str, Array],
    evaluation: dict[str, Any],
    folder: Path,
    suffix: str = "png",
) -> list[Path]:
    """Draw both figures of a run into `folder`; returns their paths.

    Args:
        config, learner: of the run.
        vectors: the meta-parameters (P,) "trained" and "random".
        evaluation: what summary.json holds under that name.
        folder: plots/.
        suffix: png, pdf or svg.
    """
    paths = [folder / f"finetune.{suffix}", folder / f"adaptation.{suffix}"]
    draw_finetune(config, learner, vectors, evaluation["lr"], paths[0])
    draw_adaptation(config, learner, evaluation, paths[1])
    return paths


def draw_finetune(config: Config, learner: BaseLearner, vectors: dict[str, Array], lr: float, path: Path) -> None:
    """Predictions on a few held-out tasks, before and after 1 and 10 steps; below, the random initialisation's."""
    tasks = plotted_tasks(config, learner, FINETUNE_TASKS)
    family = learner.problem.family
    size = (2.6 * FINETUNE_TASKS, 5.2)
    with figure(path, 2, FINETUNE_TASKS, size, own_folder=True, sharex=True, sharey="col") as (fig, axes):
        labels = {"trained": f"this run ({method_label(config.algorithm)})", "random": "random initialisation"}
        for row, (which, label) in zip(axes, labels.items(), strict=True):
            for task, axis in enumerate(row):
                draw_task(axis, config, learner, tasks, task, vectors[which], lr)
            row[0].set_ylabel(f"{label}\n{family.output_axis.label}")
        for number, axis in enumerate(axes[0], start=1):
            axis.set_title(f"task {number}")
        for axis in axes[1]:
            axis.set_xlabel(family.input_axis.label)
        fig.suptitle(f"Fine-tuning on {config.objective_shots} points, gradient steps with rate {lr:g}")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)


def plotted_tasks(config: Config, learner: BaseLearner, tasks: int) -> FixedTasks:
    """The first evaluation tasks, with as many points of their curves as are drawn."""
    seed = config.evaluation.seed
    return learner.problem.family.held_out("test", seed, tasks, config.objective_shots, DRAWN_POINTS)


def draw_task(
    axis: Any, config: Config, learner: BaseLearner, tasks: FixedTasks, task: int, vector: Array, lr: float
) -> None:
    """One task: true curve, support points, predictions before and after 1 and 10 gradient steps."""
    one = slice(task, task + 1)
    x_support, y_support, x = tasks.x_support[one], tasks.y_support[one], tasks.x_query[one]
    with np.errstate(over="ignore", invalid="ignore"):
        made = list(learner.adapt(vector, x_support, y_support, x, config.evaluation.steps, lr))
    drawn_x, true = x[0, :, 0], tasks.y_query[task, :, 0]
    axis.plot(drawn_x, true, color=BLACK, lw=1, label="true curve")
    for step, colour, style in [line for line in STEP_LINES if line[0] < len(made)]:
        label = "before" if step == 0 else f"{step} step{'s' * (step > 1)}"
        axis.plot(drawn_x, made[step][0, :, 0], color=colour, ls=style, lw=1.6, label=label)
    axis.plot(x_support[0, :, 0], y_support[0, :, 0], "o", color=RED, ms=4, label="support points", zorder=3)
    reach = 1.6 * np.abs(true).max() + 0.1
    axis.set_ylim(-reach, reach)  # a prediction that diverges leaves the frame, the task stays readable


def draw_adaptation(config: Config, learner: BaseLearner, evaluation: dict[str, Any], path: Path) -> None:
    """Error against gradient steps for every number of shots: mean with its 95% band, and median."""
    shots = evaluation["shots"]
    steps = np.arange(evaluation["steps"] + 1)
    with figure(path, 1, len(shots), (3.2 * len(shots) + 0.6, 3.6), own_folder=True, sharey=True) as (fig, axes):
        for axis, (k, results) in zip(axes[0], shots.items(), strict=True):
            for key, label, colour in (("random", "random initialisation", ORANGE), ("trained", "this run", BLUE)):
                curve = {name: np.array(values, dtype=float) for name, values in results[key].items()}
                for name in ("mean", "ci95", "median"):
                    curve[name][~np.isfinite(curve[name])] = np.nan  # no number, no line
                axis.plot(steps, curve["mean"], color=colour, marker="o", ms=3, label=f"{label}, mean with 95% CI")
                low = np.maximum(curve["mean"] - curve["ci95"], 1e-12)
                axis.fill_between(steps, low, curve["mean"] + curve["ci95"], color=colour, alpha=0.25, lw=0)
                axis.plot(steps, curve["median"], color=colour, ls="--", lw=1, label=f"{label}, median")
                _say_diverged(axis, curve["nonfinite"], evaluation["tasks"], label, colour)
            axis.set(title=f"K = {k} support points", xlabel="gradient steps", yscale="log")
        axes[0, 0].set_ylabel(learner.problem.family.loss.name)
        method, tasks, lr = method_label(config.algorithm), evaluation["tasks"], evaluation["lr"]
        fig.suptitle(f"{method}: {tasks} tasks, gradient steps with rate {lr:g}")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _say_diverged(axis: Any, nonfinite: Array, tasks: int, label: str, colour: str) -> None:
    if nonfinite.any():
        text = f"{int(nonfinite.max())} of {tasks} tasks diverge\n({label})"
        height = 0.98 if colour == BLUE else 0.86
        axis.text(0.98, height, text, color=colour, transform=axis.transAxes, ha="right", va="top", fontsize=7)


def draw_adapted(path: Path, family: TaskFamily, adapted: Adapted, at: Array, made: Array) -> None:
    """Support points, and predictions `made` (steps + 1, G, 1) at inputs (G, 1), before and after adaptation."""
    order = np.argsort(at[:, 0], kind="stable")
    x, before, after = at[order, 0], made[0, order, 0], made[-1, order, 0]
    steps = f"{adapted.steps} step{'s' * (adapted.steps != 1)}"
    with figure(path, 1, 1, (5.6, 3.8)) as (fig, axes):
        axis = axes[0, 0]
        axis.plot(x, before, color=GREY, ls=":", lw=1.6, label="before")
        axis.plot(x, after, color=BLUE, lw=1.6, label=f"after {steps}")
        axis.plot(
            adapted.x_support[:, 0], adapted.y_support[:, 0], "o", color=RED, ms=5, label="support points", zorder=3
        )
        axis.set(xlabel=family.input_axis.label, ylabel=family.output_axis.label)
        fig.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
