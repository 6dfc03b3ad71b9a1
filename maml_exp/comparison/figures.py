"""Figures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.comparison.groups import Group, measure_of, swept_settings
from maml_exp.core.checks import is_number
from maml_exp.core.statistics import Estimate
from maml_exp.data.texts import for_figure
from maml_exp.run.figures.drawing import (
    BLUE,
    GREY,
    colour,
    draw_band,
    figure,
    legend_below,
    legend_height,
    mark_beyond,
    marker,
    set_error_limits,
)
from maml_exp.run.figures.of_run import BEYOND, DIVERGING
from maml_exp.store.records import learning_curve
from maml_exp.store.run_folder import RunFolder

Array = np.ndarray
MOST_LINES = 16  # groups in a figure; more cannot be told apart
MOST_SEEDS = 20  # for which each has a line of its own


def drawn(groups: Sequence[Group]) -> list[Group]:
    """The groups that have finished runs, as many as can be told apart."""
    return [group for group in groups if group.runs][:MOST_LINES]


def _say_how_many(fig: Any, groups: Sequence[Group], *more: str) -> None:
    """A title where the figure does not show all there is."""
    left_out = len([group for group in groups if group.runs]) - len(drawn(groups))
    words = [f"the first {MOST_LINES} groups; {left_out} more are in the tables"] if left_out else []
    if words or more:
        fig.suptitle("\n".join([*words, *more]), fontsize=9)


def draw_adaptation(groups: Sequence[Group], shots: dict[int, int], path: Path, style: str | None) -> None:
    """Error against gradient steps, a panel for every number of shots, a line with its band for every group."""
    shown = drawn(groups)
    width = 3.2 * len(shots) + 0.6
    height = 3.4 + legend_height([*(for_figure(group.label) for group in shown), "random initialisation"], width)
    with figure(path, 1, len(shots), (width, height), style, sharey=True) as (fig, axes):
        measure = measure_of(shown)
        limits = set_error_limits(axes[0, 0], measure, _representative(shown, shots), baseline(shown))
        beyond = False
        for axis, k in zip(axes[0], shots, strict=True):
            for number, group in enumerate(shown):
                steps = range(group.last_step(k) + 1)
                values = [measure.shown(group.estimate(k, step)) for step in steps]
                beyond |= _line(axis, steps, values, number, for_figure(group.label), limits)
                _mark_trained(axis, group, k, number, limits)
            steps = range(shown[0].last_step(k) + 1)
            random = np.mean([run.results[k]["random"][: len(steps)] for run in shown[0].runs.values()], axis=0)
            axis.plot(steps, measure.of(random), color=GREY, ls=":", label="random initialisation")
            axis.set(title=f"K = {k} support points{' a class' * measure.rises}", xlabel="gradient steps")
            axis.locator_params(axis="x", nbins=6, integer=True)
        axes[0, 0].set_ylabel(f"{measure.label}\n(mean over seeds, 95% band; ring: its own step)")
        diverging = any(results["diverged"].any() for group in shown for results in _results(group, shots))
        _say_how_many(fig, groups, *([f"{BEYOND}{DIVERGING if diverging else ''}"] if beyond else []))
        legend_below(fig, *axes[0, 0].get_legend_handles_labels())


def _representative(groups: Sequence[Group], shots: dict[int, int]) -> list[Any]:
    """What the view must hold: medians, and the means of groups of which no task diverged."""
    found: list[Any] = []
    for results in [results for group in groups for results in _results(group, shots)]:
        found += [results["median"], results["random_median"], results["mean"][results["diverged"] == 0]]
    return found


def _results(group: Group, shots: dict[int, int]) -> list[dict[str, Array]]:
    """Of every run and number of shots."""
    return [run.results[k] for run in group.runs.values() for k in shots]


def baseline(groups: Sequence[Group]) -> float:
    """The error of what has learned nothing: the random initialisations' median before the first step."""
    runs = [run for group in groups for run in group.runs.values()]
    medians = [results["random_median"][0] for run in runs for results in run.results.values()]
    return float(np.max(medians))


def _line(axis: Any, x: Any, values: Sequence[Estimate], number: int, label: str, limits: tuple[float, float]) -> bool:
    """A line through estimates, with a band where there are several seeds; whether it leaves the view."""
    mean, ci = (np.array([getattr(value, name) for value in values], dtype=float) for name in ("mean", "ci95"))
    shade = colour(number)
    inside = np.where(np.isfinite(mean), mean, np.nan)
    axis.plot(x, inside, color=shade, marker=marker(number), ms=4, label=label)
    with np.errstate(invalid="ignore"):  # infinite means have no band
        draw_band(axis, x, mean - ci, mean + ci, limits, shade)
    return mark_beyond(axis, x, mean, limits, shade)


def _mark_trained(axis: Any, group: Group, k: int, number: int, limits: tuple[float, float]) -> None:
    """A ring around the step that a group was trained for, or judged at."""
    step = group.objective_step
    mean = group.measure.of(group.estimate(k, step).mean)
    if limits[0] <= mean <= limits[1]:
        axis.plot([step], [mean], "o", ms=10, mfc="none", mec=colour(number), mew=1.2)


def draw_learning(groups: Sequence[Group], shots: int, path: Path, style: str | None) -> bool:
    """Held-out error against iterations: a thin line for every seed, a thick one for their median.

    False where no run made small evaluations. A training loss has no place here: joint training's is another quantity.
    """
    shown = drawn(groups)
    curves = [_curves(group, shots) for group in shown]
    every = [errors for of_group in curves for _, errors in of_group if len(errors)]
    if not every:
        return False
    width = 6.4
    size = width, 3.6 + legend_height([for_figure(group.label) for group in shown], width)
    with figure(path, 1, 1, size, style) as (fig, axes):
        axis = axes[0, 0]
        measure, ends = measure_of(shown), [errors[[0, -1]] for errors in every]
        limits = set_error_limits(axis, measure, [*map(np.median, every), *ends], baseline(shown))
        beyond = False
        for number, (group, of_group) in enumerate(zip(shown, curves, strict=True)):
            beyond |= _draw_curves(axis, group, [curve for curve in of_group if len(curve[0])], number, limits)
        axis.set(
            xlabel="iteration", ylabel=f"{measure.label} while training, K = {shots},\nafter each group's own steps"
        )
        axis.set_xlim(0, None)
        _say_how_many(fig, groups, *([BEYOND] if beyond else []))
        legend_below(fig, *axis.get_legend_handles_labels())
    return True


def _curves(group: Group, shots: int) -> list[tuple[Array, Array]]:
    return [learning_curve(RunFolder(run.folder), shots, group.objective_step) for run in group.runs.values()]


def _draw_curves(
    axis: Any, group: Group, curves: Sequence[tuple[Array, Array]], number: int, limits: tuple[float, float]
) -> bool:
    shade, beyond = colour(number), False
    for steps, errors in curves if 1 < len(curves) <= MOST_SEEDS else []:
        axis.plot(steps, group.measure.of(errors), color=shade, lw=0.6, alpha=0.4)
    same = [errors for steps, errors in curves if np.array_equal(steps, curves[0][0])]
    if same:
        middle = group.measure.of(np.median(same, axis=0))
        axis.plot(curves[0][0], middle, color=shade, lw=1.8, marker=marker(number), ms=4, label=for_figure(group.label))
        beyond = mark_beyond(axis, curves[0][0], middle, limits, shade)
    return beyond


def draw_sweep(groups: Sequence[Group], keys: Sequence[str], path: Path, style: str | None) -> bool:
    """The objective against one swept setting (line) or two (heatmap); False where there are none or more."""
    finished = [group for group in groups if group.runs]
    swept = swept_settings(finished, keys)
    if len(swept) not in (1, 2) or len(finished) < 2:
        return False
    with figure(path, 1, 1, (5.6, 4.2), style) as (fig, axes):
        (_draw_line if len(swept) == 1 else _draw_heatmap)(fig, axes[0, 0], finished, swept)
    return True


OBJECTIVE_LABEL = "{} after adaptation\n(the runs' objective)"


def _draw_line(fig: Any, axis: Any, groups: Sequence[Group], swept: dict[str, list[Any]]) -> None:
    (key, values) = next(iter(swept.items()))
    numeric = all(map(is_number, values))
    order = sorted(range(len(groups)), key=(lambda i: values[i]) if numeric else (lambda i: i))
    x = np.array([values[i] for i in order], dtype=float) if numeric else np.arange(len(order), dtype=float)
    measure = measure_of(groups)
    results = [groups[i].objective() for i in order]
    mean, ci = (np.array([getattr(e, name) for e in results], dtype=float) for name in ("mean", "ci95"))
    step = groups[0].objective_step
    shots = next(iter(next(iter(groups[0].runs.values())).results))
    usual = [run.results[k]["random_median"][step:] for run in groups[0].runs.values() for k in [shots]]
    is_calm = mean <= 10 * np.min(mean[np.isfinite(mean)], initial=np.inf)
    calm, margin = mean[is_calm], np.nan_to_num(ci[is_calm], nan=0.0)
    ends = [np.maximum(calm - margin, calm / 4), calm + margin]  # an interval may reach zero, which has no logarithm
    limits = set_error_limits(axis, measure, [calm, *ends, *usual])
    mean, ci = measure.of(mean), abs(measure.slope) * ci
    axis.plot(x, np.where(np.isfinite(mean), mean, np.nan), color=BLUE, marker="o", ls="-" if numeric else "")
    known = np.isfinite(mean) & np.isfinite(ci)
    low = np.clip(mean[known] - ci[known], *limits)
    high = np.clip(mean[known] + ci[known], *limits)
    axis.vlines(x[known], low, high, color=BLUE, lw=1.2)
    beyond = mark_beyond(axis, x, mean, limits, BLUE)
    if numeric and x.min() > 0 and x.max() >= 10 * x.min():
        axis.set_xscale("log")
    axis.set_xticks(x, [for_figure(str(values[i]).replace(" ", ""), 30) for i in order], minor=False)
    axis.xaxis.minorticks_off()
    if max(len(str(value)) for value in values) * len(values) > 60:
        axis.tick_params(axis="x", labelrotation=30)
    axis.set(xlabel=for_figure(key), ylabel=f"{OBJECTIVE_LABEL.format(measure.label)}, 95% CI over seeds")
    if beyond:
        fig.suptitle(BEYOND, fontsize=9)


def _draw_heatmap(fig: Any, axis: Any, groups: Sequence[Group], swept: dict[str, list[Any]]) -> None:
    (down, row_values), (across, column_values) = swept.items()
    rows, columns = _levels(row_values), _levels(column_values)
    grid = np.full((len(rows), len(columns)), np.nan)
    for group, row, column in zip(groups, row_values, column_values, strict=True):
        place = rows.index(str(row)), columns.index(str(column))
        grid[place] = group.measure.of(group.objective().mean)
    finite, measure = np.where(np.isfinite(grid), grid, np.nan), measure_of(groups)
    cmap, norm = ("viridis", "linear") if measure.rises else ("viridis_r", "log")
    image = axis.imshow(finite, cmap=cmap, norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        text = f"{value:.3g}" if np.isfinite(value) else "no result" if np.isnan(value) else "not finite"
        # an array of one colour where all values are equal
        red, green, blue, _ = np.ravel(image.cmap(image.norm(value))) if np.isfinite(value) else (1, 1, 1, 1)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axis.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    axis.set_xticks(range(len(columns)), [for_figure(level, 30) for level in columns])
    axis.set_yticks(range(len(rows)), [for_figure(level, 30) for level in rows])
    axis.set(xlabel=for_figure(across), ylabel=for_figure(down))
    axis.grid(False)
    fig.colorbar(image, label=OBJECTIVE_LABEL.format(measure.label))


def _levels(values: Sequence[Any]) -> list[str]:
    """Distinct values as texts: numbers in their order, others as they come."""
    distinct = list(dict.fromkeys(values if all(map(is_number, values)) else map(str, values)))
    return [str(value) for value in (sorted(distinct) if not isinstance(distinct[0], str) else distinct)]
