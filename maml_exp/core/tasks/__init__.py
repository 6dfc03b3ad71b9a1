"""Families of few-shot tasks, a file each: `Settings` and `Family`."""

from dataclasses import replace
from typing import Any

from maml_exp.core.registry import Registry
from maml_exp.core.tasks.base import TaskFamily, TaskSettings

TASKS = Registry(__name__, key="task.name", parts=("Settings", "Family"))


def families(settings: TaskSettings, data: Any = None) -> list[TaskFamily]:
    """The family that settings name, once for every number of shots that they train with, in their order.

    `data` is what a family that has a reader is computed on.
    """
    kind = TASKS.get(settings.name).Family
    known = () if settings.reader is None else (data,)
    if not isinstance(settings.shots, list):
        return [kind(settings, *known)]
    return [kind(replace(settings, shots=shots), *known) for shots in settings.shots]
