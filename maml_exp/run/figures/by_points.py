"""The error against the number of support points: a run beside its random initialisation and the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.baselines import BASELINES
from maml_exp.core.losses import Loss
from maml_exp.data.texts import for_figure
from maml_exp.run.figures.drawing import (
    BLUE,
    GREY,
    Margins,
    colour,
    figure,
    legend_below,
    legend_height,
    marker,
    set_error_limits,
)

WIDTH = 6.0  # inches


def draw_by_points(config: Config, loss: Loss, evaluation: dict[str, Any], path: Path) -> Path:
    """Mean errors with their 95% intervals at the objective's step, for every number of points that was evaluated.

    Args:
        config: of the run.
        loss: what its errors are.
        evaluation: what summary.json holds under that name.
        path: of the figure.
    """
    shots, step = sorted(evaluation["shots"], key=int), config.objective_steps
    x, measure = np.array([int(k) for k in shots]), loss.measure
    lines = [("random initialisation", GREY, "o", [_of_network(evaluation, k, "random", step) for k in shots])]
    own = [_of_network(evaluation, k, "trained", step) for k in shots]
    lines.append((f"this run ({method_label(config.algorithm)})", BLUE, "o", own))
    for number, name in enumerate(evaluation["baselines"].get(shots[0], {}), start=1):
        found = [_pair(evaluation["baselines"].get(k, {}).get(name, {})) for k in shots]
        lines.append((baseline_label(name), colour(number), marker(number), found))
    below = 0.5 + legend_height([label for label, *_ in lines], WIDTH)
    margins = Margins(bottom=below, top=0.4)
    with figure(path, 1, 1, (WIDTH, 3.2 + below), margins=margins, own_folder=True) as (fig, axes):
        axis = axes[0, 0]
        beside = 0.012 * np.ptp(x) * (np.arange(len(lines)) - (len(lines) - 1) / 2)  # intervals do not hide each other
        for shift, (label, shade, shape, found) in zip(beside, lines, strict=True):
            means, ci95 = np.array(found).T
            style = {"color": shade, "marker": shape, "ms": 4, "lw": 1.4, "elinewidth": 0.8, "capsize": 2}
            axis.errorbar(x + shift, measure.of(means), abs(measure.slope) * ci95, label=label, **style)
        set_error_limits(axis, measure, [np.array(found)[:, 0] for *_, found in lines])
        points = "support points" + " a class" * measure.rises
        axis.set(xlabel=points, ylabel=f"{measure.label}{f' of {for_figure(loss.unit, 24)}' if loss.unit else ''}")
        axis.set_xticks(x)
        adapted = "adapting at once" if config.adapts_at_once else f"{step} gradient step{'s' * (step != 1)}"
        axis.set_title(f"{evaluation['tasks']} held-out tasks, {adapted}: means with 95% CI", fontsize=9)
        legend_below(fig, *axis.get_legend_handles_labels())
    return path


def baseline_label(name: str) -> str:
    """How a baseline is called, or its name where it is not here."""
    try:
        return BASELINES.get(name).Baseline.label
    except ValueError:
        return name


def _of_network(evaluation: dict[str, Any], shots: str, which: str, step: int) -> tuple[float, float]:
    results = evaluation["shots"][shots][which]
    return _pair({name: results[name][step] for name in ("mean", "ci95")})


def _pair(found: dict[str, Any]) -> tuple[float, float]:
    """A mean and the half width of its interval."""
    return _number(found.get("mean")), _number(found.get("ci95"))


def _number(value: Any) -> float:
    """A number of summary.json, NaN where it is not finite or missing."""
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else float("nan")
