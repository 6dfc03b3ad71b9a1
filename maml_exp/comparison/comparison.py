"""A comparison as data: groups of runs, their tables, and the best of them."""

from __future__ import annotations

import csv
import io
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml_exp.comparison import tables
from maml_exp.comparison.conditions import choose
from maml_exp.comparison.groups import Group, group_runs, shots_and_steps
from maml_exp.config.overrides import as_text
from maml_exp.config.usual import changes
from maml_exp.core.checks import SettingError
from maml_exp.core.statistics import Estimate
from maml_exp.data.text_table import aligned
from maml_exp.data.texts import as_code, for_markdown, for_terminal, one_line
from maml_exp.store.records import BOOKKEEPING, RunRecord, find_runs, no_run, read_run


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other.

    Attributes:
        groups: runs that differ in the seed alone.
        keys: the settings in which the groups differ.
        shots: numbers of support points that every run was evaluated with, and the steps that all of them made.
    """

    groups: list[Group]
    keys: list[str]
    shots: dict[int, int]

    @classmethod
    def of(cls, paths: Sequence[Path], where: Sequence[str] = ()) -> Comparison:
        """Of the runs below the paths; raises `SettingError` where they cannot be compared."""
        groups, keys = group_runs(collect(paths, where))
        return cls(groups, keys, shots_and_steps(groups))

    def _sections(self) -> list[tuple[str, list[list[str]]]]:
        first = next(run for group in self.groups for run in group.runs.values())
        tasks = first.judged_tasks or first.settings.get("evaluation.tasks")
        return tables.sections(self.groups, self.shots, tasks)

    @property
    def text(self) -> str:
        """The tables for the terminal."""
        shown = "\n\n".join(f"{one_line(title)}\n{aligned(table)}" for title, table in self._sections())
        return f"{shown}\n\nbest: {one_line(self.best_command)}\n"

    @property
    def markdown(self) -> str:
        """The same as Markdown."""
        shown = "\n\n".join(
            f"## {for_markdown(title)}\n\n{tables.as_markdown(table)}" for title, table in self._sections()
        )
        return f"{shown}\n\nBest: {as_code(self.best_command)}\n"

    @property
    def csv(self) -> str:
        """Everything: a row for every group, number of shots and step."""
        return tables.as_csv(self.groups, self.shots, self.keys)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The same as a list of rows, numbers as numbers."""
        return [{key: _number(cell) for key, cell in row.items()} for row in csv.DictReader(io.StringIO(self.csv))]

    def to_pandas(self) -> Any:
        """The rows as a data frame, where pandas is installed."""
        try:
            import pandas
        except ImportError as error:
            raise SettingError("to_pandas needs pandas: pip install pandas; .rows needs nothing") from error
        return pandas.DataFrame(self.rows)

    def __str__(self) -> str:
        return self.text

    @property
    def best_command(self) -> str:
        """The command that runs the group with the lowest objective again."""
        ranked = [(group, self.score(group)) for group in self.groups if group.runs]
        finite = [(group, score) for group, score in ranked if math.isfinite(score.mean)]
        if not finite:
            return "no group has a finite error"
        best, score = min(finite, key=lambda pair: pair[1].mean)
        of_one = {"seed": next(iter(best.runs))} if len(best.runs) == 1 else {}
        words = changes({**best.settings, **of_one}, BOOKKEEPING.difference(of_one), always=self.keys)
        arguments = [shlex.quote(f"{key}={as_text(value)}") for key, value in words.items()]
        seeds = f"{len(best.runs)} seed{'s' * (len(best.runs) > 1)}"
        return " ".join(["maml-exp", *arguments]) + f"   # {tables.show(score, best.measure)}, {seeds}"

    def score(self, group: Group) -> Estimate:
        """What groups are ranked by, whatever their own objectives are.

        The mean error after adapting to `ranked_shots` points, at the step that each was trained for.
        """
        return group.estimate(self.ranked_shots, group.objective_step)

    @property
    def ranked_shots(self) -> int:
        """The number of support points that groups are ranked at: one that all were trained and evaluated with."""
        trained = [_as_list(group.settings.get("task.shots")) for group in self.groups]
        return next((k for k in self.shots if all(k in shots for shots in trained)), next(iter(self.shots)))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _number(cell: str) -> Any:
    try:
        return int(cell) if cell.lstrip("-").isdecimal() else float(cell)
    except ValueError:
        return cell


def collect(paths: Sequence[Path], where: Sequence[str] = ()) -> list[RunRecord]:
    """The runs below the paths that have the settings asked for; those that cannot be read are named."""
    runs = []
    for folder in find_runs(paths):
        try:
            runs.append(read_run(folder))
        except SettingError as error:
            print(f"maml-exp: passed over: {for_terminal(str(error))}", file=sys.stderr)
    if not runs:
        raise no_run(paths)
    chosen = choose(runs, where)
    if not chosen:
        raise SettingError(f"no run found in {', '.join(map(str, paths))} with these settings; {len(runs)} have others")
    return chosen
