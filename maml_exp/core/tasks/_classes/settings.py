"""The settings that every family of classification tasks has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maml_exp.core import checks
from maml_exp.core.checks import Check, SettingError, setting
from maml_exp.core.tasks._classes.gallery import CHARACTER, SCRIPT
from maml_exp.core.tasks._classes.warps import Warps
from maml_exp.core.tasks._rows import SHARES
from maml_exp.core.tasks.base import TaskSettings

MOST_SIDE = 64  # pixels; places along an image are numbers of 16 bits
SHIFT = "random shift, to either side, right and down"
SCALES = checks.interval()
SCALE = Check(
    lambda value: SCALES.accepts(value) and value[0] >= 0.5 and value[1] <= 2,
    lambda: "[low, high] with 0.5 <= low <= high <= 2",
)


@dataclass
class ClassSettings(TaskSettings):
    """N-way K-shot: K images of each of N classes are adapted to, and others of these classes are to be told apart.

    `shots` and `query` count images of each class.
    """

    shots: Any = setting(1, "K, support images of each class; of a list, one an iteration", checks.integers(1, 10**6))
    query: int = setting(5, "query images of each class", checks.integer(1, 10**6))
    ways: int = setting(5, "N, classes of a task", checks.integer(2, 1000))
    size: int = setting(20, "pixels along an image", checks.integer(4, MOST_SIDE))
    split_by: str = setting(
        CHARACTER, "what is in one split alone: character, or whole script", checks.one_of(lambda: (CHARACTER, SCRIPT))
    )
    split: list[float] = setting([0.7, 0.1, 0.2], "shares of training, validation and test", SHARES)
    split_seed: int = setting(0, "of the classes' places in these shares", checks.integer(0, 2**63 - 1))
    rotation: float = setting(0.0, "random rotation, to either side", checks.up_to(180), unit="degrees")
    shear: float = setting(0.0, "random shear, to either side", checks.up_to(1), unit="widths of a height")
    scale: list[float] = setting([1.0, 1.0], "range of random scales of width and of height", SCALE)
    shift: float = setting(0.0, SHIFT, checks.up_to(0.5), unit="sides of an image")

    @property
    def warps(self) -> Warps:
        """The random maps that every image is drawn by."""
        low, high = map(float, self.scale)
        return Warps(self.rotation, self.shear, (low, high), self.shift)


def require_classes(source: str, split: str, classes: int, ways: int) -> None:
    """Raise `SettingError` where a split has too few classes for a task."""
    if classes < ways:
        raise SettingError(
            f"{source} has {classes} {split} classes, and task.ways={ways} needs as many: give smaller task.ways, "
            "or other task.split, task.split_seed or task.split_by"
        )
