"""Learners that descend beside learners that do not: few points and many, inside and beyond what they trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maml_exp.comparison.groups import estimate
from maml_exp.comparison.tables import show
from maml_exp.core.evaluation import adaptation_errors
from maml_exp.core.tasks import families
from maml_exp.run.trained import Run
from maml_exp.store.records import RunRecord
from recipes import learner_figures
from recipes.grid import SEEDS, Grid
from recipes.methods import difference, errors_at, result, while_training
from recipes.report import write
from recipes.runs import Overrides
from recipes.timing import milliseconds

SHOTS = (1, 2, 3, 5, 7, 10, 15, 20)
TASKS = 600
ANY = (
    "+experiment=any_shots",
    "training.iterations=6000",
    "training.evaluate_every=1000",
    f"evaluation.tasks={TASKS}",
    f"evaluation.shots=[{','.join(map(str, SHOTS))}]",
    "evaluation.plots=false",
)
FEW = "training.meta_batch=2"  # tasks: a memory for every weight is dear
LEARNERS: dict[str, Overrides] = {
    "ridge": ("algorithm=ridge",),
    "neural_process": ("algorithm=neural_process",),
    "recurrent": ("algorithm=recurrent",),
    "attention": ("algorithm=attention",),
    "maml, 1 step": ("algorithm=maml",),
    "maml, 5 steps": ("algorithm=maml", "inner=five_steps", "inner.lr=0.002"),  # with 0.01 and K = 2 it collapses
    "lslr, 1 step": ("algorithm=lslr",),
    "cavia, 1 step": ("algorithm=cavia",),
    "learned_optimizer": ("algorithm=learned_optimizer", FEW, "evaluation.steps=5"),
    "lstm_meta_learner, 2 steps": ("algorithm=lstm_meta_learner", "training.meta_batch=8", "inner.steps=2"),
}
SETTING = (
    "K drawn from {2, 5, 10, 15, 20} in training, Adam 0.001 falling to 0, clipped at 1, 6,000 iterations of 64 tasks "
    "(learned_optimizer 2, lstm_meta_learner 8); 1-40-40-1 ReLU where weights are adapted; inner rates are of the "
    "presets, but 0.002 of five steps of maml"
)
JUDGED = f"mean squared error on 100 evenly spaced x of {TASKS} tasks, behind the steps trained for"


def _grid(jobs: int) -> Grid:
    return Grid({name: (*ANY, *chosen) for name, chosen in LEARNERS.items()}, SEEDS, jobs)


def _medians(runs: Sequence[RunRecord], shots: int) -> list[float]:
    """The median error of every run behind the steps it was trained for; infinite where it diverged in training."""
    step = runs[0].objective_step
    return [float(np.median(errors)) for errors in errors_at(runs, shots, step)]


def learners(out: Path, jobs: int) -> None:
    """Error against the number of points, and against training time."""
    grid = _grid(jobs)
    times = milliseconds(grid.groups)
    table = [["learner", "ms an iteration", *(f"K = {k}" for k in (2, 5, 10, 20))]]
    by_points, by_time = {}, {}
    for name in LEARNERS:
        runs = grid[name]
        cells = [result(runs, shots, runs[0].objective_step) for shots in (2, 5, 10, 20)]
        table.append([name, f"{times[name]:.2f}", *cells])
        by_points[name] = [_medians(runs, shots) for shots in SHOTS]
        iterations, errors = while_training(runs)
        by_time[name] = (iterations * times[name] / 1000, errors)
    learner_figures.by_points(by_points, SHOTS, out / "learners.png")
    learner_figures.against_time(by_time, out / "learners-time.png", "K = 10, median of 100 tasks")
    notes = [
        f"{JUDGED}, {SEEDS} seeds, mean ± 95% CI over seeds; medians over tasks",
        SETTING,
        "from K = 2 on the Bayes error is 0: with the frequency known, two points decide a sinusoid",
        "milliseconds: the fastest of 20 turns of 20 iterations each, learners in turns, one core",
    ]
    write(out, "learners", "Learners that descend, and others", table, notes)


BEYOND: dict[str, dict[str, list[float]]] = {
    "as trained": {},
    "amplitude 5-10": {"amplitude_test": [5.0, 10.0]},
    "phase pi-2 pi": {"phase_test": [np.pi, 2 * np.pi]},
    "x 5-10": {"x_range_test": [5.0, 10.0]},
}
MANY, FURTHER = 40, 20  # points and steps beyond those of training


def beyond(out: Path, jobs: int) -> None:
    """The runs of `learners` on tasks, with points and by steps that they were not trained for."""
    grid = _grid(jobs)
    head = ["learner", *BEYOND, f"K = {MANY}", f"{FURTHER} steps"]
    table, shares_of = [head], {}
    for name in LEARNERS:
        found = [_beyond(run) for run in grid[name] if run.results]
        shares = [estimate([one[column] for one in found]) for column in range(len(head) - 1)]
        at_once = bool(np.isnan([one[-1] for one in found]).all())
        table.append([name, *map(show, shares[:-1]), "-" if at_once else show(shares[-1])])
        shares_of[name] = found
    learner_figures.beyond(shares_of, head[1:], out / "beyond.png")
    notes = [
        "the error of the median task in shares of what predicting its mean costs, mean ± 95% CI over "
        f"{SEEDS} seeds; K = 10 but where it says more, {TASKS} tasks",
        f"trained on amplitudes 0.1-5, phases 0-pi, x in +-5, as: {SETTING}",
        f"{FURTHER} steps: of what was trained for 1 or 5, on tasks as trained",
    ]
    write(out, "beyond", "Beyond what was trained on", table, notes)


def _beyond(run: RunRecord) -> list[float]:
    """Shares of one run: in every range, with many points, and by further steps (NaN where there are none)."""
    opened = Run(run.folder)
    learner, vector, seed = opened.learner, opened.vector, opened.config.evaluation.seed
    step, task = run.objective_step, opened.config.task

    def share(ranges: Mapping[str, list[float]], shots: int, steps: int) -> float:
        family = families(replace(task, **ranges), None)[0]
        tasks = family.held_out("test", seed, TASKS, shots, opened.config.evaluation.grid)
        (errors,) = adaptation_errors(learner, vector, tasks, shots, steps, first=steps).T
        with np.errstate(over="ignore"):
            errors = np.nan_to_num(errors, nan=np.inf) / learner.problem.family.loss.unadapted(tasks.y_query)
        return float(np.median(errors))

    further = np.nan if opened.config.adapts_at_once else share({}, 10, FURTHER)
    return [*(share(ranges, 10, step) for ranges in BEYOND.values()), share({}, MANY, step), further]


ORDERS: dict[str, tuple[Overrides, Overrides]] = {  # with second order, and without
    "learned_optimizer": ((), ("algorithm.second_order=false",)),
    "lstm_meta_learner": (("training.meta_batch=8",), ("training.meta_batch=8", "algorithm.second_order=false")),
    "maml": (("inner=five_steps",), ("inner=five_steps", "algorithm.outer=first_order")),
}
ORDER = (
    "training.iterations=6000",
    "optimizer=annealed",
    "evaluation.plots=false",
    f"evaluation.tasks={TASKS}",
    "training.evaluate_every=0",
)


def order(out: Path, jobs: int) -> None:
    """What the second-order term is worth, of learned optimizers and of MAML."""
    groups: dict[str, Overrides] = {}
    for name, both in ORDERS.items():
        for kind, chosen in zip(("second", "first"), both, strict=True):
            groups[f"{name}, {kind} order"] = (*ORDER, f"algorithm={name}", *chosen)
    grid = Grid(groups, SEEDS, jobs)
    times = milliseconds(groups)
    table = [["method", "K = 5", "K = 10", "K = 20", "K = 10, minus second order", "ms an iteration"]]
    points = {}
    for name in groups:
        runs, exact = grid[name], grid[name.replace("first", "second")]
        against = "-" if runs is exact or name.endswith("second order") else difference(runs, 5, exact, 5)
        table.append([name, *(result(runs, shots, 5) for shots in (5, 10, 20)), against, f"{times[name]:.2f}"])
        points[name] = [_medians(runs, shots) for shots in (5, 10, 20)]
    learner_figures.by_points(points, (5, 10, 20), out / "order.png", styles="- --")
    notes = [
        f"{JUDGED}, 5, {SEEDS} seeds, mean ± 95% CI over seeds; medians over tasks",
        "K = Q = 10, Adam 0.001 falling by a cosine, 6,000 iterations of 25 tasks (learned_optimizer 2, "
        "lstm_meta_learner 8)",
        "minus second order: paired by seed and task, mean with its 95% bootstrap interval",
    ]
    write(out, "order", "Learned optimizers with the term that their papers drop, and without", table, notes)


TARGETS = {"shifted": "shifted by pi/3", "root": "sign(y) sqrt|y|", "none": "none, x tells"}
ADAPTED_BY: dict[str, Overrides] = {
    "the squared error (MAML)": ("algorithm=maml",),
    "a head of its own (MIL)": ("algorithm=two_heads",),
    "a learned loss (DAML)": ("algorithm=learned_loss",),
}
FIVE = ("inner=five_steps", "evaluation.plots=false", "training.evaluate_every=0", f"evaluation.tasks={TASKS}")
BLIND = "algorithm.loss_sees_targets=false"
NO_SUPPORT = "none needed"


def losses(out: Path, jobs: int) -> None:
    """Support targets that are distorted, or missing: where a loss has to be learned."""
    groups: dict[tuple[str, str], Overrides] = {
        ("plain", "the squared error (MAML)"): FIVE,
        (NO_SUPPORT, "told A and phi"): (*FIVE, "algorithm=joint", "task.oracle=true"),
    }
    for kind, targets in TARGETS.items():
        for how, chosen in ADAPTED_BY.items():
            groups[targets, how] = (*FIVE, *chosen, f"task.support_targets={kind}")
    groups[TARGETS["none"], "a learned loss (DAML)"] += (BLIND,)
    grid = Grid({", ".join(key): overrides for key, overrides in groups.items()}, SEEDS, jobs)
    table, rows = [["support targets", "adapted by", "before", "K = 5", "K = 10", "K = 20"]], {}
    for key in groups:
        runs, step = grid[", ".join(key)], 0 if key[0] == NO_SUPPORT else 5
        table.append([*key, *(result(runs, *at) for at in ((10, 0), (5, step), (10, step), (20, step)))])
        rows[key] = [float(np.median(errors)) for errors in errors_at(runs, 10, step)]
    label = "mean squared error, K = 10\n(median task; a dot a seed, a bar the median seed)"
    learner_figures.in_rows(rows, out / "losses.png", label)
    notes = [
        f"mean squared error on 100 evenly spaced x of {TASKS} tasks against the true curve, behind five steps, "
        f"{SEEDS} seeds, mean ± 95% CI over seeds; medians over tasks",
        "1-40-40-1 ReLU, K = Q = 10, T = 25, Adam 0.001, 10,000 iterations; query targets are plain throughout",
        "none: targets are 0, and x lies within A of phi; the learned loss sees prediction and x",
    ]
    write(out, "losses", "Where a loss has to be learned", table, notes)


ITEMS: Mapping[str, Callable[[Path, int], None]] = {
    "learners": learners,
    "beyond": beyond,
    "order": order,
    "losses": losses,
}
