"""Few-shot classification of the user's own images: a folder of folders of PNGs, or an npz file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from maml_exp.core import checks
from maml_exp.core.checks import Check, SettingError, setting
from maml_exp.core.tasks._classes.family import ClassFamily
from maml_exp.core.tasks._classes.settings import ClassSettings

FILE = Check(lambda value: isinstance(value, str), lambda: "the path of a folder of folders of PNGs, or of an npz file")


@dataclass
class Settings(ClassSettings):
    """An image is used once in a task. Maps are off: they are for images whose classes have few."""

    reader: ClassVar[str | None] = "images"
    name: str = "images"
    file: str = setting("", "a folder of folders of PNGs (the innermost are the classes), or npz: images, labels", FILE)
    invert: bool = setting(False, "for dark ink on a light ground, as Omniglot's: ink becomes 1", checks.boolean())
    short: str = setting(
        "refuse", "classes with too few images: refuse, or drop them", checks.one_of(lambda: ("refuse", "drop"))
    )

    def require_complete(self) -> None:
        """Raise `SettingError` without a file."""
        if not self.file:
            raise SettingError("task=images needs task.file; for example: task.file=omniglot/images_background")


class Family(ClassFamily):
    """Tasks of the user's images; whole classes are for training, validation or test."""

    @property
    def _no_data(self) -> str:
        file = self.settings.named_data
        return f"task.file={file}: this needs the images, and a saved run names them: give them again, task.file=PATH"
