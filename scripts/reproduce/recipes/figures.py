"""Figures of docs/results.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_exp.comparison.groups import Estimate, estimate
from maml_exp.core.inner.whole import CURVATURE
from maml_exp.run.figures.drawing import BLUE, COLOURS, GREY, MARKERS, ORANGE, figure
from maml_exp.store.metrics_file import extra_tag, read_rows
from maml_exp.store.records import RunRecord
from maml_exp.store.run_folder import RunFolder
from recipes.report import Errors

CURVATURE_TAGS = tuple(map(extra_tag, CURVATURE))
__all__ = ["CURVATURE_TAGS", "CurvaturePoint", "adaptation", "curvature", "depth", "late_mean"]


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


class MethodPoint(NamedTuple):
    """A method with some number of inner steps."""

    method: str
    steps: int
    milliseconds: float  # an iteration
    median: float  # error at K = 10


def methods(points: Sequence[MethodPoint], path: Path, title: str) -> None:
    """What a method reaches against what an iteration of it costs, a panel for each number of inner steps."""
    titles = {1: "1 inner step, or as the method has it", 5: "5 inner steps"}
    with figure(path, 1, len(titles), (10.4, 4.8), sharey=True) as (fig, (axes,)):
        for axis, (steps, name) in zip(axes, titles.items(), strict=True):
            here = sorted((point for point in points if point.steps == steps), key=lambda point: point.median)
            for point, height in zip(here, np.linspace(0.02, 0.98, len(here)), strict=True):
                where, label = (point.milliseconds, point.median), (1.03, height)
                axis.plot(*where, color=BLUE, marker="o", ls="")
                line = {"arrowstyle": "-", "color": GREY, "lw": 0.5}
                place = {"textcoords": "axes fraction", "va": "center", "fontsize": 7}
                axis.annotate(point.method, where, label, arrowprops=line, **place)
            axis.set(xscale="log", yscale="log", xlabel="milliseconds an iteration, one core", title=name)
            axis.margins(x=0.1)
            ticks = [0.2, 0.3, 0.4, 0.6] if steps == 1 else [0.5, 1, 2]
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
        axes[0].set_ylabel("mean squared error, K = 10\n(median task; mean over seeds)")
        fig.suptitle(f"{title}, behind as many steps as in training", fontsize=9)


def rates(curves: dict[str, list[list[float]]], at: Sequence[float], path: Path) -> None:
    """Error against the rate that is fixed or that learning starts from, a point a seed."""
    with figure(path, 1, 1, (6.4, 4.6)) as (fig, ((axis,),)):
        for number, (kind, by_rate) in enumerate(curves.items()):
            colour, marker = COLOURS[number], MARKERS[number]
            middle = [float(np.median(seeds)) for seeds in by_rate]
            axis.plot(at, middle, color=colour, marker=marker, label=f"{kind} (median seed)")
            for rate, seeds in zip(at, by_rate, strict=True):
                axis.plot([rate] * len(seeds), seeds, color=colour, marker=".", ls="", ms=4)
        axis.set(xscale="log", yscale="log", xlabel="inner.lr")
        axis.set_xticks(at, [f"{rate:g}" for rate in at])
        axis.minorticks_off()
        axis.set_ylabel("mean squared error, K = 10, one step\n(mean over tasks)")
        fig.legend(loc="outside lower center", ncols=3)


X_DATA = ("data", "axes fraction")  # a place at some x, at some height of the panel


class CurvaturePoint(NamedTuple):
    """MAML and FOMAML with one inner rate and number of inner steps."""

    rate: str
    steps: int
    share: Estimate  # of curvature in MAML's meta-gradient
    maml: list[float]  # median errors, by seed; NaN where training diverged
    fomaml: list[float]

    @property
    def log_ratio(self) -> Estimate:
        """Logarithm of FOMAML's error over MAML's, over the seeds with which both trained."""
        logs = np.log(self.fomaml) - np.log(self.maml)
        return estimate(logs[np.isfinite(logs)])


def curvature(points: Sequence[CurvaturePoint], path: Path) -> None:
    """What dropping the second order costs, against how much of the meta-gradient it is."""
    rates, steps = (list(dict.fromkeys(getattr(point, name) for point in points)) for name in ("rate", "steps"))
    with figure(path, 1, 2, (9.4, 4.6), sharex=True) as (fig, ((errors, ratios),)):
        for point in points:
            look = {"color": COLOURS[rates.index(point.rate)], "marker": MARKERS[steps.index(point.steps)]}
            _errors(errors, point, look)
            _ratio(ratios, point, look)
        for rate in rates:
            errors.plot([], [], color=COLOURS[rates.index(rate)], label=f"inner rate {rate}")
        for s in steps:
            label = f"{s} inner step{'s' * (s > 1)}"
            errors.plot([], [], color=GREY, ls="", marker=MARKERS[steps.index(s)], label=label)
        errors.plot([], [], color=GREY, ls="", marker="o", label="filled: MAML")
        errors.plot([], [], color=GREY, ls="", marker="o", mfc="none", label="hollow: FOMAML")
        ratios.axhline(1, color=GREY, lw=0.8, ls=":")
        errors.set(
            yscale="log", ylabel="mean squared error, K = 10\n(median task; mean over seeds)", title="final error"
        )
        ratios.set(yscale="log", ylabel="FOMAML's error / MAML's\n(geometric mean over seeds, 95% CI)", title="ratio")
        for axis in (errors, ratios):
            axis.set_xlabel("share of curvature in MAML's meta-gradient")
        fig.legend(loc="outside lower center", ncols=5)


def _errors(axis: Any, point: CurvaturePoint, look: dict[str, Any]) -> None:
    """MAML's error filled, FOMAML's hollow, joined by a line."""
    maml, fomaml = (float(np.nanmean(e)) if np.isfinite(e).any() else np.nan for e in (point.maml, point.fomaml))
    axis.plot([point.share.mean] * 2, [maml, fomaml], color=look["color"], lw=0.8)
    axis.plot(point.share.mean, maml, ls="", **look)
    axis.plot(point.share.mean, fomaml, ls="", mfc="none", **look)


def _ratio(axis: Any, point: CurvaturePoint, look: dict[str, Any]) -> None:
    """The factor with its interval; what stands on fewer seeds, since others diverged, is written beside it."""
    log, seeds = point.log_ratio, len(point.maml)
    if log.n:
        mean, reach = np.exp(log.mean), np.exp(log.ci95) if log.n == seeds else 1.0
        axis.errorbar(point.share.mean, mean, yerr=[[mean - mean / reach], [mean * reach - mean]], capsize=2, **look)
    if log.n < seeds:
        text = (
            f"{seeds - log.n} of {seeds} pairs\ndiverged"
            if log.n
            else f"all pairs diverged\n(rate {point.rate}, {point.steps} steps)"
        )
        place, where = ((point.share.mean, np.exp(log.mean)), "data") if log.n else ((point.share.mean, 0.9), X_DATA)
        style = {"fontsize": 7, "color": look["color"], "ha": "right"}
        axis.annotate(text, place, (-6, -5), xycoords=where, textcoords="offset points", **style)
