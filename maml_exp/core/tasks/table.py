"""Tasks from a table of one's own: the groups of its rows; few rows of an unseen group are to tell the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import Check, SettingError, setting
from maml_exp.core.losses import UnitsSquaredError
from maml_exp.core.tasks._columns import TableFacts, facts_of
from maml_exp.core.tasks._rows import SHARES, Table, drawn_rows, group_key, left_out, split_groups
from maml_exp.core.tasks.base import Axis, Batch, FixedTasks, TaskFamily, TaskSettings

Array = np.ndarray
REST, REST_IN_TRAINING = "rest", 100
MOST_PADDED = 2**28  # numbers of held-out tasks, with what fills up those that have fewer rows
NO_DATA = "this needs the table, and a saved run names it: give it again, task.file=PATH"


def _are_names(value: Any) -> bool:
    names = value if isinstance(value, list) else [None]
    return all(isinstance(name, str) and name.strip() for name in names) and len(set(names)) == len(names)


FILE = Check(lambda value: isinstance(value, str), lambda: "the path of a CSV or npz file, or package:fertility.csv")
COLUMN = Check(lambda value: isinstance(value, str), lambda: "the name of a column")
NAMES = Check(_are_names, lambda: "a list of different names of columns, as [region], or []")


@dataclass
class Settings(TaskSettings):
    """Rows of one group are one task; inputs and outputs are standardised by the training groups' statistics."""

    reader: ClassVar[str | None] = "table"
    name: str = "table"
    query: Any = setting(
        REST,
        f"Q; {REST}: what the shortest group has left (up to {REST_IN_TRAINING}), and all other rows to judge by",
        checks.one_of_or((REST,), checks.integer(1, 10**6)),
    )
    file: str = setting(
        "", "long table, a row a point: CSV (.gz, .xz) or npz; package:NAME is one that is shipped", FILE
    )
    group: str = setting("", "the column that names the task", COLUMN)
    inputs: list[str] = setting([], "columns that are seen", NAMES)
    outputs: list[str] = setting([], "columns that are predicted", NAMES)
    categorical: list[str] = setting([], "inputs that are texts: one column for each text of training groups", NAMES)
    split: list[float] = setting(
        [0.6, 0.15, 0.25], "shares of training, validation and test groups, where no column split says it", SHARES
    )
    split_seed: int = setting(0, "of the groups' places in these shares", checks.integer(0, 2**63 - 1))
    short: str = setting(
        "refuse", "groups with too few rows: refuse, or drop them", checks.one_of(lambda: ("refuse", "drop"))
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.categorical:
            among = f"among task.inputs, {self.inputs}: add it there, too"
            checks.require(name in self.inputs, "task.categorical", self.categorical, among)
        used = [*filter(None, [self.group]), *self.inputs, *self.outputs]
        twice = next((name for name in used if used.count(name) > 1), None)
        if twice is not None:
            raise SettingError(f"task: column {twice} is used twice: as group, input or output it can be one of these")

    def require_complete(self) -> None:
        """Raise `SettingError` for settings that every table needs and that have no default."""
        examples = {"file": "data.csv", "group": "country", "inputs": "[year]", "outputs": "[births]"}
        missing = [key for key in examples if not getattr(self, key)]
        if missing:
            given = " ".join(f"task.{key}={examples[key]}" for key in missing)
            raise SettingError(f"task=table needs {', '.join(f'task.{key}' for key in missing)}; for example: {given}")


class Family(TaskFamily):
    """Tasks are groups of rows; whole groups are for training, validation or test.

    Args:
        settings: see `Settings`.
        data: the `Table`, or the plain `facts` of a saved run: that is enough to adapt, not to draw tasks.

    Raises:
        SettingError: for a table that cannot be used so, and without data.
    """

    baselines: ClassVar[tuple[str, ...]] = (
        "mean_curve",
        "offset_curve",
        "gaussian_process",
        "best_linear",
        "nearest_curves",
        "ridge",
    )
    watched_split: ClassVar[str] = "validation"  # test groups are judged on once, at the end

    def __init__(self, settings: Settings, data: Table | Mapping[str, Any] | None):
        super().__init__(settings)
        self._dropped: dict[str, int] = {}
        self._table: Table | None = None
        if isinstance(data, Table):
            self._open(data)
        elif data is None:
            raise SettingError(f"task.file={settings.file}: {NO_DATA}")
        else:
            self._facts = TableFacts.from_plain(data)
        facts = self._facts
        self.input_names, self.output_names = facts.input_names, tuple(settings.outputs)
        self.inputs, self.outputs = len(facts.input_names), len(settings.outputs)
        self.input_axis, self.output_axis = Axis(settings.inputs[0]), Axis(settings.outputs[0])
        self.loss = UnitsSquaredError(facts.y_scale, ", ".join(settings.outputs))
        self.is_curve = self.inputs == 1 and not settings.categorical

    def _open(self, table: Table) -> None:
        settings = self.settings
        self._table = table
        self._split = self._groups_by_split(table)
        self._facts = facts_of(table, settings, self._split)
        self._rest = settings.query == REST
        least = settings.shots + (1 if self._rest else settings.query)
        training = self._long_enough("train", least, "task.shots and task.query")
        self._starts, self._sizes = table.starts[training], table.sizes[training]
        left = int(self._sizes.min()) - settings.shots
        self._query = min(left, REST_IN_TRAINING) if self._rest else settings.query
        self._arrays = cache(self._standardised)

    def _groups_by_split(self, table: Table) -> dict[str, list[int]]:
        settings = self.settings
        if len(table.groups) < 3:
            raise SettingError(
                f"{table.source} has {len(table.groups)} group(s) in column {settings.group}; it needs at least 3: "
                "one to train on, one to choose by, one to judge by"
            )
        if table.splits is None:
            return split_groups(table.groups, settings.split, settings.split_seed)
        order = sorted(range(len(table.groups)), key=lambda i: group_key(table.groups[i], settings.split_seed))
        found = {split: [i for i in order if table.splits[i] == split] for split in ("train", "validation", "test")}
        for split, groups in found.items():
            if not groups:
                raise SettingError(f"{table.source}: column split has no {split} group; it needs one of each")
        return found

    def _long_enough(self, split: str, least: int, keys: str) -> list[int]:
        """Groups of a split with at least so many rows; raises `SettingError` naming those that have fewer."""
        table = self._open_table
        sizes = table.sizes
        long = [i for i in self._split[split] if sizes[i] >= least]
        short = [i for i in self._split[split] if sizes[i] < least]
        self._dropped[split] = len(short)
        if not short or (self.settings.short == "drop" and long):
            return long
        shown = ", ".join(f"{table.groups[i][:40]} ({sizes[i]})" for i in short[:5])
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""
        drop = "leave them out with task.short=drop, or " if long else ""
        raise SettingError(
            f"{len(short)} of {len(self._split[split])} {split} groups have fewer than {least} rows: {shown}{more}; "
            f"{drop}ask for fewer points: {keys}"
        )

    @property
    def is_open(self) -> bool:
        """Whether there is a table."""
        return self._table is not None

    @property
    def _open_table(self) -> Table:
        if self._table is None:
            raise SettingError(f"task.file={self.settings.file}: {NO_DATA}")
        return self._table

    @property
    def query(self) -> int:
        """Q in training: of `rest`, as many as every training group has left."""
        return self._query if self._table is not None else 1

    def _standardised(self, dtype: str) -> tuple[Array, Array]:
        """All rows' inputs (R, n) and outputs (R, m), as a network sees them."""
        facts, table = self._facts, self._open_table
        with np.errstate(over="ignore"):  # of held-out groups, beyond float32
            return (
                self.from_own_inputs(facts.encoded(table)).astype(dtype),
                self.from_own_outputs(facts.outputs_of(table)).astype(dtype),
            )

    def sample(self, rng: np.random.Generator, tasks: int, dtype: np.dtype | type | str) -> Batch:
        """A meta-batch of training groups, each with different rows for support and query, drawn anew."""
        shots = self.settings.shots
        self._open_table  # noqa: B018  raises without one
        x, y = self._arrays(np.dtype(dtype).str)
        groups = rng.integers(len(self._starts), size=tasks)
        rows = drawn_rows(rng, self._sizes[groups], shots + self._query)
        rows += self._starts[groups, None]
        x, y = x.take(rows, axis=0), y.take(rows, axis=0)
        return Batch(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])

    def require_shots(self, shots: int) -> None:
        """Raise `SettingError` for held-out groups that are too short."""
        for split in ("validation", "test"):
            self._long_enough(split, shots + 1, "evaluation.shots")

    def held_out(self, split: str, seed: int, tasks: int, shots: int, grid: int) -> FixedTasks:
        """Groups of a split, the first `tasks` in an order of their own; the seed draws their support rows.

        Query points are all other rows, of long groups `grid` of them unless task.query is rest; in the table's order.
        """
        table = self._open_table
        groups = self._long_enough(split, shots + 1, "evaluation.shots")[:tasks]
        x, y = self._arrays("<f8")
        support = np.empty((len(groups), shots), np.int64)
        queries = []
        for place, group in enumerate(groups):
            order = np.random.default_rng([seed, group_key(table.groups[group])]).permutation(table.sizes[group])
            support[place] = table.starts[group] + order[:shots]
            rest = order[shots:] if self._rest else order[shots : shots + grid]
            queries.append(table.starts[group] + np.sort(rest))
        most = max(map(len, queries))
        if len(groups) * most * (self.inputs + self.outputs) > MOST_PADDED:
            raise SettingError(
                f"task.query={REST}: {len(groups)} groups of up to {most} rows are too many; give a number"
            )
        rows, weights = np.zeros((len(groups), most), np.int64), np.zeros((len(groups), most))
        for place, query in enumerate(queries):
            rows[place, : len(query)], weights[place, : len(query)] = query, 1
            rows[place, len(query) :] = query[-1]  # the last one again, of weight 0
        names = tuple(table.groups[group] for group in groups)
        return FixedTasks(x[support], y[support], x[rows], y[rows], None if weights.all() else weights, names)

    def training_tasks(self) -> list[tuple[Array, Array]]:
        """Inputs (K, n) and outputs (K, m) of all rows of every training group, float64, as a network sees them."""
        x, y = self._arrays("<f8")
        ends = self._starts + self._sizes
        return [(x[start:end], y[start:end]) for start, end in zip(self._starts, ends, strict=True)]

    def fingerprint(self) -> dict[str, Any]:
        """The rows, whatever their order, and how they are split."""
        return self._facts.fingerprint

    def facts(self) -> dict[str, Any]:
        """Statistics, names and counts, as plain data."""
        return self._facts.to_plain()

    def notes(self) -> list[str]:
        """Groups that are left out."""
        counts = left_out(self._dropped, {split: len(self._split[split]) for split in self._dropped})
        return [f"groups with too few rows are left out (task.short=drop): {counts}"] if counts else []

    def curve_inputs(self, points: int) -> Array:
        """Inputs in their own unit, over the training groups' range."""
        return np.linspace(self._facts.x_low, self._facts.x_high, points)

    def from_own_inputs(self, x: Array) -> Array:
        """Standardised; columns of categories stay 0 and 1."""
        return (x - self._facts.x_mean) / self._facts.x_scale

    def from_own_outputs(self, y: Array) -> Array:
        """Standardised."""
        return (y - self._facts.y_mean) / self._facts.y_scale

    def to_own_inputs(self, x: Array) -> Array:
        """In the table's units."""
        return x * self._facts.x_scale + self._facts.x_mean

    def to_own_outputs(self, y: Array) -> Array:
        """In the table's units."""
        return y * self._facts.y_scale + self._facts.y_mean

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns of the table."""
        return self._facts.inputs

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The categorical ones."""
        return tuple(self._facts.levels)

    def inputs_of(self, columns: Mapping[str, Array]) -> Array:
        """Inputs (K, n) in the table's units: numbers, and one column of 0 and 1 for each category."""
        return self._facts.encoded_columns(columns)
