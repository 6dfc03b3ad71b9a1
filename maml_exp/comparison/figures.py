"""Figures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.comparison.groups import Estimate, Group, estimate
from maml_exp.config.saved import load_config
from maml_exp.core.checks import is_number
from maml_exp.core.training import Trainer
from maml_exp.data.texts import for_figure
from maml_exp.run.figures import BLUE, COLOURS, GREY, MARKERS, draw_task, figure, plotted_tasks
from maml_exp.store.choosing import newest_checkpoint
from maml_exp.store.records import training_curve
from maml_exp.store.run_folder import RunFolder

Array = np.ndarray
MOST_LINES = 12  # groups in a figure; more cannot be told apart
MOST_SEEDS = 20  # for which each has a line of its own


def draw_adaptation(groups: Sequence[Group], shots: dict[int, int], path: Path, style: str | None) -> None:
    """Error against gradient steps, a panel for every number of shots, a line with its band for every group."""
    shown = [group for group in groups if group.runs][:MOST_LINES]
    size = (3.2 * len(shots) + 0.6, 3.4 + 0.2 * len(shown))
    with figure(path, 1, len(shots), size, style, sharey=True) as (fig, axes):
        for axis, (k, last) in zip(axes[0], shots.items(), strict=True):
            steps = range(last + 1)
            for number, group in enumerate(shown):
                _band(axis, steps, [group.estimate(k, step) for step in steps], number, for_figure(group.label))
            random = [estimate([r.results[k]["random"][s] for r in shown[0].runs.values()]) for s in steps]
            axis.plot(steps, [e.mean for e in random], color=GREY, ls=":", label="random initialisation")
            axis.set(title=f"K = {k} support points", xlabel="gradient steps", yscale="log")
        axes[0, 0].set_ylabel("mean squared error\n(mean over seeds, 95% band)")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(shown) + 1))


def _band(axis: Any, x: Sequence[float] | Array, values: Sequence[Estimate], number: int, label: str) -> None:
    """A line through estimates with a band where there are several seeds."""
    mean, ci = (np.array([getattr(v, name) for v in values]) for name in ("mean", "ci95"))
    mean = np.where(np.isfinite(mean), mean, np.nan)
    colour = COLOURS[number % len(COLOURS)]
    axis.plot(x, mean, color=colour, marker=MARKERS[number % len(MARKERS)], ms=4, label=label)
    if np.isfinite(ci).any():
        axis.fill_between(x, np.maximum(mean - ci, mean / 100), mean + ci, color=colour, alpha=0.2, lw=0)


def draw_training(groups: Sequence[Group], path: Path, style: str | None) -> None:
    """Meta-loss against iterations: a thin line for every seed, a thick one for their mean."""
    with figure(path, 1, 1, (6.4, 4.2), style) as (fig, axes):
        axis = axes[0, 0]
        for number, group in enumerate([group for group in groups if group.runs][:MOST_LINES]):
            colour = COLOURS[number % len(COLOURS)]
            curves = [training_curve(RunFolder(run.folder)) for run in group.runs.values()]
            for steps, losses in curves if len(curves) <= MOST_SEEDS else []:
                axis.plot(steps, losses, color=colour, lw=0.6, alpha=0.35)
            same = [losses for steps, losses in curves if np.array_equal(steps, curves[0][0])]
            axis.plot(curves[0][0], np.mean(same, axis=0), color=colour, lw=1.8, label=for_figure(group.label))
        axis.set(xlabel="iteration", ylabel="meta-loss (mean squared error)", yscale="log")
        fig.legend(loc="outside lower center", ncols=2)


def draw_sweep(groups: Sequence[Group], keys: Sequence[str], path: Path, style: str | None) -> bool:
    """The objective against one swept setting (line) or two (heatmap); False where there are none or more."""
    finished = [group for group in groups if group.runs]
    if len(keys) not in (1, 2) or len(finished) < 2:
        return False
    with figure(path, 1, 1, (5.6, 4.2), style) as (fig, axes):
        (_draw_line if len(keys) == 1 else _draw_heatmap)(fig, axes[0, 0], finished, keys)
    return True


OBJECTIVE_LABEL = "mean squared error after adaptation\n(the runs' objective)"


def _draw_line(fig: Any, axis: Any, groups: Sequence[Group], keys: Sequence[str]) -> None:
    values: list[Any] = [group.settings.get(keys[0]) for group in groups]
    numeric = all(is_number(value) for value in values)
    order = sorted(range(len(groups)), key=(lambda i: values[i]) if numeric else (lambda i: i))
    x = np.array([values[i] for i in order], dtype=float) if numeric else np.arange(len(order))
    results = [groups[i].objective() for i in order]
    ci = np.nan_to_num([e.ci95 for e in results], posinf=0.0)
    axis.errorbar(x, [e.mean for e in results], yerr=ci, color=BLUE, marker="o", capsize=3, ls="-" if numeric else "")
    if numeric and x.min() > 0 and x.max() >= 10 * x.min():
        axis.set_xscale("log")
    if not numeric:
        axis.set_xticks(x, [for_figure(str(values[i]).replace(" ", ""), 30) for i in order])
    axis.set(xlabel=for_figure(keys[0]), ylabel=OBJECTIVE_LABEL + ", 95% CI over seeds", ylim=(0, None))


def _draw_heatmap(fig: Any, axis: Any, groups: Sequence[Group], keys: Sequence[str]) -> None:
    rows, columns = (_levels([group.settings.get(key) for group in groups]) for key in keys)
    grid = np.full((len(rows), len(columns)), np.nan)
    for group in groups:
        place = rows.index(str(group.settings.get(keys[0]))), columns.index(str(group.settings.get(keys[1])))
        grid[place] = group.objective().mean
    finite = np.where(np.isfinite(grid), grid, np.nan)
    image = axis.imshow(finite, cmap="viridis_r", norm="log", aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        text = f"{value:.3g}" if np.isfinite(value) else "no result" if np.isnan(value) else "not finite"
        # an array of one colour where all values are equal
        red, green, blue, _ = np.ravel(image.cmap(image.norm(value))) if np.isfinite(value) else (1, 1, 1, 1)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axis.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    axis.set_xticks(range(len(columns)), [for_figure(level, 30) for level in columns])
    axis.set_yticks(range(len(rows)), [for_figure(level, 30) for level in rows])
    axis.set(xlabel=for_figure(keys[1]), ylabel=for_figure(keys[0]))
    axis.grid(False)
    fig.colorbar(image, label=OBJECTIVE_LABEL)


def _levels(values: Sequence[Any]) -> list[str]:
    """Distinct values as texts: numbers in their order, others as they come."""
    distinct = list(dict.fromkeys(values if all(map(is_number, values)) else map(str, values)))
    return [str(value) for value in (sorted(distinct) if not isinstance(distinct[0], str) else distinct)]


def draw_panels(groups: Sequence[Group], path: Path, style: str | None) -> bool:
    """The classic three panels: MAML, joint training and the random initialisation on one task.

    The only comparison that reads checkpoints: one of each. False where either algorithm is missing.
    """
    runs: dict[Any, Any] = {}
    for group in groups:
        runs.setdefault(group.settings.get("algorithm.preset"), next(iter(group.runs.values()), None))
    if runs.get("maml") is None or runs.get("joint") is None:
        return False
    with figure(path, 1, 3, (10.2, 3.6), style, sharex=True, sharey=True) as (fig, axes):
        for axis, title in zip(axes[0], ("MAML", "joint training", "random initialisation"), strict=True):
            record = runs["joint" if title.startswith("joint") else "maml"]
            folder = RunFolder(record.folder)
            config = load_config(folder.config)
            point = newest_checkpoint(folder, config)
            if point is None:
                return False
            trainer = Trainer(config.problem)
            learner, family = trainer.learner, config.problem.family
            vector = trainer.init(config.seed).vector if title.startswith("random") else point.state.vector
            draw_task(axis, config, learner, plotted_tasks(config, learner, 1), 0, vector, record.lr)
            axis.set(title=f"{title}\nrate {record.lr:g}", xlabel=family.input_axis.label)
            axes[0, 0].set_ylabel(family.output_axis.label)
        fig.suptitle(f"The same task, fine-tuned on the same {config.objective_shots} points")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return True
