"""What `scripts/benchmark` shows: tables, a CSV file and a figure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_measure import Row
from bench_peers import Case

from maml_exp.run.figures.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, RED, figure

LOOKS = {  # peer -> label, colour, line style, marker
    "ours": ("this project", BLUE, "-", "o"),
    "jax": ("JAX", ORANGE, "-", "s"),
    "jax-pairs": ("JAX told to keep pairs", GREEN, "-", "D"),
    "torch": ("PyTorch", RED, "-", "^"),
    "floor": ("floor: bare matrix products", GREY, "--", None),
}


def pick(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """Rows whose own or whose case's attributes have these values, in order."""
    return [r for r in rows if all(getattr(r if hasattr(r, k) else r.case, k) == v for k, v in wanted.items())]


def fastest(rows: Iterable[Row], **wanted: Any) -> Row | None:
    """The fastest of the rows that `pick` gives and that were timed."""
    return min((r for r in pick(rows, **wanted) if r.wall_ms is not None), key=lambda r: r.ms, default=None)


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits, never an exponent."""
    if value is None:
        return "-"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:.{decimals}f}"


def chosen_variants(rows: list[Row]) -> str:
    """Which way each framework found fastest."""
    chosen = [f"{row.peer} {row.variant}" for row in rows if row.peer not in ("ours", "floor")]
    return ", ".join(chosen) or "done"


def timed(row: Row | None) -> str:
    """Median with the 10th and 90th percentile, milliseconds."""
    return "-" if row is None else f"{number(row.ms)} [{number(row.spread[0])} {number(row.spread[1])}]"


def ratio(row: Row | None, other: Row | None) -> str:
    """How many times as long `row` takes as `other`."""
    return "-" if row is None or other is None else f"{row.ms / other.ms:.2f}"


def print_table(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as they need, numbers to the right."""
    cells = [list(heads), *[[str(cell) for cell in line] for line in lines]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for index, line in enumerate(cells):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
        if index == 0:
            print("  ".join("-" * width for width in widths))
    print(flush=True)


HEADS = ("H", "S", "K", "T", "ours", "JAX step", "JAX scan", "JAX pairs", "torch.func", "torch batched", "floor")
HEADS += ("GF/s", "/JAX", "/pairs", "/torch", "/torch.func", "/floor", "|dg|/|g|")
PEAK_HEADS = ("H", "S", "K", "T", "ours", "JAX", "JAX pairs", "torch")


def sizes(case: Case) -> list[int]:
    """The first columns."""
    return [case.width, case.steps, case.shots, case.tasks]


def comparison_line(rows: Sequence[Row]) -> list[str]:
    """One line under `HEADS` from the rows of one case."""
    case = rows[0].case
    ours, jax, pairs, torch, floor = (fastest(rows, peer=peer) for peer in LOOKS)
    by_way = {r.variant.split("/")[0]: r for r in rows if r.peer in ("jax", "torch")}
    step, scan, func, batched = (by_way.get(way) for way in ("step", "scan", "torch.func", "hand-batched"))
    times = [timed(row) for row in (ours, step, scan, pairs, func, batched, floor)]
    rate = number(case.flops / floor.ms / 1e6) if floor else "-"
    ratios = [ratio(ours, other) for other in (jax, pairs, torch, func, floor)]
    error = max((r.gradient_error for r in rows if r.gradient_error is not None), default=0.0)
    return [*map(str, sizes(case)), *times, rate, *ratios, f"{error:.0e}"]


def peak_line(rows: Sequence[Row]) -> list[str]:
    """One line under `PEAK_HEADS`: MiB."""
    peaks = [[r.peak_mib for r in pick(rows, peer=p) if r.peak_mib is not None] for p in LOOKS if p != "floor"]
    return [*map(str, sizes(rows[0].case)), *[number(min(peak)) if peak else "-" for peak in peaks]]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line a row."""
    columns = "study peer variant hidden_layers width inner_steps shots tasks activation algorithm iterations_a_turn "
    columns += (
        "rounds clock median_ms p10_ms p90_ms wall_median_ms cpu_median_ms gigaflop_per_s gradient_difference peak_mib"
    )
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns.split())
        for row in rows:
            c, was_timed = row.case, row.wall_ms is not None
            medians = [float(np.median(ms)) for ms in (row.wall_ms, row.cpu_ms)] if was_timed else [None, None]
            times = [row.clock, row.ms, *row.spread, *medians] if was_timed else [None] * 6
            rate = c.flops / row.ms / 1e6 if was_timed and row.peer == "floor" else None
            problem = [c.layers, c.width, c.steps, c.shots, c.tasks, c.activation, c.algorithm]
            measured = [row.iterations, len(row.wall_ms) if was_timed else None, *times, rate]
            cells = [row.study, row.peer, row.variant, *problem, *measured, row.gradient_error, row.peak_mib]
            out.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells])


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Time against H, T and S, and memory against T, all axes logarithmic."""
    with figure(path, 2, 2, (8.4, 6.8)) as (fig, axes):
        by_width = pick(rows, study="width")
        for peer in LOOKS:
            draw_times(axes[0, 0], by_width, "width", peer)
            draw_times(axes[0, 1], pick(rows, study="tasks"), "tasks", peer)
            draw_peaks(axes[1, 0], pick(rows, study="tasks"), peer)
        for width, colour in ((40, BLACK), (256, BLUE)):
            draw_times(axes[1, 1], pick(rows, study="steps", width=width), "steps", "ours", colour, f"H = {width}")
        axes[0, 0].set(title="T = 25, S = 1, K = 10", xlabel="width H of two hidden layers")
        axes[0, 1].set(title="H = 256, S = 1, K = 10", xlabel="tasks T in a meta-batch")
        axes[1, 0].set(title="H = 256, S = 1, K = 10", xlabel="tasks T in a meta-batch")
        axes[1, 1].set(title="this project, T = 25, K = 10", xlabel="inner steps S")
        for axis in axes.flat:
            axis.set(xscale="log", yscale="log", ylabel="time of an iteration (ms)")
            axis.minorticks_off()
        axes[1, 0].set_ylabel("peak memory (MiB)")
        for axis, attribute, study in zip(axes.flat, ("width", "tasks", "tasks", "steps"), STUDIES, strict=True):
            ticks = sorted({getattr(r.case, attribute) for r in pick(rows, study=study)})
            axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axes[1, 1].legend()
        fig.suptitle(title, fontsize=8)
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)


STUDIES = ("width", "tasks", "tasks", "steps")  # what every panel shows


def draw_times(
    axis: Any, rows: Sequence[Row], attribute: str, peer: str, colour: str | None = None, label: str | None = None
) -> None:
    """Median of the fastest variant against an attribute of the case, with a 10 to 90% band."""
    values = sorted({getattr(r.case, attribute) for r in pick(rows, peer=peer)})
    best = [fastest(rows, peer=peer, **{attribute: value}) for value in values]
    name, usual, style, marker = LOOKS[peer]
    colour, low_high = colour or usual, np.array([row.spread for row in best]).reshape(-1, 2)
    axis.plot(values, [row.ms for row in best], style, color=colour, marker=marker, ms=3.5, label=label or name)
    axis.fill_between(values, *low_high.T, color=colour, alpha=0.2, lw=0)


def draw_peaks(axis: Any, rows: Sequence[Row], peer: str) -> None:
    """Peak memory against T."""
    points = sorted((r.case.tasks, r.peak_mib) for r in pick(rows, peer=peer) if r.peak_mib)
    if points:
        _, colour, style, marker = LOOKS[peer]
        axis.plot(*zip(*points, strict=True), style, color=colour, marker=marker, ms=3.5)
