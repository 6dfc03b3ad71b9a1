"""Figures of docs/results.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maml_exp.experiment.collect import RunRecord
from maml_exp.experiment.folder import RunFolder
from maml_exp.experiment.grouping import Estimate, estimate
from maml_exp.experiment.metrics import CURVATURE_TAGS, read_rows
from maml_exp.experiment.plots import BLUE, COLOURS, GREY, MARKERS, ORANGE, figure
from recipes.report import Errors

__all__ = ["CURVATURE_TAGS", "adaptation", "curvature", "depth", "late_mean"]


def adaptation(curves: dict[tuple[str, int], Errors], path: Path, title: str) -> None:
    """A panel for every number of shots: mean with its 95% band; the median where tasks diverge."""
    methods, shots = (list(dict.fromkeys(key[i] for key in curves)) for i in (0, 1))
    with figure(path, 1, len(shots), (3.4 * len(shots) + 0.6, 4.4), sharey=True) as (fig, axes):
        for axis, k in zip(axes[0], shots, strict=True):
            for number, method in enumerate(methods):
                random = method.startswith("random")
                style = (GREY, None) if random else (COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
                _curve(axis, curves[method, k], method, *style)
            axis.set(title=f"K = {k} support points", xlabel="gradient steps", yscale="log", ylim=(0.001, 20))
        axes[0, 0].set_ylabel("mean squared error")
        fig.suptitle(f"{title}\nmean over seeds with 95% band, as far as no task diverges; dashed: the median task")
        entries = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
        for axis in axes[0]:
            entries |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3)


def _curve(axis, errors: Errors, label: str, colour: str, marker: str | None) -> None:
    """The mean up to the step at which a task diverges, and dashed the median where the mean is not the whole story."""
    steps = np.arange(len(errors.mean))
    mean, ci = (np.array([getattr(e, name) for e in errors.mean]) for name in ("mean", "ci95"))
    whole = errors.diverged == 0
    last = len(steps) if whole.all() else int(np.argmin(whole))
    shown, half = mean[:last], ci[:last]
    axis.plot(steps[:last], shown, color=colour, marker=marker, ms=4, label=label)
    axis.fill_between(steps[:last], np.maximum(shown - half, shown / 10), shown + half, color=colour, alpha=0.2, lw=0)
    if last < len(steps) or (mean > 3 * errors.median).any():
        axis.plot(steps, errors.median, color=colour, ls="--", lw=1, label=f"{label}, median")


def depth(curves: dict[tuple[str, int], Errors], depths: Sequence[int], path: Path) -> None:
    """Error against depth after one and ten steps, MAML and joint training."""
    with figure(path, 1, 2, (8.4, 3.8), sharey=True) as (fig, axes):
        for axis, step in zip(axes[0], (1, 10), strict=True):
            for name, colour, marker in (("MAML", BLUE, "o"), ("joint", ORANGE, "s")):
                errors = [curves[name, layers] for layers in depths]
                median, ci = [e.median[step] for e in errors], [e.median_ci95[step] for e in errors]
                axis.errorbar(depths, median, yerr=ci, color=colour, marker=marker, capsize=3, label=name)
            axis.set(title=f"after {step} gradient step{'s' * (step > 1)}", xlabel="hidden layers", yscale="log")
            axis.set_xticks(depths)
        axes[0, 0].set_ylabel("mean squared error, K = 10\n(median task; mean over seeds, 95% CI)")
        fig.suptitle("Depth at about 1750 parameters")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def late_mean(runs: Sequence[RunRecord], tag: str) -> Estimate:
    """The mean of a logged scalar over the second half of training, over seeds."""
    values = []
    for run in runs:
        rows = [row for row in read_rows(RunFolder(run.folder).metrics) if tag in row]
        values.append(float(np.mean([row[tag] for row in rows[len(rows) // 2 :]])))
    return estimate(values)


def curvature(points: Sequence[tuple[str, int, Estimate, Estimate]], path: Path) -> None:
    """What dropping the second order costs, against how much of the meta-gradient it is."""
    with figure(path, 1, 1, (6.6, 4.4)) as (fig, axes):
        axis = axes[0, 0]
        rates, steps = (list(dict.fromkeys(point[i] for point in points)) for i in (0, 1))
        for rate, s, share, ratio in points:
            colour, marker = COLOURS[rates.index(rate)], MARKERS[steps.index(s)]
            axis.errorbar(
                share.mean, ratio.mean, yerr=np.nan_to_num(ratio.ci95), color=colour, marker=marker, capsize=2
            )
        for rate in rates:
            axis.plot([], [], color=COLOURS[rates.index(rate)], label=f"inner rate {rate}")
        for s in steps:
            label = f"{s} inner step{'s' * (s > 1)}"
            axis.plot([], [], color=GREY, ls="", marker=MARKERS[steps.index(s)], label=label)
        axis.axhline(1, color=GREY, lw=0.8, ls=":")
        axis.set(xlabel="share of curvature in MAML's meta-gradient", ylabel="FOMAML's median error / MAML's")
        fig.legend(loc="outside lower center", ncols=4)
