"""Comparison tables: the same numbers for the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from maml_exp.comparison.groups import Estimate, Group
from maml_exp.data.texts import for_csv, for_markdown
from maml_exp.run.text_table import Table
from maml_exp.store.metrics_file import final_steps


def show(value: Estimate) -> str:
    """mean ± half width; the mean alone for one seed."""
    if value.n == 0:
        return "-"
    if math.isinf(value.mean):
        return "not finite"
    return f"{value.mean:.3g}" if math.isnan(value.ci95) else f"{value.mean:.3g} ± {value.ci95:.2g}"


def error_table(groups: Sequence[Group], shots: int, last_step: int) -> Table:
    """Errors of every group after a few gradient steps, and what did not finish."""
    steps = final_steps(last_step)
    table = [["group", "n", *(f"step {step}" for step in steps), "diverged tasks", "not finished"]]
    for group in groups:
        cells = [show(group.estimate(shots, step)) for step in steps]
        diverged = str(max((group.diverged_tasks(shots, step) for step in range(last_step + 1)), default=0))
        table.append([group.label, str(len(group.runs)), *cells, diverged, unfinished(group)])
    return table


def difference_table(groups: Sequence[Group], shots: int, last_step: int) -> Table:
    """Every group's error minus the first one's, paired by seed on the same tasks."""
    steps = final_steps(last_step)
    table = [["group", "pairs", *(f"step {step}" for step in steps)]]
    for group in groups[1:]:
        differences = [group.difference(groups[0], shots, step) for step in steps]
        table.append([group.label, str(differences[0].n), *map(show, differences)])
    return table


def unfinished(group: Group) -> str:
    """'1 failed, 2 diverged', or nothing."""
    parts = [f"{count} {state}" for state, count in sorted(group.unfinished.items())]
    return ", ".join(parts + ([f"{group.repeated} repeated"] if group.repeated else []))


def as_markdown(table: Table) -> str:
    """A Markdown table."""
    rows = ["| " + " | ".join(for_markdown(cell) for cell in row) + " |" for row in table]
    return "\n".join([rows[0], "|" + "---|" * len(table[0]), *rows[1:]])


def sections(groups: Sequence[Group], shots: dict[int, int], tasks: object) -> list[tuple[str, Table]]:
    """Titles and tables of a whole comparison."""
    found = []
    for k, last_step in shots.items():
        title = f"K = {k} support points: mean squared error on {tasks} tasks, mean ± 95% CI over n seeds"
        found.append((title, error_table(groups, k, last_step)))
        if len(groups) > 1:
            title = f"K = {k}: difference to {groups[0].label}, paired by seed"
            found.append((title, difference_table(groups, k, last_step)))
    return found


def as_csv(groups: Sequence[Group], shots: dict[int, int], keys: Sequence[str]) -> str:
    """Everything: a row for every group, number of shots and gradient step."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    numbers = ["n", "mean", "ci95", "pairs", "difference", "difference_ci95", "diverged_tasks"]
    writer.writerow(["group", *map(for_csv, keys), "shots", "step", *numbers, "not_finished"])
    for group in groups:
        for k, last_step in shots.items():
            for step in range(last_step + 1):
                row = [*group.estimate(k, step), *group.difference(groups[0], k, step), group.diverged_tasks(k, step)]
                settings = [for_csv(group.settings.get(key)) for key in keys]
                writer.writerow([for_csv(group.label), *settings, k, step, *row, for_csv(unfinished(group))])
    return buffer.getvalue()
