"""Families of few-shot tasks, a file each: `Settings` and `Family`."""

from maml_exp.core.registry import Registry

TASKS = Registry(__name__, key="task.name", parts=("Settings", "Family"))
