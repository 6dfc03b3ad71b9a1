"""What a family on a table remembers of its columns: names, statistics of the training groups, categories, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.tasks._rows import Table

Array = np.ndarray
MOST_COLUMNS = 10_000  # inputs, with one for each category


@dataclass(frozen=True, eq=False)
class TableFacts:
    """Everything that turns rows into what a network sees, and back; all of training groups alone."""

    inputs: tuple[str, ...]  # columns, in the settings' order
    outputs: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]  # the texts of categorical ones, sorted
    x_mean: Array  # (n,), 0 for a category's column
    x_scale: Array  # (n,), 1 for a category's column
    x_low: Array  # (n,)
    x_high: Array  # (n,)
    y_mean: Array  # (m,)
    y_scale: Array  # (m,)
    fingerprint: dict[str, Any]
    counts: dict[str, Any]  # rows, groups, groups of every split, SHA-256 of the file

    ARRAYS = ("x_mean", "x_scale", "x_low", "x_high", "y_mean", "y_scale")

    @property
    def input_names(self) -> tuple[str, ...]:
        """A name for every input of a network (n,): year, and region=Asia for a category."""
        names: list[str] = []
        for name in self.inputs:
            names += [f"{name}={level}" for level in self.levels[name]] if name in self.levels else [name]
        return tuple(names)

    def encoded(self, table: Table) -> Array:
        """Inputs (R, n) of a table's rows, in its units."""
        columns = dict(table.numbers)
        for name in self.levels:
            columns[name] = np.array(table.levels[name], dtype=object)[table.codes[name]]
        return self.encoded_columns(columns)

    def encoded_columns(self, columns: Mapping[str, Array]) -> Array:
        """Inputs (K, n): a column as it is, and of texts one of 0 and 1 for each category; an unknown one is all 0."""
        parts = []
        for name in self.inputs:
            column = np.asarray(columns[name])
            parts += [column == level for level in self.levels[name]] if name in self.levels else [column]
        return np.stack(parts, axis=1).astype(np.float64)

    def outputs_of(self, table: Table) -> Array:
        """Outputs (R, m) of a table's rows, in its units."""
        return np.stack([table.numbers[name] for name in self.outputs], axis=1)

    def to_plain(self) -> dict[str, Any]:
        """Plain data, for files."""
        plain: dict[str, Any] = {name: getattr(self, name).tolist() for name in self.ARRAYS}
        plain |= {"inputs": list(self.inputs), "outputs": list(self.outputs)}
        levels = {name: list(texts) for name, texts in self.levels.items()}
        return plain | {"levels": levels, "fingerprint": self.fingerprint, "counts": self.counts}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> TableFacts:
        """The same again; raises `SettingError` for what is damaged."""
        try:
            arrays = {name: np.array(plain[name], dtype=np.float64) for name in cls.ARRAYS}
            levels = {str(name): tuple(map(str, texts)) for name, texts in plain["levels"].items()}
            inputs, outputs = tuple(map(str, plain["inputs"])), tuple(map(str, plain["outputs"]))
            fingerprint, counts = dict(plain["fingerprint"]), dict(plain["counts"])
            facts = cls(inputs, outputs, levels, **arrays, fingerprint=fingerprint, counts=counts)
            shapes = [(len(facts.input_names),)] * 4 + [(len(outputs),)] * 2
            fits = all(array.shape == shape for array, shape in zip(arrays.values(), shapes, strict=True))
            fits = fits and len(facts.input_names) <= MOST_COLUMNS and is_flat(facts.fingerprint)
            finite = all(np.isfinite(array).all() for array in arrays.values())
            if not (fits and finite and (facts.x_scale > 0).all() and (facts.y_scale > 0).all()):
                raise ValueError("sizes or numbers that do not fit")
            return facts
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SettingError(f"what the run saved of its table is damaged: {error!r}"[:200]) from error


def is_flat(plain: Mapping[str, Any]) -> bool:
    """Whether a dictionary holds texts, numbers and lists of them alone, as a fingerprint does."""
    values = [value for some in plain.values() for value in (some if isinstance(some, list) else [some])]
    return all(value is None or isinstance(value, (str, int, float)) for value in values)


def facts_of(table: Table, settings: Any, split: Mapping[str, Sequence[int]]) -> TableFacts:
    """The facts of a table under a family's settings; raises `SettingError` for columns that say nothing."""
    rows = _rows_of(table, split["train"])
    levels = {}
    for name in settings.categorical:
        codes = np.unique(table.codes[name][rows])
        levels[name] = tuple(table.levels[name][code] for code in codes)
        if len(levels[name]) == 1:
            raise SettingError(f"{table.source}: column {name} is {levels[name][0][:40]!r} in every training group")
    if sum(map(len, levels.values())) > MOST_COLUMNS:
        raise SettingError(f"task.categorical={settings.categorical}: more than {MOST_COLUMNS} different texts")
    statistics = {}
    for name in (*settings.inputs, *settings.outputs):
        if name not in levels:
            statistics[name] = _statistics(table, name, rows)
    x = [
        part
        for name in settings.inputs
        for part in ([(0, 1, 0, 1)] * len(levels[name]) if name in levels else [statistics[name]])
    ]
    y = [statistics[name] for name in settings.outputs]
    x_mean, x_scale, x_low, x_high = np.array(x, dtype=np.float64).T
    y_mean, y_scale, *_ = np.array(y, dtype=np.float64).T
    columns = {"inputs": list(settings.inputs), "outputs": list(settings.outputs)}
    kind = {"name": "table", "content": table.content_sha256, "group": settings.group, **columns}
    how = {"split": "column"} if table.splits else {"split": list(settings.split), "split_seed": settings.split_seed}
    fingerprint = kind | how | {"short": settings.short, "rest": settings.query == "rest"}
    counts = {
        "file_sha256": table.file_sha256,
        "rows": int(table.starts[-1]),
        "groups": len(table.groups),
        **{name: len(groups) for name, groups in split.items()},
    }
    named = (tuple(settings.inputs), tuple(settings.outputs), levels)
    return TableFacts(*named, x_mean, x_scale, x_low, x_high, y_mean, y_scale, fingerprint, counts)


def _rows_of(table: Table, groups: Sequence[int]) -> Array:
    return np.concatenate([np.arange(table.starts[group], table.starts[group + 1]) for group in sorted(groups)])


def _statistics(table: Table, name: str, rows: Array) -> tuple[float, float, float, float]:
    """Mean, standard deviation, lowest and highest value of a column; raises `SettingError` for a constant one."""
    values = table.numbers[name][rows]
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise SettingError(
            f"{table.source}: column {name} is {low:g} in every training row; it says nothing: leave it out"
        )
    with np.errstate(over="ignore"):
        mean, scale = float(values.mean()), float(values.std())
    if not (np.isfinite(mean) and np.isfinite(scale)) or scale < 1e-12 * max(abs(low), abs(high)):
        raise SettingError(
            f"{table.source}: column {name} is from {low:g} to {high:g}, too far apart or too near for floats"
        )
    return mean, scale, low, high
