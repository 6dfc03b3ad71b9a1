"""Points of one task, from a CSV file with a header: columns by name, every mistake by its line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maml_exp.core.checks import SettingError

Array = np.ndarray
MOST_ROWS = 1_000_000


def read_points(path: Path, columns: Sequence[str], *, required: Sequence[str]) -> dict[str, Array]:
    """The numbers (K,) of columns, by name.

    Args:
        path: a CSV file whose first line names its columns.
        columns: all that the file may have.
        required: those that it must have.

    Raises:
        SettingError: naming the file, the line, what stands there and what is expected.
    """
    try:
        # utf-8-sig: spreadsheets put a mark in front
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, strict=True)
            header = _header(path, next(rows, []), columns, required)
            numbers = np.array(list(_numbers(path, rows, header)), dtype=float)
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not len(numbers):
        raise SettingError(f"{path} has no points: below the line of names there must be at least one of numbers")
    return dict(zip(header, numbers.T, strict=True))


def _header(path: Path, names: Sequence[str], columns: Sequence[str], required: Sequence[str]) -> list[str]:
    found = [name.strip() for name in names]
    expected = f"expected are the columns {', '.join(required)}"
    optional = [name for name in columns if name not in required]
    if optional:
        expected += f", and perhaps {', '.join(optional)}"
    for name in required:
        if name not in found:
            raise SettingError(f"{path}, line 1: there is no column {name}; {expected}")
    for name in found:
        if name not in columns:
            raise SettingError(f"{path}, line 1: {name[:40]!r} is not a column to be used; {expected}")
        if found.count(name) > 1:
            raise SettingError(f"{path}, line 1: the column {name} is there {found.count(name)} times")
    return found


def _numbers(path: Path, rows: Iterator[list[str]], header: Sequence[str]) -> Iterator[list[float]]:
    for count, row in enumerate(rows, start=1):
        line = count + 1
        if not row:
            continue  # a blank line, as at the end of many files
        if count > MOST_ROWS:
            raise SettingError(f"{path} has more than {MOST_ROWS} lines, which is more than a support set may have")
        if len(row) != len(header):
            expected = f"expected are {len(header)}, one for each of {', '.join(header)}"
            raise SettingError(f"{path}, line {line}: {len(row)} values; {expected}")
        yield [_number(path, line, name, text) for name, text in zip(header, row, strict=True)]


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:  # Python takes 1_000 for a number
        raise SettingError(f"{path}, line {line}: {text[:40]!r} in column {column} is not a finite number")
    return value
