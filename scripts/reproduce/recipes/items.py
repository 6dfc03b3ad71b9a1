"""The experiments of docs/results.md: which runs, which table, which figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from maml_exp.comparison.groups import Group
from maml_exp.comparison.panels import draw_panels
from maml_exp.comparison.tables import show
from maml_exp.core.network import Network
from maml_exp.store.records import RunRecord
from recipes import figures, learners, methods
from recipes.evolution import evolution
from recipes.fertility import fertility
from recipes.glyphs import glyphs
from recipes.grid import COMMON, MEASURED, SEEDS, Grid
from recipes.report import cell, errors_of, show_factor, write
from recipes.runs import Overrides

JOINT_RATES = "evaluation.lr=[0.001,0.002,0.005,0.01,0.02]"
LONGER = "training.iterations=30000"
PAPER = (*COMMON, "training=paper", "model.initializer=truncated_normal")
CHOSEN = "the rate of joint and oracle is the best of {0.001, 0.002, 0.005, 0.01, 0.02} on 200 validation tasks"


def paper(out: Path, jobs: int) -> None:
    """Figures 2 and 3 of Finn et al. 2017."""
    groups = {
        "MAML, rate 0.01": PAPER,
        "MAML, rate 0.001": (*PAPER, "inner.lr=0.001"),
        "joint": (*PAPER, "algorithm=joint", JOINT_RATES),
        "oracle": (*PAPER, "algorithm=joint", "task.oracle=true", JOINT_RATES),
    }
    grid = Grid(groups, SEEDS, jobs)
    table = [["method", "K", "step 0", "step 1", "step 5", "step 10"]]
    curves = {}
    for name in [*groups, "random initialisation"]:
        runs, which = (grid["MAML, rate 0.01"], "random") if name.startswith("random") else (grid[name], "trained")
        for shots in (5, 10, 20):
            errors = curves[name, shots] = errors_of(runs, shots, which)
            table.append([name, str(shots), *(cell(errors, step) for step in (0, 1, 5, 10))])
    figures.adaptation(curves, out / "paper.png", "Finn et al. 2017, section 5.1: 1-40-40-1 ReLU, 70,000 iterations")
    rates = {name: sorted({run.lr for run in grid[name]}) for name in ("joint", "oracle")}
    notes = [f"{MEASURED}, {SEEDS} seeds", f"{CHOSEN}; chosen: joint {rates['joint']}, oracle {rates['oracle']}"]
    write(out, "paper", "Sinusoid regression of the MAML paper", table, notes)


def seed_figure(out: Path, jobs: int) -> None:
    """The three panels of a known numpy implementation, done correctly."""
    common = (*COMMON, "model.hidden=[64,64]", "task.shots=5", "task.query=5", "evaluation.objective_shots=10")
    groups = {"MAML": common, "joint": (*common, "algorithm=joint", JOINT_RATES)}
    grid = Grid(groups, SEEDS, jobs)
    table = [["method", "step 0", "step 1", "step 10"]]
    for name, runs, which in (
        ("MAML", grid["MAML"], "trained"),
        ("joint training", grid["joint"], "trained"),
        ("random initialisation", grid["MAML"], "random"),
    ):
        errors = errors_of(runs, 10, which)
        table.append([name, *(cell(errors, step) for step in (0, 1, 10))])
    panels = [Group(runs[0].settings, runs={0: runs[0]}) for runs in (grid["MAML"], grid["joint"])]
    draw_panels(panels, out / "seed_figure.png", None)
    notes = [f"{MEASURED}, {SEEDS} seeds; 10 support points", "trained on 5 + 5 points, 1-64-64-1, 10,000 iterations"]
    write(out, "seed_figure", "MAML, joint training and random initialisation", table, [*notes, CHOSEN])


DEPTHS = {1: [587], 2: [40, 40], 3: [28, 28, 28], 4: [23, 23, 23, 23]}  # 1762, 1761, 1709, 1726 parameters


def depth(out: Path, jobs: int, seeds: int = 5) -> None:
    """One to four hidden layers at matched parameter counts (Finn and Levine 2018)."""
    groups: dict[str, Overrides] = {}
    for layers, widths in DEPTHS.items():
        model = (*COMMON, LONGER, f"model.hidden=[{','.join(map(str, widths))}]")
        groups |= {f"MAML {layers}": model, f"joint {layers}": (*model, "algorithm=joint", JOINT_RATES)}
    grid = Grid(groups, seeds, jobs)
    table = [["hidden layers", "method", "parameters", "step 0", "step 1", "step 10"]]
    curves = {}
    for layers, widths in DEPTHS.items():
        count = Network((1, *widths, 1)).parameter_count
        for name in ("MAML", "joint"):
            errors = curves[name, layers] = errors_of(grid[f"{name} {layers}"], 10)
            table.append([str(layers), name, str(count), *(cell(errors, step) for step in (0, 1, 10))])
    figures.depth(curves, list(DEPTHS), out / "depth.png")
    notes = [f"{MEASURED}, {seeds} seeds; K = 10", "ReLU, inner rate 0.01, one inner step, 30,000 iterations", CHOSEN]
    write(out, "depth", "Depth at matched parameter counts", table, notes)


RATES, STEPS = ("0.001", "0.003", "0.01", "0.03"), (1, 2, 5)


def curvature(out: Path, jobs: int) -> None:
    """When second order matters: inner rate x steps for MAML and FOMAML, beside the share of curvature."""
    groups: dict[str, Overrides] = {}
    for rate in RATES:
        for steps in STEPS:
            inner = (*COMMON, LONGER, f"inner.lr={rate}", f"inner.steps={steps}")
            groups |= {
                f"maml {rate} {steps}": (*inner, "training.log_curvature=true"),
                f"fomaml {rate} {steps}": (*inner, "algorithm=fomaml"),
            }
    grid = Grid(groups, SEEDS, jobs)
    head = ["inner rate", "inner steps", "curvature share", "cosine", "MAML", "FOMAML", "FOMAML / MAML"]
    table, points = [head], []
    for rate in RATES:
        for steps in STEPS:
            share, cosine = (figures.late_mean(grid[f"maml {rate} {steps}"], tag) for tag in figures.CURVATURE_TAGS)
            cells = [_cell(grid[f"{name} {rate} {steps}"], steps) for name in ("maml", "fomaml")]
            medians = [_medians(grid[f"{name} {rate} {steps}"], steps) for name in ("maml", "fomaml")]
            points.append(figures.CurvaturePoint(rate, steps, share, *medians))
            ratio = show_factor(points[-1].log_ratio)
            table.append([rate, str(steps), show(share), show(cosine), *cells, ratio])
    figures.curvature(points, out / "curvature.png")
    notes = [
        f"{MEASURED}, {SEEDS} seeds; K = 10, after as many gradient steps as in training, 30,000 iterations",
        "share: norm of what FOMAML drops over the norm of MAML's meta-gradient; cosine: between both; "
        "means over the second half of MAML's training",
        "the last column is a ratio of medians over tasks, paired by seed: geometric mean [95% CI over seeds]",
    ]
    write(out, "curvature", "When does second order matter?", table, notes)


def _medians(runs: Sequence[RunRecord], step: int) -> list[float]:
    """The median error of every run, NaN for one that diverged in training."""
    return [float(run.results[10]["median"][step]) if run.results else float("nan") for run in runs]


def _cell(runs: Sequence[RunRecord], step: int) -> str:
    """Errors of the runs that finished, and how many diverged in training."""
    finished = [run for run in runs if run.results]
    diverged = f"{len(runs) - len(finished)} of {len(runs)} runs diverged in training"
    if not finished:
        return diverged
    errors = cell(errors_of(finished, 10), step)
    return errors if len(finished) == len(runs) else f"{errors}; {diverged}"


def activation(out: Path, jobs: int) -> None:
    """ReLU against tanh at K = 5 and 10, rate 0.01."""
    groups: dict[str, Overrides] = {}
    for name in ("relu", "tanh"):
        for shots in (5, 10):
            changed = {"model.activation=tanh": name == "tanh", "task.shots=5": shots == 5}
            groups[f"{name} {shots}"] = (*PAPER, *(setting for setting, chosen in changed.items() if chosen))
    grid = Grid(groups, SEEDS, jobs)
    table = [["activation", "trained and tested with K", "step 0", "step 1", "step 3", "step 10"]]
    curves = {}
    for key in groups:
        name, shots = key.split()
        errors = curves[name, int(shots)] = errors_of(grid[key], int(shots))
        table.append([name, shots, *(cell(errors, step) for step in (0, 1, 3, 10))])
    figures.adaptation(curves, out / "activation.png", "MAML, 1-40-40-1, rate 0.01, 70,000 iterations")
    write(out, "activation", "ReLU against tanh", table, [f"{MEASURED}, {SEEDS} seeds"])


ITEMS: dict[str, Callable[[Path, int], None]] = {
    "paper": paper,
    "seed_figure": seed_figure,
    "depth": depth,
    "curvature": curvature,
    "activation": activation,
    **methods.ITEMS,
    "fertility": fertility,
    "glyphs": glyphs,
    **learners.ITEMS,
    "evolution": evolution,
}


def names(chosen: Sequence[str]) -> list[str]:
    """The items chosen; all of them if none is."""
    return list(chosen) or list(ITEMS)
