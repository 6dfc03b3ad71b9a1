"""Rows of a table, by group: what a family on arrays is given, splits of whole groups, and rows drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import Check

Array = np.ndarray
SPLITS = ("train", "validation", "test")
FEW_ROWS = 16  # times the rows drawn: up to there all rows of a group are put in a random order


def _are_shares(value: Any) -> bool:
    shares = value if isinstance(value, list) else []
    return (
        len(shares) == 3 and all(checks.is_number(share, above=0) for share in shares) and abs(sum(shares) - 1) < 1e-9
    )


SHARES = Check(_are_shares, lambda: "three numbers > 0 that sum to 1: shares of training, validation and test")


def left_out(dropped: Mapping[str, int], sizes: Mapping[str, int]) -> str:
    """How many of how many groups of every split are left out, in words; nothing where none is."""
    return ", ".join(f"{count} of {sizes[split]} {split}" for split, count in dropped.items() if count)


@dataclass(frozen=True, eq=False)
class Table:
    """A table's rows in an order that is its own: by the group's name, then by the values of a row.

    So nothing that is computed of it depends on the order of rows or groups in a file.
    """

    groups: Sequence[str]  # their names, sorted
    starts: Array  # (groups + 1,): rows starts[i] to starts[i + 1] are those of group i
    numbers: Mapping[str, Array]  # (R,) float64, by column
    codes: Mapping[str, Array]  # (R,) integers, of columns of texts: places in `levels`
    levels: Mapping[str, Sequence[str]]  # the different texts of such a column, sorted
    splits: Sequence[str] | None  # of every group, one of `SPLITS`, where the table says so
    source: str  # the file's name, for messages
    file_sha256: str  # of its bytes
    content_sha256: str  # of what was read, whatever the order of rows

    @property
    def sizes(self) -> Array:
        """Rows of every group (groups,)."""
        return np.diff(self.starts)


def group_key(name: str, seed: int = 0) -> int:
    """64 bits that a group's name and a seed decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()[:8], "big")


def split_groups(names: Sequence[str], shares: Sequence[float], seed: int) -> dict[str, list[int]]:
    """Places of groups by split, in the order of a seeded hash of their names.

    Every split has at least one group, where there are as many. That order and the shares alone decide: another group
    more moves no more than one across each border.
    """
    order = sorted(range(len(names)), key=lambda i: (group_key(names[i], seed), names[i]))
    count, first, last = len(names), shares[0], shares[2]
    training = min(max(1, round(first * count)), count - 2)
    test = min(max(1, round(last * count)), count - 1 - training)
    return {"train": order[:training], "validation": order[training : count - test], "test": order[count - test :]}


def drawn_rows(rng: np.random.Generator, sizes: Array, points: int) -> Array:
    """Places of `points` different rows (T, points) of groups of these sizes (T,), none of them smaller; any order."""
    if sizes.max() <= FEW_ROWS * points:
        return _first_of_shuffled(rng, sizes, points)
    rows = np.empty((len(sizes), points), np.int64)
    few = sizes <= FEW_ROWS * points
    if few.any():
        rows[few] = _first_of_shuffled(rng, sizes[few], points)
    left = np.flatnonzero(~few)
    while len(left):  # of many rows the same one is seldom drawn twice; where it is, all of that group again
        drawn = (rng.random((len(left), points)) * sizes[left, None]).astype(np.int64)
        ordered = np.sort(drawn, axis=1)
        different = (ordered[:, 1:] != ordered[:, :-1]).all(axis=1)
        rows[left[different]] = drawn[different]
        left = left[~different]
    return rows


def _first_of_shuffled(rng: np.random.Generator, sizes: Array, points: int) -> Array:
    keys = rng.random((len(sizes), int(sizes.max())))
    if sizes.min() < keys.shape[1]:
        keys[np.arange(keys.shape[1]) >= sizes[:, None]] = 2.0  # no row of the group: behind all of them
    return np.argsort(keys, axis=1)[:, :points]
