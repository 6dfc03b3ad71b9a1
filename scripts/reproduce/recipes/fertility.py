"""A real problem: births a woman in countries that were not trained on, from 2 or 5 survey years."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.saved import load_config
from maml_exp.config.usual import options
from maml_exp.core.baselines import BASELINES
from maml_exp.core.baselines.base import Points
from maml_exp.core.training import make_learner
from maml_exp.run.figures.drawing import BLACK, BLUE, GREEN, ORANGE, RED, figure, legend_below
from maml_exp.store.choosing import judged_checkpoint
from maml_exp.store.records import RunRecord
from maml_exp.store.run_folder import RunFolder
from recipes.report import write
from recipes.runs import Overrides, ensure, task_errors

Array = np.ndarray
SPLITS, SEEDS, SHOTS = 3, 3, (2, 5)
RATES = "evaluation.lr=[0.05,0.1,0.2]"
METHODS: dict[str, Overrides] = {
    "MAML, tanh": (RATES,),
    "MAML, relu": ("model.activation=relu", RATES),
    "learned rates (lslr)": ("algorithm=lslr", "evaluation.objective_steps=5"),
    "ANIL": ("algorithm=anil", RATES),
    "joint, fine-tuned": ("algorithm=joint", "evaluation.lr=[0.005,0.01,0.02,0.05]"),
}
if "ridge" in options("algorithm"):
    METHODS["ridge head"] = ("algorithm=ridge", "evaluation.steps=null", "evaluation.objective_steps=null")
AGAINST = "best_linear"
COUNTRIES = 4  # in the figure


def fertility(out: Path, jobs: int) -> None:
    """Methods and baselines on three splits of the countries, three seeds each."""
    wanted = {
        (name, shots, split, seed): _overrides(METHODS[name], shots, split, seed)
        for name in METHODS
        for shots in SHOTS
        for split in range(SPLITS)
        for seed in range(SEEDS)
    }
    records = ensure(list(wanted.values()), jobs)
    runs = {key: records[overrides] for key, overrides in wanted.items()}
    rmse = {(name, k): _by_country(runs, name, k) for name in METHODS for k in SHOTS}
    labels = {name: BASELINES.get(name).Baseline.label for name in _baselines(runs)}
    rmse |= {(label, k): _of_baseline(runs, name, k) for name, label in labels.items() for k in SHOTS}
    less = labels[AGAINST]
    table = [["method", *(cell for k in SHOTS for cell in (f"RMSE, K = {k}", "every split", f"less {less}"))]]
    for name in [*METHODS, *labels.values()]:
        cells = [cell for k in SHOTS for cell in _cells(rmse[name, k], rmse[less, k])]
        table.append([name, *cells])
    _draw(runs, out / "fertility.png")
    notes = [
        "births a woman: the mean over held-out countries of each one's root mean squared error, 45 years each, which "
        f"no row of the K to adapt on is among; {SPLITS} splits of the 202 countries, {SEEDS} seeds each (their mean)",
        f"less {less}: paired by country, mean ± 1.96 standard errors over the countries of all splits",
        "gradient methods: after 10 steps (learned rates: the 5 trained); their rate and the best checkpoint are "
        "chosen on validation countries",
    ]
    write(out, "fertility", "Births a woman in unseen countries, from K survey years", table, notes)


def _overrides(method: Overrides, shots: int, split: int, seed: int) -> Overrides:
    chosen = (f"task.shots={shots}", f"task.split_seed={split}", f"seed={seed}", "evaluation.plots=false")
    return ("+experiment=fertility", *method, *chosen)


def _by_country(runs: dict[Any, RunRecord], name: str, shots: int) -> Array:
    """RMSE (splits, countries) at the step that each is judged at, the mean over seeds."""
    step = runs[name, shots, 0, 0].objective_step
    return np.array(
        [
            np.mean(
                [np.sqrt(task_errors(runs[name, shots, split, seed], shots)[:, step]) for seed in range(SEEDS)], axis=0
            )
            for split in range(SPLITS)
        ]
    )


def _baselines(runs: dict[Any, RunRecord]) -> list[str]:
    return list(next(iter(runs.values())).baselines[SHOTS[0]])


def _of_baseline(runs: dict[Any, RunRecord], name: str, shots: int) -> Array:
    first = next(iter(METHODS))
    return np.array([np.sqrt(task_errors(runs[first, shots, split, 0], shots, name)) for split in range(SPLITS)])


def _cells(rmse: Array, other: Array) -> list[str]:
    """The mean, that of every split, and the paired difference."""
    difference = (rmse - other).ravel()
    reach = 1.96 * difference.std(ddof=1) / np.sqrt(difference.size)
    splits = ", ".join(f"{value:.2f}" for value in rmse.mean(axis=1))
    paired = f"{difference.mean():+.3f} ± {reach:.3f}" if difference.any() else "-"
    return [f"{rmse.mean():.3f}", splits, paired]


def _draw(runs: dict[Any, RunRecord], path: Path) -> None:
    """Four countries from two and from five years: MAML beside two baselines."""
    with figure(path, len(SHOTS), COUNTRIES, (11, 5.6), sharex=True, sharey="col") as (fig, axes):
        for row, shots in zip(axes, SHOTS, strict=True):
            _draw_row(row, runs["MAML, tanh", shots, 0, 0], shots)
            row[0].set_ylabel(f"K = {shots}\nbirths a woman")
        for axis in axes[-1]:
            axis.set_xlabel("year")
        fig.suptitle("Countries that were not trained on")
        legend_below(fig, *axes[0, 0].get_legend_handles_labels())


def _draw_row(row: Any, run: RunRecord, shots: int) -> None:
    folder = RunFolder(run.folder)
    config = load_config(folder.config)
    point = judged_checkpoint(folder, config)
    assert point is not None  # it is finished
    learner = make_learner(config.problem)
    family = learner.problem.family
    tasks = family.held_out("test", config.evaluation.seed, COUNTRIES, max(SHOTS), config.evaluation.grid)
    training = [Points(x, y) for x, y in family.training_tasks()]
    x_support, y_support = tasks.x_support[:, :shots], tasks.y_support[:, :shots]
    *_, made = learner.adapt(point.state.vector, x_support, y_support, tasks.x_query, config.evaluation.steps, run.lr)
    lines = [("MAML, tanh", BLUE, made)]
    for name, colour in (("best_linear", ORANGE), ("gaussian_process", GREEN)):
        baseline = BASELINES.get(name).Baseline(training)
        baseline.prepare(shots)
        predicted = [baseline.predict(*one) for one in zip(x_support, y_support, tasks.x_query, strict=True)]
        lines.append((baseline.label, colour, np.array(predicted)))
    for place, axis in enumerate(row):
        years = family.to_own_inputs(tasks.x_query[place])[:, 0]
        axis.plot(
            years, family.to_own_outputs(tasks.y_query[place])[:, 0], color=BLACK, lw=1, label="what was measured"
        )
        for label, colour, predictions in lines:
            axis.plot(years, family.to_own_outputs(predictions[place])[:, 0], color=colour, lw=1.4, label=label)
        known = family.to_own_inputs(x_support[place])[:, 0], family.to_own_outputs(y_support[place])[:, 0]
        axis.plot(*known, "o", color=RED, ms=4, zorder=3, label="survey years")
        axis.set_title(tasks.names[place], fontsize=9)
