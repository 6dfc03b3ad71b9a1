"""Every method beside every other, on the same tasks: the items of docs/results.md about methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from maml_exp.config.composing import compose
from maml_exp.core.statistics import paired_difference
from maml_exp.run.final_evaluation import validation_errors
from maml_exp.run.trained import Run
from maml_exp.store.metrics_file import evaluation_tag, read_rows
from maml_exp.store.records import RunRecord
from maml_exp.store.run_folder import RunFolder
from recipes import figures
from recipes.grid import COMMON, MEASURED, SEEDS, Grid
from recipes.report import DIVERGED, cell, errors_of, write
from recipes.runs import Overrides, task_errors
from recipes.timing import milliseconds

METHODS = ("maml", "fomaml", "anil", "boil", "meta_sgd", "lslr", "maml_plus_plus", "cavia", "mil", "proximal")
METHODS += ("two_heads", "learned_loss")
WITHOUT_STEPS = ("joint", "ridge", "reptile")  # methods whose number of steps is no choice: reptile's is its own
CLIPPED, FREE = "optimizer.clip_norm=10", "optimizer.clip_norm=null"
HEAD_RATES = ("0.01", "0.03", "0.1")  # anil's rate is chosen among these, on validation tasks
JOINT_RATES = "evaluation.lr=[0.001,0.002,0.005,0.01,0.02]"
SETTING = "1-40-40-1 ReLU, trained with K = Q = 10, T = 25, Adam 0.001, 10,000 iterations"
RATE = "inner rate 0.01, or the preset's; of anil the best of {0.01, 0.03, 0.1} on 200 validation tasks"


def overrides_of(method: str, steps: int, clip: str = CLIPPED) -> dict[str, Overrides]:
    """Groups of runs for a method, by name; several where its rate is to be chosen."""
    common = (*COMMON, f"algorithm={method}", clip)
    if method == "joint":
        return {method: (*common, JOINT_RATES)}
    if method in WITHOUT_STEPS:
        return {method: common}
    stepped = (*common, f"inner.steps={steps}")
    if method != "anil":
        return {f"{method} {steps}": stepped}
    return {f"anil {steps} at {rate}": (*stepped, f"inner.lr={rate}") for rate in HEAD_RATES}


def validation_error(run: RunRecord) -> float:
    """The mean error on validation tasks behind the steps that a run was trained for."""
    opened = Run(run.folder)
    return min(validation_errors(opened.config, opened.learner, opened.vector).values())


def chosen(grid: Grid, method: str, steps: int, clip: str = CLIPPED) -> str:
    """The name of a method's group: the one with the least validation error, summed over seeds."""
    names = list(overrides_of(method, steps, clip))
    if len(names) == 1:
        return names[0]
    sums = {name: sum(map(validation_error, grid[name])) if _all_finished(grid[name]) else np.inf for name in names}
    return min(names, key=sums.__getitem__)


def _all_finished(runs: Sequence[RunRecord]) -> bool:
    return all(run.results for run in runs)


def trained_step(overrides: Overrides) -> int:
    """The gradient step that a configuration's objective is about."""
    return compose(overrides).objective_steps


def errors_at(runs: Sequence[RunRecord], shots: int, step: int) -> np.ndarray:
    """Errors (seeds, tasks) behind one step; infinite for a run that diverged in training."""
    found = [task_errors(run, shots)[:, step] if run.results else None for run in runs]
    size = next((len(errors) for errors in found if errors is not None), 1)
    return np.stack([np.full(size, np.inf) if errors is None else errors for errors in found])


def while_training(runs: Sequence[RunRecord], shots: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Iterations of the small evaluations, and their median errors (seeds, evaluations) behind the steps trained for.

    Infinite where a run had diverged.
    """
    tag = evaluation_tag(shots, "median", runs[0].objective_step)
    rows = [[row for row in read_rows(RunFolder(run.folder).metrics) if tag in row] for run in runs]
    iterations = np.array([row["step"] for row in max(rows, key=len)])
    errors = np.full((len(runs), len(iterations)), np.inf)
    for of_run, found in zip(errors, rows, strict=True):
        of_run[: len(found)] = [row[tag] for row in found]
    return iterations, errors


def difference(runs: Sequence[RunRecord], step: int, base: Sequence[RunRecord], base_step: int) -> str:
    """The paired difference of two methods at K = 10, of the seeds with which both trained, with its 95% interval."""
    pairs = [(ours, theirs) for ours, theirs in zip(runs, base, strict=True) if ours.results and theirs.results]
    if not pairs:
        return "-"
    ours, theirs = (
        errors_at(side, 10, at) for side, at in zip(zip(*pairs, strict=True), (step, base_step), strict=True)
    )
    found = paired_difference(ours, theirs)
    diverged = max(ours.max(), theirs.max()) > DIVERGED
    name, shown = ("middle half ", found.iqm) if diverged else ("", found.mean)
    text = f"{name}{shown.value:+.3f} [{shown.low:+.3f}, {shown.high:+.3f}]"
    return text if len(pairs) == len(runs) else f"{text}, {len(pairs)} seeds"


def result(runs: Sequence[RunRecord], shots: int, step: int) -> str:
    """Errors of the runs that finished, and how many diverged in training."""
    finished = [run for run in runs if run.results]
    lost = f"{len(runs) - len(finished)} of {len(runs)} runs diverged in training"
    if not finished:
        return lost
    text = cell(errors_of(finished, shots), step)
    return text if len(finished) == len(runs) else f"{text}; {lost}"


def methods(out: Path, jobs: int) -> None:
    """Every preset, trained with one and with five inner steps."""
    pairs = [(name, steps) for steps in (1, 5) for name in METHODS] + [(name, 1) for name in WITHOUT_STEPS]
    groups: dict[str, Overrides] = {}
    for name, steps in pairs:
        groups |= overrides_of(name, steps)
    grid = Grid(groups, SEEDS, jobs)
    best = {pair: chosen(grid, *pair) for pair in pairs}
    times = milliseconds({name: groups[name] for name in best.values()})
    head = ["method", "judged after", "K = 5", "K = 10", "K = 20", "K = 10, minus maml's", "ms an iteration"]
    table, points = [head], []
    for (method, steps), name in best.items():
        runs, step = grid[name], trained_step(groups[name])
        base = f"maml {steps}"
        against = "-" if name == base else difference(runs, step, grid[base], steps)
        cells = [result(runs, shots, step) for shots in (5, 10, 20)]
        table.append([name, f"{step} step{'s' * (step != 1)}", *cells, against, f"{times[name]:.2f}"])
        if _all_finished(runs):
            points.append(figures.MethodPoint(method, steps, times[name], errors_of(runs, 10).median[step]))
    figures.methods(points, out / "methods.png", SETTING)
    notes = [
        f"{MEASURED}, {SEEDS} seeds; behind as many steps as in training",
        f"{SETTING}, meta-gradients scaled down to norm 10; {RATE}",
        "minus maml's: paired by seed and task, against maml with as many steps (1 for joint, ridge and reptile), mean "
        "with its 95% bootstrap interval; the interquartile mean where a task diverged",
        "milliseconds: the fastest of 20 turns of 20 iterations each, methods in turns, one core",
    ]
    write(out, "methods", "Every method on the sinusoids of the MAML paper", table, notes)


CONTEXTS = (1, 2, 3, 5)


def cavia(out: Path, jobs: int) -> None:
    """Table 1 of Zintgraf et al. 2019: contexts of several sizes, and MAML."""
    longer = (*COMMON, "training.iterations=50000", "evaluation.objective_shots=10")
    groups: dict[str, Overrides] = {"maml": longer}
    for size in CONTEXTS:
        groups[f"cavia, c = {size}"] = (*longer, "algorithm=cavia", f"algorithm.context={size}")
    grid = Grid(groups, SEEDS, jobs)
    printed = {"cavia, c = 1": "0.84", "cavia, c = 2": "0.21", "cavia, c = 3": "0.20", "cavia, c = 5": "0.19"}
    table = [["method", "K = 10, step 1", "K = 5, step 1", "K = 10, step 10", "paper, step 1"]]
    for name in groups:
        runs = grid[name]
        cells = [result(runs, 10, 1), result(runs, 5, 1), result(runs, 10, 10)]
        table.append([name, *cells, printed.get(name, "0.29-0.33")])
    notes = [
        f"{MEASURED}, {SEEDS} seeds",
        "1-40-40-1 ReLU, K = Q = 10, T = 25, one step of rate 1.0 (MAML 0.01), 50,000 iterations",
    ]
    write(out, "cavia", "CAVIA: how large a context", table, notes)


def reptile(out: Path, jobs: int) -> None:
    """The sinusoids of Nichol et al. 2018, judged behind 32 steps."""
    setting = (
        *COMMON,
        "algorithm=reptile",
        "model.hidden=[64,64]",
        "model.activation=tanh",
        "task.phase=[0,6.283185307179586]",
        "task.shots=25",
        "task.query=25",
        "task.x_training=grid",
        "training.meta_batch=1",
        "training.iterations=30000",
        "evaluation.steps=32",
        "evaluation.objective_shots=10",
    )
    grid = Grid({"reptile": setting}, SEEDS, jobs)
    table = [["K", "step 0", "step 5", "step 32", "independent re-run, step 32"]]
    known = {5: "0.20-0.24", 10: "0.12-0.14", 20: "0.085-0.094"}
    for shots, theirs in known.items():
        errors = errors_of(grid["reptile"], shots)
        table.append([str(shots), *(cell(errors, step) for step in (0, 5, 32)), theirs])
    figures.adaptation(
        {("reptile", shots): errors_of(grid["reptile"], shots) for shots in known},
        out / "reptile.png",
        "Reptile, 1-64-64-1 tanh, one task an iteration, 30,000 iterations",
    )
    notes = [
        f"{MEASURED}, {SEEDS} seeds",
        "5 inner steps on minibatches of 10 of 50 points, rate 0.02; theta moves by 0.1, falling to 0",
        "phase in [0, 2 pi]; trained on 50 evenly spaced x, judged behind random ones",
    ]
    write(out, "reptile", "Reptile on its own sinusoids", table, notes)


INNER_RATES = ("0.0003", "0.001", "0.003", "0.01", "0.03", "0.1")


def rates(out: Path, jobs: int) -> None:
    """Whether learning the inner rates ends the search for one."""
    learned = ("algorithm.rates=layer_and_step", "algorithm.learn_rates=true")
    kinds: dict[str, Overrides] = {
        "fixed": (),
        "learned": learned,
    }
    groups: dict[str, Overrides] = {
        f"{kind} {rate}": (*COMMON, CLIPPED, f"inner.lr={rate}", *changed)
        for kind, changed in kinds.items()
        for rate in INNER_RATES
    }
    grid = Grid(groups, SEEDS, jobs)
    table = [["inner.lr", *kinds, "learned, minus fixed"]]
    curves: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for rate in INNER_RATES:
        runs = {kind: grid[f"{kind} {rate}"] for kind in kinds}
        for kind in kinds:
            curves[kind].append([float(errors.mean()) for errors in errors_at(runs[kind], 10, 1)])
        cells = [result(runs[kind], 10, 1) for kind in kinds]
        table.append([rate, *cells, difference(runs["learned"], 1, runs["fixed"], 1)])
    figures.rates(curves, [float(rate) for rate in INNER_RATES], out / "rates.png")
    notes = [
        f"{MEASURED}, {SEEDS} seeds; K = 10, behind the one step trained for",
        f"{SETTING}, one inner step; a rate a layer, learned with Adam's own rate",
        "minus fixed: paired by seed and task, mean with its 95% bootstrap interval",
    ]
    write(out, "rates", "Does learning the rates end the search?", table, notes)


UNSTABLE = ("maml", "fomaml", "boil", "meta_sgd", "lslr", "maml_plus_plus")


def stability(out: Path, jobs: int) -> None:
    """How many runs and tasks diverge with five inner steps, with and without clipping the meta-gradient."""
    groups: dict[str, Overrides] = {}
    for method in UNSTABLE:
        for clip in (CLIPPED, FREE):
            groups |= {f"{name} {clip}": found for name, found in overrides_of(method, 5, clip).items()}
    grid = Grid(groups, SEEDS, jobs)
    table = [["method", "clipped at 10: K = 10, step 5", "never clipped: K = 10, step 5"]]
    for name in dict.fromkeys(name.rsplit(" ", 1)[0] for name in groups):
        table.append([name, *(result(grid[f"{name} {clip}"], 10, 5) for clip in (CLIPPED, FREE))])
    notes = [f"{MEASURED}, {SEEDS} seeds; K = 10", f"{SETTING}, five inner steps, inner rate 0.01 or as said"]
    write(out, "stability", "What diverges, and what clipping saves", table, notes)


ITEMS: Mapping[str, Callable[[Path, int], None]] = {
    "methods": methods,
    "cavia": cavia,
    "reptile": reptile,
    "rates": rates,
    "stability": stability,
}
