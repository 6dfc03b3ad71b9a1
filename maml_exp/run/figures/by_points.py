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
from maml_exp.run.figures.drawing import BLUE, GREY, Margins, colour, figure, legend_below, marker, set_error_limits


def draw_by_points(config: Config, loss: Loss, evaluation: dict[str, Any], path: Path) -> Path:
    """Mean errors at the objective's step for every number of points that was evaluated.

    Args:
        config: of the run.
        loss: what its errors are.
        evaluation: what summary.json holds under that name.
        path: of the figure.
    """
    shots, step = sorted(evaluation["shots"], key=int), config.objective_steps
    x = np.array([int(k) for k in shots])
    with figure(path, 1, 1, (6.0, 4.4), margins=Margins(bottom=1.25, top=0.35), own_folder=True) as (fig, axes):
        axis = axes[0, 0]
        lines = [
            ("random initialisation", GREY, "o", [_mean(evaluation, k, "random", step) for k in shots]),
            (
                f"this run ({method_label(config.algorithm)})",
                BLUE,
                "o",
                [_mean(evaluation, k, "trained", step) for k in shots],
            ),
        ]
        for number, name in enumerate(evaluation["baselines"].get(shots[0], {}), start=1):
            means = [_number(evaluation["baselines"].get(k, {}).get(name, {}).get("mean")) for k in shots]
            lines.append((label_of(name), colour(number), marker(number), means))
        measure = loss.measure
        for label, shade, shape, means in lines:
            axis.plot(x, measure.of(np.array(means)), color=shade, marker=shape, ms=4, lw=1.4, label=label)
        set_error_limits(axis, measure, [means for *_, means in lines])
        points = "support points" + " a class" * measure.rises
        axis.set(xlabel=points, ylabel=f"{measure.label}{f' of {for_figure(loss.unit, 24)}' if loss.unit else ''}")
        axis.set_xticks(x)
        legend_below(fig, *axis.get_legend_handles_labels())
    return path


def label_of(name: str) -> str:
    """How a baseline is called, or its name where it is not here."""
    try:
        return BASELINES.get(name).Baseline.label
    except ValueError:
        return name


def _mean(evaluation: dict[str, Any], shots: str, which: str, step: int) -> float:
    return _number(evaluation["shots"][shots][which]["mean"][step])


def _number(value: Any) -> float:
    """A number of summary.json, NaN where it is not finite or missing."""
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else float("nan")
