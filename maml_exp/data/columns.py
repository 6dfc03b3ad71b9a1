"""Columns of a CSV file by name, in one pass of bounded memory; every mistake by its line and column."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from maml_exp.core.checks import SettingError

Array = np.ndarray
ROWS_AT_ONCE = 20_000
MISSING = {"", "na", "n/a", "nan", "null", "none", "-", ".", "?", "#n/a"}
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
ADVICE = "fill it in, or leave the row out"
Row = tuple[int, list[str]]  # the number of its last line, and its cells


class Columns(NamedTuple):
    """What was read."""

    numbers: dict[str, Array]  # (R,) float64, all finite
    codes: dict[str, Array]  # (R,) places in `levels`
    levels: dict[str, list[str]]  # the different texts of a column, as they come


class CsvRows:
    """A CSV file's line of names, and the rows below it; raises `SettingError` for what is no CSV in UTF-8."""

    def __init__(self, file: IO[bytes], path: Path):
        # utf-8-sig: spreadsheets put a mark in front
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        self.path, self._text = path, text  # the wrapper would close the file with it
        self._reader = csv.reader(text, strict=True)
        self.header = [name.strip() for _, cells in islice(self._rows(), 1) for name in cells]

    def rows(self) -> Iterator[Row]:
        """The rows, without blank lines, each as wide as the header."""
        width = len(self.header)
        for line, cells in self._rows():
            if len(cells) == width:
                yield line, cells
            elif cells:
                expected = f"expected are {width}, one for each of {', '.join(self.header)[:200]}"
                raise SettingError(f"{self.path}, line {line}: {len(cells)} values; {expected}")

    def _rows(self) -> Iterator[Row]:
        reader = self._reader
        while True:
            before = reader.line_num
            try:
                cells = next(reader, None)
            except UnicodeDecodeError as error:  # a block of bytes is decoded at a time
                raise SettingError(
                    f"{self.path}, after line {before}: not a CSV file in UTF-8: {error}; save it so"
                ) from error
            except csv.Error as error:
                raise SettingError(
                    f"{self.path}, line {before + 1}: not a CSV file in UTF-8: {error}; save it so"
                ) from error
            if cells is None:
                return
            yield reader.line_num, cells


def require_columns(path: Path, header: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `SettingError` unless a line of names has each of these once, and no name twice."""
    if not header:
        raise SettingError(f"{path} is empty: its first line must name the columns")
    if len(header) == 1:
        for delimiter, name in OTHER_DELIMITERS.items():
            if delimiter in header[0]:
                raise SettingError(f"{path}, line 1: values are apart by {name}; save it with commas between them")
    for name in header:
        if header.count(name) > 1 and (name or name in wanted):
            places = [str(place) for place, other in enumerate(header, start=1) if other == name]
            raise SettingError(f"{path}, line 1: the name {name[:40]!r} is there twice, columns {', '.join(places)}")
    for name in wanted:
        if name not in header:
            close = get_close_matches(name, header, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            shown = ", ".join(header)[:200]
            raise SettingError(f"{path}, line 1: there is no column {name}; it has {shown}{meant}")


def read_columns(found: CsvRows, numbers: Sequence[str], texts: Sequence[str], most: int) -> Columns:
    """Columns of numbers and of texts, of at most `most` rows; raises `SettingError` naming line and column."""
    places = {name: found.header.index(name) for name in (*numbers, *texts)}
    parts: dict[str, list[Array]] = {name: [] for name in numbers}
    codes: dict[str, array] = {name: array("q") for name in texts}
    levels: dict[str, dict[str, int]] = {name: {} for name in texts}
    rows, count = found.rows(), 0
    while block := list(islice(rows, ROWS_AT_ONCE)):
        count += len(block)
        if count > most:
            raise SettingError(f"{found.path} has more than {most} rows, which is more than can be used")
        cells = [row for _, row in block]
        for name in numbers:
            parts[name].append(_as_numbers(found.path, name, block, [row[places[name]] for row in cells]))
        for name in texts:
            column = [row[places[name]].strip() for row in cells]
            _require_texts(found.path, name, block, column)
            known = levels[name]
            codes[name].extend([known.setdefault(text, len(known)) for text in column])
    empty = np.empty(0)
    return Columns(
        {name: np.concatenate(parts[name]) if parts[name] else empty for name in numbers},
        {name: np.array(codes[name], dtype=np.int64) for name in texts},
        {name: list(levels[name]) for name in texts},
    )


def _as_numbers(path: Path, name: str, block: Sequence[Row], column: list[str]) -> Array:
    try:
        values = np.array(list(map(float, column)))
        # Python takes 1_000 for a number
        if np.isfinite(values).all() and "_" not in "".join(column):
            return values
    except ValueError:
        pass
    for (line, _), text in zip(block, column, strict=True):
        require_number(path, line, name, text)
    raise AssertionError("one of them is no number")  # pragma: no cover


def require_number(path: Path, line: int, name: str, text: str) -> None:
    """Raise `SettingError`, naming the place, for a cell that is no finite number."""
    try:
        finite = bool(np.isfinite(float(text))) and "_" not in text
    except ValueError:
        finite = False
    if not finite:
        advice = f"; {ADVICE}" if text.strip().lower() in MISSING else ""
        raise SettingError(f"{path}, line {line}: {text[:40]!r} in column {name} is not a finite number{advice}")


def _require_texts(path: Path, name: str, block: Sequence[Row], column: list[str]) -> None:
    if "" in column:
        line = block[column.index("")][0]
        raise SettingError(f"{path}, line {line}: column {name} is empty; {ADVICE}")
