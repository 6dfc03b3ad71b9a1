"""Figures of docs/results.md about learners that do not descend, learned optimizers and evolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.run.figures.drawing import colour, figure, marker

Array = np.ndarray
X_DATA = ("data", "axes fraction")  # a place at some x, at some height of the panel
MOST_SHOWN = 100  # of errors over that of predicting the mean: beyond, they are equally useless
MEDIAN_TASK = "mean squared error\n(median task; median seed)"


def by_points(curves: Mapping[str, list[list[float]]], shots: Sequence[int], path: Path, styles: str = "-") -> None:
    """Error against the number of support points: a line through the median seed, a band of all seeds.

    Of several line styles, a blank between, as many curves as there are share a colour.
    """
    looks = styles.split()
    with figure(path, 1, 1, (7.2, 5.2)) as (fig, ((axis,),)):
        for number, (name, by_shots) in enumerate(curves.items()):
            which, style = divmod(number, len(looks))
            _line(axis, np.array(shots, float), np.array(by_shots).T, name, which, looks[style])
        axis.set(xscale="log", yscale="log", xlabel="support points K", ylabel=MEDIAN_TASK)
        axis.set_xticks(shots, [str(k) for k in shots])
        axis.minorticks_off()
        if min(shots) < 2:
            axis.axvline(2, color="black", lw=0.8, ls=":")
            axis.annotate(
                "from here on the Bayes error is 0", (2.05, 0.02), xycoords=("data", "axes fraction"), fontsize=7
            )
        fig.legend(loc="outside lower center", ncols=3, fontsize=8)


def against_time(curves: Mapping[str, tuple[Array, Array]], path: Path, title: str) -> None:
    """Error against seconds of training, one core."""
    with figure(path, 1, 1, (7.2, 5.2)) as (fig, ((axis,),)):
        for number, (name, (seconds, by_seed)) in enumerate(curves.items()):
            _line(axis, seconds, by_seed, name, number)
        axis.set(xscale="log", yscale="log", xlabel="seconds of training, one core", ylabel=MEDIAN_TASK, title=title)
        fig.legend(loc="outside lower center", ncols=3, fontsize=8)


def evolution(curves: Mapping[str, tuple[list[Array], Array]], path: Path) -> None:
    """Error against iterations, adaptations and seconds, a panel each."""
    with figure(path, 1, 3, (12.0, 4.6), sharey=True) as (fig, (axes,)):
        labels = ("iterations", "adaptations", "seconds, one core")
        for panel, (axis, label) in enumerate(zip(axes, labels, strict=True)):
            for number, (name, (scales, by_seed)) in enumerate(curves.items()):
                _line(axis, scales[panel], by_seed, name, number)
            axis.set(xscale="log", yscale="log", xlabel=label)
        axes[0].set_ylabel(f"{MEDIAN_TASK}, K = 10")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)


def _line(axis: Any, x: Array, by_seed: Array, label: str, number: int, style: str = "-") -> None:
    """The median seed, and the band of all seeds; what diverged is left out."""
    shown = np.where(np.isfinite(by_seed), by_seed, np.nan)
    middle = np.median(by_seed, axis=0)
    look = {"color": colour(number), "marker": marker(number), "ls": style}
    axis.plot(x, np.where(np.isfinite(middle), middle, np.nan), label=label, ms=4, lw=1.4, **look)
    if not np.isnan(shown).all(axis=0).any():
        axis.fill_between(x, np.nanmin(shown, axis=0), np.nanmax(shown, axis=0), color=colour(number), alpha=0.15, lw=0)


def beyond(shares: Mapping[str, Sequence[Sequence[float]]], columns: Sequence[str], path: Path) -> None:
    """A panel for every way beyond training: what is left of the error of predicting the mean, a dot a seed."""
    names = list(shares)
    with figure(path, 2, 3, (9.0, 6.4), sharey=True, sharex=True) as (fig, panels):
        for place, (axis, column) in enumerate(zip(np.ravel(panels), columns, strict=True)):
            for row, name in enumerate(names):
                for found in shares[name]:  # NaN: what adapts at once has no further steps
                    is_beyond = found[place] > MOST_SHOWN
                    look = {"marker": ">" if is_beyond else "o", "alpha": 0.6, "color": colour(row)}
                    axis.plot(np.minimum(found[place], MOST_SHOWN), row, ls="", ms=5, clip_on=False, **look)
            axis.axvline(1, color="black", lw=0.8, ls=":")
            axis.set(title=column, xscale="log", xlim=(1e-3, MOST_SHOWN))
        panels[0][0].set_yticks(range(len(names)), names)
        panels[0][0].invert_yaxis()
        label = (
            f"error of the median task over that of predicting its mean; a dot a seed, an arrow: beyond {MOST_SHOWN}"
        )
        fig.supxlabel(label, fontsize=8)


def in_rows(found: Mapping[tuple[str, str], Sequence[float]], path: Path, label: str) -> None:
    """A row for everything named, the second name by colour: a dot for every seed, a bar at the median of all.

    Seeds that diverged in training have infinite errors, and are counted.
    """
    kinds = list(dict.fromkeys(kind for _, kind in found))
    with figure(path, 1, 1, (8.0, 5.6)) as (_, ((axis,),)):
        for row, ((_, kind), by_seed) in enumerate(found.items()):
            look = {"color": colour(kinds.index(kind))}
            finite = [error for error in by_seed if np.isfinite(error)]
            axis.plot(finite, [row] * len(finite), ls="", marker=marker(kinds.index(kind)), ms=6, alpha=0.6, **look)
            if len(finite) == len(by_seed):
                axis.plot(float(np.median(by_seed)), row, ls="", marker="|", ms=18, mew=2, **look)
            else:
                lost = f"{len(by_seed) - len(finite)} of {len(by_seed)} seeds diverged in training"
                axis.annotate(lost, (0.02, row), xycoords=("axes fraction", "data"), fontsize=7, va="center")
        axis.set(xscale="log", xlabel=label)
        axis.set_yticks(range(len(found)), ["\n".join(names) for names in found], fontsize=7)
        axis.invert_yaxis()
