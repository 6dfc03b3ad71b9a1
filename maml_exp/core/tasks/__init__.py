"""Families of few-shot tasks, a file each: `Settings` and `Family`."""

from dataclasses import replace

from maml_exp.core.registry import Registry
from maml_exp.core.tasks.base import TaskFamily, TaskSettings

TASKS = Registry(__name__, key="task.name", parts=("Settings", "Family"))


def families(settings: TaskSettings) -> list[TaskFamily]:
    """The family that settings name, once for every number of shots that they train with, in their order."""
    kind = TASKS.get(settings.name).Family
    if not isinstance(settings.shots, list):
        return [kind(settings)]
    return [kind(replace(settings, shots=shots)) for shots in settings.shots]
