"""Numbers over seeds, and the files an item leaves: a table as Markdown and CSV, and a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maml_exp.comparison.groups import Estimate, estimate
from maml_exp.comparison.tables import as_markdown, show
from maml_exp.data.text_table import Table, aligned
from maml_exp.store.files import write_atomically
from maml_exp.store.records import RunRecord
from recipes.runs import task_errors

DIVERGED = 100.0  # an error beyond this: predicting zero costs 12.5 on the worst task there is


class Errors(NamedTuple):
    """A curve over gradient steps, from several seeds."""

    mean: list[Estimate]  # over seeds, of the means over tasks
    median: np.ndarray  # over tasks, averaged over seeds
    median_ci95: np.ndarray  # of that, over seeds
    diverged: np.ndarray  # share of tasks beyond `DIVERGED`, all seeds together
    tasks: int  # all seeds together


def errors_of(runs: Sequence[RunRecord], shots: int, which: str = "trained") -> Errors:
    """The errors of runs that differ in the seed."""
    errors = np.stack([task_errors(run, shots, which) for run in runs])  # (seeds, tasks, steps + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        means = errors.mean(axis=1)
        bad = ~(errors <= DIVERGED)
        medians = np.median(np.where(np.isfinite(errors), errors, np.inf), axis=1)  # (seeds, steps + 1)
    estimates = [estimate(means[:, step]) for step in range(means.shape[1])]
    median_ci = np.array([estimate(column).ci95 for column in medians.T])
    return Errors(estimates, medians.mean(axis=0), median_ci, bad.mean(axis=(0, 1)), errors.shape[0] * errors.shape[1])


def cell(errors: Errors, step: int) -> str:
    """mean ± 95% CI over seeds, the median, and how many tasks diverged, if any did."""
    count = round(errors.diverged[step] * errors.tasks)
    diverged = f"; {count} of {errors.tasks} tasks diverged" if count else ""
    return f"{show(errors.mean[step])} (median {errors.median[step]:.3g}{diverged})"


def show_factor(log: Estimate) -> str:
    """A factor estimated by its logarithm: geometric mean [95% CI]."""
    if log.n == 0:
        return "-"
    low, mean, high = (math.exp(log.mean + sign * log.ci95) for sign in (-1, 0, 1))
    return f"{mean:.3g}" if log.n == 1 else f"{mean:.3g} [{low:.2g}, {high:.2g}]"


def pack(picture: Path) -> None:
    """Pack a figure as small as it gets: drawing one at the end of a run is quick instead."""
    with Image.open(picture) as opened:
        few = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)  # lines and bands: more would not be seen
        few.save(picture, optimize=True, dpi=opened.info.get("dpi", (150, 150)))


def write(out: Path, name: str, title: str, table: Table, notes: Sequence[str]) -> None:
    """Write and print a table with what it measures."""
    out.mkdir(parents=True, exist_ok=True)
    text = f"### {title}\n\n{as_markdown(table)}\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"
    write_atomically(out / f"{name}.md", text.encode())
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    write_atomically(out / f"{name}.csv", buffer.getvalue().encode())
    if (out / f"{name}.png").is_file():
        pack(out / f"{name}.png")
    print(f"\n{title}\n{aligned(table)}\n" + "\n".join(f"- {note}" for note in notes))
    print(out / f"{name}.md")
