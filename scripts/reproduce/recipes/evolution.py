"""Evolution as the outer loop beside gradients: the same result, and at which price."""

from __future__ import annotations

from pathlib import Path

from recipes import learner_figures
from recipes.grid import SEEDS, Grid
from recipes.methods import result, while_training
from recipes.report import write
from recipes.runs import Overrides
from recipes.timing import milliseconds

PAIRS, TASKS, GENERATIONS = 150, 4, 30_000
GRADIENT_TASKS = 25
COMMON = ("evaluation.plots=false", "evaluation.tasks=600")
EVOLVED = (
    "algorithm=evolution",
    f"algorithm.evolution.population={PAIRS}",
    f"training.meta_batch={TASKS}",
    "optimizer=annealed",
    "optimizer.lr=0.02",
    f"training.iterations={GENERATIONS}",
    "training.evaluate_every=1500",
)
OFTEN = "training.evaluate_every=500"
GROUPS: dict[str, Overrides] = {
    "exact gradient": ("algorithm=maml", "optimizer=annealed", OFTEN),
    "first order": ("algorithm=fomaml", "optimizer=annealed", OFTEN),
    "reptile": ("algorithm=reptile", OFTEN),
    "evolution": EVOLVED,
    "evolution, rates too": (*EVOLVED, "algorithm.learn_rates=true", "algorithm.rates=layer_and_step"),
}


def adaptations(name: str) -> int:
    """Of an iteration: to every task once, or by every member and the mean."""
    return (2 * PAIRS + 1) * TASKS if name.startswith("evolution") else GRADIENT_TASKS


def evolution(out: Path, jobs: int) -> None:
    """Error against iterations, adaptations and seconds."""
    groups = {name: (*COMMON, *chosen) for name, chosen in GROUPS.items()}
    grid = Grid(groups, SEEDS, jobs)
    times = milliseconds(groups)
    table = [["outer loop", "K = 5", "K = 10", "K = 20", "iterations", "adaptations", "seconds"]]
    curves = {}
    for name in groups:
        runs = grid[name]
        at, errors = while_training(runs)
        made, seconds = at[-1] * adaptations(name), at[-1] * times[name] / 1000
        cells = [result(runs, shots, runs[0].objective_step) for shots in (5, 10, 20)]
        table.append([name, *cells, f"{at[-1]:,}", f"{made:,}", f"{seconds:.0f}"])
        curves[name] = ([at, at * adaptations(name), at * times[name] / 1000], errors)
    learner_figures.evolution(curves, out / "evolution.png")
    notes = [
        f"mean squared error on 100 evenly spaced x of 600 tasks, behind the steps trained for, {SEEDS} seeds, mean ± "
        "95% CI over seeds; medians over tasks",
        f"1-40-40-1 ReLU, K = Q = 10, T = {GRADIENT_TASKS}, one inner step, an outer rate that falls by a cosine; "
        "reptile as its preset has it",
        f"evolution: {PAIRS} pairs of perturbations of 0.03, ranks, T = {TASKS}, Adam 0.02",
        "seconds: iterations times the fastest of 20 turns of 20 iterations each, in turns, one core",
    ]
    write(out, "evolution", "Evolution as the outer loop", table, notes)
