"""Tables of many tasks: a long CSV (also .gz, .xz) or an npz file, a row a point, a column that names the task."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.tasks._rows import SPLITS, Table
from maml_exp.data import npz
from maml_exp.data.columns import Columns, CsvRows, read_columns, require_columns
from maml_exp.data.sources import LARGEST, opened

Array = np.ndarray
MOST_ROWS = 20_000_000
LONGEST_NAME = 200  # letters of a group
SPLIT = "split"  # the column that says which split a group is in
OTHER_WORDS = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}


class Wanted(NamedTuple):
    """The columns that are read."""

    group: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]


def wanted(settings: Any) -> Wanted:
    """What a table family's settings need of a file."""
    settings.require_complete()
    texts = tuple(settings.categorical)
    inputs = tuple(name for name in settings.inputs if name not in texts)
    return Wanted(settings.group, (*inputs, *settings.outputs), texts)


def read(path: Path, wanted: Wanted) -> Table:
    """The table in a file; raises OSError, and `SettingError` naming line and column."""
    columns, digest = _read_npz(path, wanted) if path.suffix == ".npz" else _read_csv(path, wanted)
    if not len(columns.codes[wanted.group]):
        raise SettingError(f"{path} has no rows below its line of names")
    long = next((name for name in columns.levels[wanted.group] if len(name) > LONGEST_NAME), None)
    if long is not None:
        raise SettingError(f"{path}: column {wanted.group} names tasks, and {long[:40]!r}... is no name")
    return _in_order(columns, wanted, path, digest)


def _read_csv(path: Path, wanted: Wanted) -> tuple[Columns, str]:
    with opened(path) as (file, digest):
        rows = CsvRows(file, path)
        require_columns(path, rows.header, (wanted.group, *wanted.texts, *wanted.numbers))
        texts = [wanted.group, *wanted.texts, *({SPLIT} & {*rows.header} - {*wanted.numbers, *wanted.texts})]
        return read_columns(rows, wanted.numbers, list(dict.fromkeys(texts)), MOST_ROWS), digest


def _read_npz(path: Path, wanted: Wanted) -> tuple[Columns, str]:
    with opened(path) as (_, digest):
        pass
    try:
        arrays = npz.read_arrays(path.resolve(), r"[^/]{1,200}", LARGEST)
    except SettingError:
        raise
    except (ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise SettingError(f"{path} is no readable npz file: {error}") from error
    except Exception as error:  # zipfile raises whatever damage makes it stumble over
        raise SettingError(f"{path} is no readable npz file: {error!r}") from error
    require_columns(path, list(arrays), (wanted.group, *wanted.texts, *wanted.numbers))
    texts = [wanted.group, *wanted.texts, *({SPLIT} & {*arrays} - {*wanted.numbers, *wanted.texts})]
    used = dict.fromkeys([*texts, *wanted.numbers])
    rows = len(arrays[wanted.group]) if arrays[wanted.group].ndim else 0
    for name in used:
        if arrays[name].shape != (rows,):
            shape = arrays[name].shape
            raise SettingError(f"{path}: {name} has shape {shape}, and {wanted.group} ({rows},): they must be alike")
    numbers, codes, levels = {}, {}, {}
    for name in wanted.numbers:
        numbers[name] = _numbers(path, name, arrays[name])
    for name in dict.fromkeys(texts):
        found, places = np.unique(arrays[name], return_inverse=True)
        levels[name], codes[name] = [str(level).strip() for level in found], places.reshape(-1).astype(np.int64)
        if "" in levels[name]:
            row = int(np.flatnonzero(codes[name] == levels[name].index(""))[0])
            raise SettingError(f"{path}, row {row}: {name} is empty; fill it in, or leave the row out")
    return Columns(numbers, codes, levels), digest


def _numbers(path: Path, name: str, array: Array) -> Array:
    if array.dtype.kind not in "biuf":
        raise SettingError(
            f"{path}: {name} holds {array.dtype}, and must hold numbers; texts: task.categorical=[{name}]"
        )
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise SettingError(f"{path}, row {row}: {values[row]} in {name} is not a finite number")
    return values


def _in_order(columns: Columns, wanted: Wanted, path: Path, digest: str) -> Table:
    """The table in its own order of rows, whatever that of the file was."""
    names, group = _ranked(columns.levels[wanted.group], columns.codes[wanted.group])
    levels, codes = {}, {}
    for name in wanted.texts:
        levels[name], codes[name] = _ranked(columns.levels[name], columns.codes[name])
    values = [columns.numbers[name] + 0.0 for name in wanted.numbers]  # -0.0 is 0.0
    order = np.lexsort([*reversed([group, *values, *(codes[name] for name in wanted.texts)])])
    group = group[order]
    starts = np.searchsorted(group, np.arange(len(names) + 1))
    splits = None
    if SPLIT in columns.codes:
        splits = _splits(columns, names, wanted.group, path)
    numbers = {name: value[order] for name, value in zip(wanted.numbers, values, strict=True)}
    codes = {name: code[order] for name, code in codes.items()}
    content = _content_sha256([*numbers.values(), *codes.values()], [names, *levels.values(), splits or []], starts)
    return Table(names, starts, numbers, codes, levels, splits, path.name, digest, content)


def _ranked(levels: Sequence[str], codes: Array) -> tuple[list[str], Array]:
    """Levels sorted, each once, and the codes that belong to them."""
    ordered = sorted(set(levels))
    place = {name: rank for rank, name in enumerate(ordered)}
    return ordered, np.array([place[level] for level in levels], dtype=np.int64)[codes]


def _splits(columns: Columns, names: Sequence[str], group: str, path: Path) -> list[str]:
    """The split of every group; raises `SettingError` for a word that is none, and for a group in two of them."""
    words = [OTHER_WORDS.get(word.lower(), word.lower()) for word in columns.levels[SPLIT]]
    for word, split in zip(columns.levels[SPLIT], words, strict=True):
        if split not in SPLITS:
            raise SettingError(f"{path}: {word[:40]!r} in column {SPLIT} is none of {', '.join(SPLITS)}")
    pairs = np.unique(np.stack([columns.codes[group], columns.codes[SPLIT]]), axis=1).T.tolist()
    found: dict[str, str] = {}
    for code, word in pairs:
        name = columns.levels[group][code]
        if found.setdefault(name, words[word]) != words[word]:
            raise SettingError(f"{path}: rows of {name[:60]!r} are in two splits; a group must be in one")
    return [found[name] for name in names]


def _content_sha256(arrays: Sequence[Array], texts: Sequence[Sequence[str]], starts: Array) -> str:
    total = hashlib.sha256()
    for part in texts:
        total.update("\0".join([str(len(part)), *part]).encode("utf-8", "surrogatepass"))
    for array in (starts, *arrays):
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
