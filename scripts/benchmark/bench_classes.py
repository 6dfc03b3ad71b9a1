"""Classification by cross-entropy beside JAX and PyTorch: characters of 28 x 28 pixels, 784-256-128-64-5."""

from __future__ import annotations

from bench_measure import Bench
from bench_peers.classes import ClassCase
from bench_report import fastest, number, print_table, ratio, timed

CLASS_PEERS = ("ours", "jax", "jax-pairs", "torch")
CASES = [
    *(ClassCase(steps=steps, shots=shots) for steps in (1, 5) for shots in (1, 5)),
    ClassCase(shots=5, layer_norm=True),
]
HEADS = ("K", "S", "layer norm", "ours", "JAX", "JAX pairs", "torch.func", "torch batched", "/JAX", "/pairs")
HEADS += ("/torch.func", "/torch", "|dg|/|g|")


def compare_classes(bench: Bench) -> None:
    """A line a case. All sides are fed with the same family's tasks, which numpy draws."""
    lines = []
    for case in CASES:
        rows = bench.compare("classes", case, CLASS_PEERS)
        ours, jax, pairs, torch = (fastest(rows, peer=peer) for peer in CLASS_PEERS)
        by_way = {row.variant.split("/")[0]: row for row in rows if row.peer == "torch"}
        func, batched = by_way.get("torch.func"), by_way.get("hand-batched")
        times = [timed(row) for row in (ours, jax, pairs, func, batched)]
        ratios = [ratio(ours, row) for row in (jax, pairs, func, torch)]
        error = max(row.gradient_error for row in rows)
        lines.append([case.points, case.steps, "yes" if case.layer_norm else "no", *times, *ratios, f"{error:.0e}"])
        print(f"  {case.network.label} K={case.points} S={case.steps}: ours {number(ours.ms)} ms", flush=True)
    print("\nMilliseconds an iteration, T = 32, as many query as support points: median [10th 90th percentile]")
    print_table(HEADS, lines)
