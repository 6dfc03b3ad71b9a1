"""Points of one task, from a CSV file with a header: columns by name, every mistake by its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.data.columns import CsvRows, read_columns, require_columns

Array = np.ndarray
MOST_ROWS = 1_000_000


def read_points(
    path: Path, columns: Sequence[str], *, required: Sequence[str], texts: Sequence[str] = ()
) -> dict[str, Array]:
    """The numbers (K,) of columns, by name.

    Args:
        path: a CSV file whose first line names its columns.
        columns: those that are looked at, where the file has them.
        required: those that it must have.
        texts: those of them that hold texts: arrays of str.

    Raises:
        SettingError: naming the file, the line, what stands there and what is expected.
    """
    try:
        with open(path, "rb") as file:
            rows = CsvRows(file, path)
            _check_names(path, rows.header, columns, required)
            used = [name for name in rows.header if name in columns]
            numbers, words = ([name for name in used if (name in texts) == is_text] for is_text in (False, True))
            found = read_columns(rows, numbers, words, MOST_ROWS)
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    points = {**found.numbers, **{name: np.array(found.levels[name])[found.codes[name]] for name in found.codes}}
    if not len(points[used[0]]):
        raise SettingError(f"{path} has no points: below the line of names there must be at least one of numbers")
    return points


def _check_names(path: Path, header: Sequence[str], columns: Sequence[str], required: Sequence[str]) -> None:
    expected = f"expected are the columns {', '.join(required)}"
    optional = [name for name in columns if name not in required]
    if optional:
        expected += f", and perhaps {', '.join(optional)}"
    for name in required:
        if name not in header:
            raise SettingError(f"{path}, line 1: there is no column {name}; {expected}")
    require_columns(path, header, required)
