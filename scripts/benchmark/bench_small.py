"""Where an iteration is calls and not arithmetic: small meta-batches, and runs of them in lockstep, beside JAX."""

from __future__ import annotations

from bench_measure import Bench
from bench_peers import Case
from bench_report import chosen_variants, print_table, ratio, timed

SMALL_CASES = [Case(tasks=tasks, steps=steps, shots=5) for tasks in (2, 4) for steps in (1, 5, 14)]
TOGETHER_CASES = [
    *(Case(tasks=4, steps=1, shots=shots, runs=10) for shots in (5, 10)),
    Case(tasks=4, steps=5, shots=5, runs=10),
    Case(tasks=2, steps=14, shots=5, runs=10),
    *(Case(tasks=25, steps=1, runs=runs) for runs in (5, 10)),
]


def compare_small(bench: Bench) -> None:
    """Small meta-batches, beside JAX."""
    lines = []
    for case in SMALL_CASES:
        ours, *theirs = bench.compare("small", case, ["ours", "jax"])
        by_loop = {row.variant.split("/")[0]: row for row in theirs}
        times = [timed(row) for row in (ours, by_loop.get("step"), by_loop.get("scan"))]
        lines.append([case.tasks, case.steps, *times, ratio(ours, by_loop.get("scan"))])
        print(f"  T={case.tasks} S={case.steps}: {chosen_variants(theirs)}", flush=True)
    print("\nMilliseconds an iteration, H = 40, K = Q = 5: median [10th 90th percentile]")
    print_table(("T", "S", "ours", "JAX step", "JAX scan", "ours/scan"), lines)


def compare_together(bench: Bench) -> None:
    """Runs in lockstep, beside JAX's seeds in one program; all in the same turns as one run of either."""
    lines = []
    for case in TOGETHER_CASES:
        rows = bench.compare("together", case, ["ours", "jax", "ours-lockstep", "jax-lockstep"])
        found = {f"{row.peer} {row.variant.split('/')[0]}": row for row in rows}
        ours, theirs = found["ours-lockstep lockstep"], found.get("jax-lockstep scan")
        for row in (ours, theirs):
            if row is not None:
                row.divide(case.runs)
        one, scan = found["ours train_step"], found.get("jax scan")
        times = [timed(row) for row in (one, ours, scan, theirs)]
        lines.append(
            [case.tasks, case.shots, case.steps, case.runs, *times, *(ratio(ours, row) for row in (one, scan, theirs))]
        )
        print(f"  T={case.tasks} K={case.shots} S={case.steps}: {chosen_variants(rows[1:])}", flush=True)
    print("\nMilliseconds an iteration and run, H = 40, K = Q, R runs in lockstep: median [10th 90th percentile]")
    heads = ("T", "K", "S", "R", "one run", "lockstep", "JAX scan", "JAX vmapped", "/one", "/scan", "/vmapped")
    print_table(heads, lines)
