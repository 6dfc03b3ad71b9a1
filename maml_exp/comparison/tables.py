"""Comparison tables: the same numbers for the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from maml_exp.comparison.groups import Group, baselines, measure_of
from maml_exp.core.losses import MEAN_SQUARED_ERROR, Measure
from maml_exp.core.statistics import Estimate, Interval, PairedDifference, estimate
from maml_exp.data.text_table import Table, digits, with_margin
from maml_exp.data.texts import for_csv, for_markdown
from maml_exp.store.metrics_file import final_steps

MOST_INTERVALS = 24  # groups: an interval over seeds and tasks takes some 50 ms


def show(value: Estimate, measure: Measure = MEAN_SQUARED_ERROR, difference: bool = False) -> str:
    """mean ± half width; the mean alone for one seed."""
    if value.n == 0:
        return "-"
    if math.isinf(value.mean):
        return "not finite"
    value = measure.shown(value, difference)
    return with_margin(value.mean, value.ci95)


def show_interval(value: Interval, measure: Measure, difference: bool = False) -> str:
    """value [low, high]; nothing where it is not known."""
    if math.isnan(value.value):
        return "-"
    if math.isinf(value.value):
        return "not finite"
    value = measure.shown(value, difference)
    return f"{digits(value.value)} [{digits(value.low)}, {digits(value.high)}]"


def shown_steps(groups: Sequence[Group], last_step: int) -> list[int]:
    """The gradient steps of a table: a few, the last one, and those that groups were trained for."""
    trained = {group.objective_step for group in groups if group.runs}
    return sorted({*final_steps(last_step), last_step, *(step for step in trained if step <= last_step)})


def error_table(groups: Sequence[Group], shots: int, last_step: int) -> Table:
    """Errors of every group after a few gradient steps, and what did not finish."""
    steps, measure = shown_steps(groups, last_step), measure_of(groups)
    table = [["group", "n", *(f"step {step}" for step in steps), "its own", "diverged tasks", "not finished"]]
    for group in groups:
        cells = [show(group.estimate(shots, step), measure) for step in steps]
        diverged = str(max((group.diverged_tasks(shots, step) for step in range(last_step + 1)), default=0))
        table.append(
            [group.label, str(len(group.runs)), *cells, own(group, shots, last_step), diverged, unfinished(group)]
        )
    for name, mean in baselines(groups, shots).items():  # they make no steps: the same in every column
        table.append([f"baseline {name}", "-", *[show(estimate([mean]), measure)] * len(steps), "-", "-", ""])
    return table


def own(group: Group, shots: int, last_step: int) -> str:
    """The step that a group was trained for, with its error where that is beyond the steps that all groups made."""
    step = group.objective_step
    if not group.runs:
        return "-"
    return f"step {step}" + (f": {show(group.estimate(shots, step), group.measure)}" if step > last_step else "")


def middle_table(groups: Sequence[Group], shots: int, last_step: int) -> Table:
    """Median and interquartile mean, which a few tasks that diverge do not move, at a group's own step and the last."""
    table = [["group", "step", "median", "middle half", f"median, step {last_step}", f"middle half, step {last_step}"]]
    for group in [group for group in groups if group.runs]:
        cells = []
        for step in (group.objective_step, last_step):
            median, iqm = group.median(shots, step), group.iqm(shots, step)
            cells += [show(median, group.measure), show_interval(iqm, group.measure)]
        table.append([group.label, str(group.objective_step), *cells])
    return table


def difference_table(groups: Sequence[Group], shots: int, last_step: int, intervals: bool) -> Table:
    """Every group's error minus the first one's, paired by seed and task: that of each after its own step."""
    steps, measure = shown_steps(groups, last_step), measure_of(groups)

    def cells_of(by_task: PairedDifference | None) -> list[str]:
        """The columns of what is paired by task, if there are any."""
        if by_task is None:
            return ["-"] * len(paired)
        return [show_interval(found, measure, difference=True) for found in (by_task.mean, by_task.iqm)]

    trained = {group.objective_step for group in groups if group.runs}
    name = f"step {groups[0].objective_step}" if len(trained) == 1 else "own steps"
    paired = [f"{name}, mean", f"{name}, middle half"] if intervals else []
    table = [["group", "pairs", *(f"step {step}" for step in steps), *paired]]
    for group in groups[1:]:
        differences = [group.difference(groups[0], shots, step) for step in steps]
        own_steps = (group.objective_step, groups[0].objective_step)
        by_task = group.paired(groups[0], shots, *own_steps) if intervals else None
        shown = [show(difference, measure, difference=True) for difference in differences]
        table.append([group.label, str(differences[0].n), *shown, *cells_of(by_task)])
    for name in baselines(groups, shots) if intervals else ():
        by_task = groups[0].less_than(name, shots, groups[0].objective_step)
        table.append([f"baseline {name}", "-", *["-"] * len(steps), *cells_of(by_task)])
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
    intervals, measure = len(groups) <= MOST_INTERVALS, measure_of(groups)
    found = []
    for k, last_step in shots.items():
        points = "support points" + " a class" * measure.rises
        title = f"K = {k} {points}: {measure.label} on {tasks} tasks, mean ± 95% CI over n seeds"
        found.append((title, error_table(groups, k, last_step)))
        if intervals:
            title = (
                f"K = {k}: median (mean of seeds), and interquartile mean with its 95% interval over seeds and tasks"
            )
            found.append((title, middle_table(groups, k, last_step)))
        if len(groups) > 1 or baselines(groups, k):
            how = "; by task with 95% intervals over seeds and tasks" if intervals else ""
            title = f"K = {k}: difference to {groups[0].label}, paired by seed, ± 95% CI over seeds{how}"
            found.append((title, difference_table(groups, k, last_step, intervals)))
    return found


def as_csv(groups: Sequence[Group], shots: dict[int, int], keys: Sequence[str]) -> str:
    """Everything: a row for every group, number of shots and gradient step.

    Steps are those that all groups made, and each group's own. Intervals over seeds and tasks stand in the rows of its
    own step, paired with the first group's own, and of the last one.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    numbers = ["n", "mean", "ci95", "median", "median_ci95", "pairs", "difference", "difference_ci95"]
    by_task = ["iqm", "iqm_low", "iqm_high", "paired_iqm", "paired_iqm_low", "paired_iqm_high"]
    writer.writerow(
        ["group", *map(for_csv, keys), "shots", "step", *numbers, *by_task, "diverged_tasks", "not_finished"]
    )
    for group in groups:
        settings = [for_csv(group.settings.get(key)) for key in keys]
        for k, last_step in shots.items():
            with_intervals = {group.objective_step, last_step} if len(groups) <= MOST_INTERVALS else set()
            for step in sorted({*range(last_step + 1), group.objective_step}):
                median, common = group.median(k, step), step <= last_step
                difference = group.difference(groups[0], k, step) if common else ("", "", "")
                row: list[object] = [*group.estimate(k, step), median.mean, median.ci95, *difference]
                row += _by_task(group, groups[0], k, step) if step in with_intervals else [""] * len(by_task)
                count, left = group.diverged_tasks(k, step), for_csv(unfinished(group))
                writer.writerow([for_csv(group.label), *settings, k, step, *row, count, left])
    blank = [""] * len(keys)
    for k, last_step in shots.items():
        for name, mean in baselines(groups, k).items():
            unknown: list[object] = [""] * (len(numbers) + len(by_task))
            for step in range(last_step + 1):
                writer.writerow([for_csv(f"baseline {name}"), *blank, k, step, "", mean, *unknown[2:], "", ""])
    return buffer.getvalue()


def _by_task(group: Group, first: Group, shots: int, step: int) -> list[object]:
    """The interquartile mean and, against the first group, that of paired differences, with their intervals."""
    against = first.objective_step if step == group.objective_step else step
    paired = group.paired(first, shots, step, against) if group is not first else None
    nothing: list[object] = ["", "", ""]
    return [*group.iqm(shots, step), *(nothing if paired is None else paired.iqm)]
