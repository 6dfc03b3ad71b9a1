"""Characters of matplotlib's fonts, told apart from few: methods, learners and baselines on the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maml_exp.config.composing import compose
from maml_exp.core.baselines import BASELINES
from maml_exp.core.baselines.base import baseline_errors
from maml_exp.core.losses import ACCURACY
from maml_exp.core.statistics import paired_difference, statistics, trimmed_mean_interval
from maml_exp.core.training import make_learner
from maml_exp.run.final_evaluation import held_out_tasks
from maml_exp.store.records import RunRecord
from recipes.grid import Grid
from recipes.methods import errors_at
from recipes.report import write
from recipes.runs import Overrides
from recipes.timing import milliseconds

SEEDS = 3
COMMON = ("+experiment=glyphs", "evaluation.plots=false", "evaluation.baselines=[]")
RATES = "evaluation.lr=[0.01,0.03,0.1,0.3,1.0]"
METHODS: dict[str, Overrides] = {
    "maml": ("algorithm=maml", "inner.lr=1.0"),
    "fomaml": ("algorithm=fomaml", "inner.lr=0.3"),
    "anil": ("algorithm=anil", "inner.lr=1.0"),
    "lslr": (),
    "lslr, 3 steps": ("inner.steps=3",),
    "meta_sgd": ("algorithm=meta_sgd", "algorithm.rates_start=[0.1,0.1]"),
    "reptile": (
        "algorithm=reptile",
        "optimizer=interpolation",
        "inner.lr=0.1",
        "inner.steps=5",
        "algorithm.minibatch=10",
    ),
    "ridge": ("algorithm=ridge",),
    "joint": ("algorithm=joint", RATES),
}
WIDER = ("model.hidden=[256,128]", "task.size=20", "training.iterations=12000")
HARDER: dict[str, tuple[int, int, Overrides]] = {  # ways and shots, with what training makes smaller there
    "5-way 5-shot": (5, 5, ()),
    "20-way 1-shot": (20, 1, ("training.meta_batch=4", "task.query=2")),
    "20-way 5-shot": (20, 5, ("training.meta_batch=4", "task.query=2")),
}
OF_HARDER = ("maml", "lslr", "ridge")


def harder(name: str, kind: str) -> Overrides:
    """A method on tasks of more classes or more images."""
    ways, shots, smaller = HARDER[kind]
    own = METHODS[name]
    size = (f"task.ways={ways}", f"task.shots={shots}", f"evaluation.shots=[{shots}]", f"evaluation.grid={15 * ways}")
    return (*COMMON, *own, *size, *smaller)


def step_of(overrides: Overrides) -> int:
    """The step that a run of these settings is judged at."""
    return compose(overrides).objective_steps


def accuracy(runs: Sequence[RunRecord], shots: int, step: int) -> str:
    """The mean over seeds and tasks with its interval, of all that was trained."""
    shown = ACCURACY.shown(trimmed_mean_interval(errors_at(runs, shots, step), trim=0.0))
    return f"{shown.value:.1f} [{shown.low:.1f}, {shown.high:.1f}]"


def against(runs: Sequence[RunRecord], base: Sequence[RunRecord], shots: int, steps: tuple[int, int]) -> str:
    """Points of accuracy above another method, paired by seed and task."""
    pair = (errors_at(side, shots, step) for side, step in zip((runs, base), steps, strict=True))
    shown = ACCURACY.shown(paired_difference(*pair).mean, difference=True)
    return f"{shown.value:+.1f} [{shown.low:+.1f}, {shown.high:+.1f}]"


def glyphs(out: Path, jobs: int) -> None:
    """5-way 1-shot of every method and baseline; more classes and images of three of them; a wider network."""
    groups: dict[str, Overrides] = {name: (*COMMON, *own) for name, own in METHODS.items()}
    groups["lslr, 20 pixels"] = (*COMMON, *WIDER)
    groups |= {f"{name}, {kind}": harder(name, kind) for name in OF_HARDER for kind in HARDER}
    grid = Grid(groups, SEEDS, jobs)
    times = milliseconds({name: groups[name] for name in [*METHODS, "lslr, 20 pixels"]})
    base, base_step = grid["maml"], step_of(groups["maml"])
    table = [["method", "1-shot accuracy (%)", "5-shot, trained with 1", "1-shot, above maml's", "ms an iteration"]]
    for name in [*METHODS, "lslr, 20 pixels"]:
        runs, step = grid[name], step_of(groups[name])
        same = name not in ("maml", "lslr, 20 pixels")
        difference = against(runs, base, 1, (step, base_step)) if same else "-"
        cells = [accuracy(runs, shots, step) for shots in (1, 5)]
        table.append([name, *cells, difference, f"{times[name]:.2f}"])
    for name, by_shots in _baselines().items():
        table.append([f"baseline: {name}", *by_shots, "-", "-"])
    notes = [
        "5-way accuracy on 75 queries of each of 1000 tasks of 161 characters that no training saw, chance 20; mean "
        f"over {SEEDS} seeds and the tasks with its 95% interval over both",
        "100-128-64-5 ReLU, layer norm, 10 x 10 pixels, T = 16, Adam 0.001 to 0.00001, 8,000 iterations, one inner "
        "step unless said; 20 pixels: 400-256-128-5, 12,000 iterations",
        "above maml's: paired by seed and task; milliseconds: the fastest of 20 turns of 20 iterations, one core",
    ]
    write(out, "glyphs", "Characters of matplotlib's fonts, 5-way", table, notes)
    table = [["tasks", *OF_HARDER]]
    for kind, (_, shots, _) in HARDER.items():
        names = [f"{name}, {kind}" for name in OF_HARDER]
        table.append([kind, *(accuracy(grid[name], shots, step_of(groups[name])) for name in names)])
    notes = [
        f"accuracy (%), as in glyphs.md, {SEEDS} seeds, trained with as many classes and images; chance 20 and 5",
        "20-way: T = 4, two queries of a class in training",
    ]
    write(out, "glyphs_harder", "More classes, more images", table, notes)


def _baselines() -> dict[str, list[str]]:
    """Accuracies of what needs no meta-learning, by label, at 1 and 5 shots, with intervals over tasks."""
    config = compose(COMMON)
    learner = make_learner(config.problem)
    tasks, family = held_out_tasks(config, learner, config.evaluation.tasks), learner.problem.family
    found, _ = baseline_errors(family, family.baselines, tasks, config.evaluation.shots)

    def shown(errors: np.ndarray) -> str:
        result = ACCURACY.shown(statistics(errors[:, None], 1.0))
        return f"{result.mean[0]:.1f} ± {result.ci95[0]:.1f}"

    return {BASELINES.get(name).Baseline.label: list(map(shown, by_shots.values())) for name, by_shots in found.items()}
