"""Time and memory of training, against JAX and PyTorch, on one core and one thread each.

    python scripts/benchmark                  everything, about twenty minutes
    python scripts/benchmark --main           the comparison with JAX and PyTorch alone, some six minutes
    python scripts/benchmark --quick          two of its cases, less than a minute
    python scripts/benchmark --sizes 40 256   these widths only
    python scripts/benchmark --learners       the learners that do not descend, with JAX, two minutes
    python scripts/benchmark --methods        methods with an inner loop other than MAML's, with JAX, three minutes
    python scripts/benchmark --classes        784-256-128-64-5 by cross-entropy, with JAX and PyTorch, some minutes
    python scripts/benchmark --small          small meta-batches, one run and ten in lockstep, with JAX, some minutes

Measured are whole training iterations: tasks drawn, meta-gradient, Adam. All sides start from the same
parameters, must agree on the meta-gradient first, and then take turns, each in a process of its own on
the same core. JAX and PyTorch may choose, case by case, the fastest of several ways (`bench_peers`);
`torch.func` is also shown by itself.
"JAX pairs" is JAX told to keep inner gradients as pairs, as we do: what the mathematics alone is worth.
The floor is the time of the matrix products alone that exact MAML needs, measured in the same turns.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from bench_classes import CLASS_PEERS, compare_classes
from bench_measure import Bench, losses_after, start_workers
from bench_peers import LEARNERS, METHODS, PEERS, Case
from bench_peers.worker import use_one_core
from bench_report import (
    HEADS,
    PEAK_HEADS,
    Row,
    chosen_variants,
    comparison_line,
    draw,
    fastest,
    number,
    peak_line,
    pick,
    print_table,
    ratio,
    timed,
    write_csv,
)
from bench_small import compare_small, compare_together

from maml_exp.store.provenance import environment

SIZES = (40, 64, 128, 256, 512, 1024)
EXTRA = (Case(width=40, steps=5), Case(width=64, shots=5), Case(width=256, steps=5))
OURS_ONLY = (
    Case(width=256),
    Case(width=256, algorithm="fomaml"),
    Case(width=256, activation="tanh"),
    Case(width=256, layers=1),
    Case(width=40),
    Case(width=40, algorithm="fomaml"),
    Case(width=40, activation="tanh"),
    Case(width=40, layers=1),
)
LATE = {Case(width=40): 8000, Case(width=256): 1500}  # iterations before times are taken
LEARNER_TASKS = (25, 64)
METHOD_CASES = [Case(width, steps, algorithm=name) for name in METHODS for width in (40, 256) for steps in (1, 5)]
TASKS = (5, 10, 25, 50, 100, 250, 500, 1000)
STEPS = (1, 2, 3, 5, 7, 10)
LARGE = Case(width=1024, tasks=1000)
LARGE_VARIANTS = {
    "ours": "train_step/by hand",
    "jax": "step/reverse",
    "jax-pairs": "step/pairs",
    "torch": "hand-batched/autograd",
}


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="H", help="widths to compare at")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of turns (default 11)")
    parser.add_argument("--seconds", type=float, default=0.2, help="length of one turn (default 0.2)")
    clock = "processor time holds still where other programs share the core (default: wall)"
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help=clock)
    parser.add_argument("--core", type=int, help="the core to use (default: the last one)")
    parser.add_argument("--main", action="store_true", help="only the comparison, without growth and large memory")
    parser.add_argument("--learners", action="store_true", help="the learners that do not descend, and nothing else")
    parser.add_argument("--methods", action="store_true", help="anil, lslr and meta_sgd, and nothing else")
    parser.add_argument("--classes", action="store_true", help="classification by cross-entropy, and nothing else")
    parser.add_argument(
        "--small", action="store_true", help="small meta-batches, alone and in lockstep, and nothing else"
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds, shorter turns, no memory")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="default: runs/benchmark")
    chosen = parser.parse_args()
    if chosen.rounds < 1 or chosen.seconds <= 0 or min(chosen.sizes) < 1:
        parser.error("--rounds and --sizes must be at least 1, --seconds greater than 0")
    return chosen


def compare_cases(bench: Bench, cases: list[Case], memory: bool) -> None:
    """The main tables."""
    print(
        "Milliseconds an iteration: median [10th 90th percentile]. /X: our time over X's, below 1 ours is faster; JAX"
    )
    print("is the faster of its two loops, torch of its two ways. GF/s: the floor's rate. |dg|/|g|: largest difference")
    print("from our meta-gradient.")
    tables(bench, [("width" if case == Case(width=case.width) else "extra", case) for case in cases], memory)


def tables(bench: Bench, studies: list[tuple[str, Case]], memory: bool) -> None:
    """Compare all, then print times and, if wanted, peak memory."""
    compared = []
    for study, case in studies:
        rows = bench.compare(study, case)
        if memory:
            bench.add_peaks(rows)
        compared.append(rows)
        print(f"  H={case.width} S={case.steps} K={case.shots} T={case.tasks}: {chosen_variants(rows)}", flush=True)
    print()
    print_table(HEADS, [comparison_line(rows) for rows in compared])
    if memory:
        print("Peak memory of training (MiB)")
        print_table(PEAK_HEADS, [peak_line(rows) for rows in compared])


def compare_ours(bench: Bench) -> None:
    """Algorithms, activations and depths, relative to MAML with two hidden ReLU layers of the same width."""
    lines = []
    for width in sorted({case.width for case in OURS_ONLY}):
        rows = [bench.compare("ours", case, peers=["ours"])[0] for case in OURS_ONLY if case.width == width]
        for row in rows:
            c = row.case
            lines.append([width, c.layers, c.activation, c.algorithm, timed(row), ratio(row, rows[0])])
    print("This project alone, T = 25, K = 10, S = 1")
    print_table(("H", "hidden layers", "activation", "algorithm", "ms", "ratio"), lines)


def compare_late(bench: Bench) -> None:
    """Once units have died, moments of their weights become denormal numbers, slow where nothing flushes them."""
    lines = []
    for case, trained in LATE.items():
        for row in bench.compare("late", case, ["ours", "jax", "floor"], trained):
            loop = row.variant.split("/")[0] if row.peer == "jax" else ""
            lines.append([case.width, trained, f"{row.peer} {loop}".strip(), timed(row)])
    print("Late in training, T = 25, K = 10, S = 1")
    print_table(("H", "after iterations", "", "ms"), lines)


def compare_learners(bench: Bench) -> None:
    """The learners that do not descend, beside JAX."""
    lines = []
    for name in LEARNERS:
        for tasks in LEARNER_TASKS:
            case = Case(algorithm=name, tasks=tasks)
            ours, *theirs = bench.compare("learners", case, ["ours", "jax-learners"])
            cells = [cell for row in theirs for cell in (timed(row), ratio(ours, row), f"{row.gradient_error:.0e}")]
            lines.append([name, tasks, timed(ours), *cells])
    print("Milliseconds an iteration, K = 10: median [10th 90th percentile]")
    print_table(("learner", "T", "ours", "JAX", "/JAX", "|dg|/|g|"), lines)


def compare_methods(bench: Bench, cases: list[Case]) -> None:
    """Methods with another inner loop than MAML's, beside JAX."""
    lines = []
    for case in cases:
        ours, *theirs = bench.compare("methods", case, ["ours", "jax-methods"])
        by_loop = {row.variant.split("/")[0]: row for row in theirs}
        times = [timed(row) for row in (ours, by_loop.get("step"), by_loop.get("scan"))]
        error = max((row.gradient_error for row in theirs), default=0.0)
        lines.append([case.algorithm, case.width, case.steps, *times, ratio(ours, fastest(theirs)), f"{error:.0e}"])
        print(f"  {case.algorithm} H={case.width} S={case.steps}: {chosen_variants(theirs)}", flush=True)
    print("\nMilliseconds an iteration, T = 25, K = Q = 10: median [10th 90th percentile]")
    print_table(("method", "H", "S", "ours", "JAX step", "JAX scan", "/JAX", "|dg|/|g|"), lines)


def growth(rows: list[Row], attribute: str) -> str:
    """The exponents of growth: from first to last, and the largest between neighbours."""
    x = np.log([getattr(row.case, attribute) for row in rows])
    y = np.log([row.ms for row in rows])
    return f"exponent {(y[-1] - y[0]) / (x[-1] - x[0]):.2f}, at most {np.max(np.diff(y) / np.diff(x)):.2f} locally"


def grow_tasks(bench: Bench, numbers: tuple[int, ...], memory: bool) -> None:
    """Time and memory against T."""
    print("Growth with the number of tasks")
    tables(bench, [("tasks", Case(width=256, tasks=tasks)) for tasks in numbers], memory)
    ours = [row for row in pick(bench.rows, study="tasks", peer="ours") if row.case.tasks >= 25]
    print(f"  ours: time in T, from 25 on: {growth(ours, 'tasks')}\n", flush=True)


def grow_steps(bench: Bench, numbers: tuple[int, ...]) -> None:
    """Time against S."""
    rows = {w: [bench.compare("steps", Case(w, s), peers=["ours", "floor"]) for s in numbers] for w in (40, 256)}
    print("Growth with the number of inner steps, this project")
    heads = ("H", "S", "ms", "ours/floor")
    flat = [(width, ours, floor) for width, pairs in rows.items() for ours, floor in pairs]
    print_table(heads, [[width, ours.case.steps, timed(ours), ratio(ours, floor)] for width, ours, floor in flat])
    for width, pairs in rows.items():
        print(f"  H={width}: time in S {growth([ours for ours, _ in pairs], 'steps')}")
    print(flush=True)


def large_memory(bench: Bench) -> None:
    """Peak memory of a meta-batch of 1000 tasks on a wide network."""
    print(f"Peak memory at H={LARGE.width}, T={LARGE.tasks}, S=1, K=10")
    for peer, variant in LARGE_VARIANTS.items():
        if row := bench.peak("large", LARGE, peer, variant):
            print(f"  {peer}: {number(row.peak_mib)} MiB")
    print(flush=True)


def say_if_busy(rows: list[Row]) -> None:
    """Warn where others had the core."""
    shares = [np.median(row.cpu_ms / row.wall_ms) for row in rows if row.wall_ms is not None]
    if min(shares) < 0.9:
        print(
            f"Other programs shared the core: only {min(shares):.0%} of it was left at worst. --clock cpu is steadier."
        )


def peers(chosen: argparse.Namespace) -> list[str]:
    """Those that the chosen studies need."""
    if chosen.classes:
        return list(CLASS_PEERS)
    special = {
        "jax-learners": chosen.learners,
        "jax-methods": chosen.methods,
        "jax": chosen.small,
        "ours-lockstep": chosen.small,
        "jax-lockstep": chosen.small,
    }
    wanted = [peer for peer, is_wanted in special.items() if is_wanted]
    usual = [peer for peer in PEERS if peer not in special or peer == "jax"]
    return ["ours", *wanted] if wanted else usual


def main() -> None:
    """Run it all."""
    chosen = options()
    with tempfile.TemporaryDirectory() as cache:
        core = use_one_core(chosen.core, Path(cache))
        workers = start_workers(peers(chosen))
        machine = environment()
        versions = ", ".join(dict.fromkeys(worker.version() for worker in workers.values()))
        where = "core" if core is not None else "thread"
        title = f"{machine['cpu']}, one {where}; {versions}; float32; {chosen.clock} time"
        print(f"{title}\n")

        alone = chosen.learners or chosen.methods or chosen.classes or chosen.small
        if not alone:
            losses = losses_after(workers, Case(), 512)
            print("Meta-loss at H=40 after 512 iterations, the same 1000 tasks for all:")
            print("  " + ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()) + "\n")

        if chosen.learners:
            bench = Bench(workers, chosen.rounds, chosen.seconds, chosen.clock)
            compare_learners(bench)
        elif chosen.methods:
            bench = Bench(workers, chosen.rounds, chosen.seconds, chosen.clock)
            compare_methods(bench, [case for case in METHOD_CASES if case.width in chosen.sizes])
        elif chosen.classes:
            bench = Bench(workers, chosen.rounds, chosen.seconds, chosen.clock)
            compare_classes(bench)
        elif chosen.small:
            bench = Bench(workers, chosen.rounds, chosen.seconds, chosen.clock)
            compare_small(bench)
            compare_together(bench)
        elif chosen.quick:
            bench = Bench(
                workers, min(chosen.rounds, 5), min(chosen.seconds, 0.05), chosen.clock, ["reverse", "autograd", "func"]
            )
            cases = [Case(), Case(width=256)]
            compare_cases(bench, cases, memory=False)
            grow_steps(bench, (1, 2, 5))
        else:
            bench = Bench(workers, chosen.rounds, chosen.seconds, chosen.clock)
            extra = [case for case in EXTRA if case.width in chosen.sizes]
            cases = sorted([*map(Case, chosen.sizes), *extra], key=lambda case: (case.width, case.steps))
            compare_cases(bench, cases, memory=not chosen.main)
        everything = not (chosen.quick or chosen.main or alone)
        if everything:
            compare_ours(bench)
            grow_steps(bench, STEPS)
            few = Bench(workers, min(chosen.rounds, 7), chosen.seconds, chosen.clock, ["reverse", "autograd"])
            grow_tasks(few, TASKS, memory=True)
            compare_late(few)
            large_memory(few)
            bench.rows += few.rows
        for worker in workers.values():
            worker.close()

    chosen.out.mkdir(parents=True, exist_ok=True)
    write_csv(bench.rows, chosen.out / "benchmark.csv")
    if everything:
        draw(bench.rows, chosen.out / "benchmark.png", title)
    say_if_busy(bench.rows)
    print(f"Written to {chosen.out}")


if __name__ == "__main__":
    main()
