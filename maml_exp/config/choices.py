"""The groups of settings whose schema depends on a choice: which registry a group's choices are in.

A learner, a family of tasks or an optimizer has a dataclass of its own, so a new one adds no key to anybody else's
configuration.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, NamedTuple

from maml_exp.core.checks import SettingError
from maml_exp.core.learners import LEARNERS
from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.registry import Registry
from maml_exp.core.tasks import TASKS

# in the environment: the user's files and modules that register choices, for worker processes to run too
REGISTERED_IN = "MAML_EXP_REGISTERED_IN"


_HANDED: set[str] = set()  # what this process named there itself


class Choice(NamedTuple):
    """A group whose dataclass is looked up by name."""

    key: str  # the setting in the group that names the choice
    registry: Registry
    schema_group: str  # where Hydra's ConfigStore holds the dataclasses


CHOICES = {
    "task": Choice("name", TASKS, "schema/task"),
    "optimizer": Choice("name", OPTIMIZERS, "schema/optimizer"),
    "algorithm": Choice("learner", LEARNERS, "schema/learner"),
}


def settings_class(group: str, name: Any) -> type:
    """The dataclass of a choice; raises `SettingError` for a name that is none."""
    registry = CHOICES[group].registry
    try:
        return registry.get(name).Settings
    except SettingError:
        if not os.environ.get(REGISTERED_IN):
            raise
        run_registering_code()
        return registry.get(name).Settings


def hand_to_workers(place: str) -> None:
    """Have worker processes run a Python file, or import a module, that registers choices.

    Saved files hold names only and add nothing here: it is the user's own environment.
    """
    _HANDED.add(place)
    places = [p for p in os.environ.get(REGISTERED_IN, "").split(os.pathsep) if p]
    if place not in places:
        os.environ[REGISTERED_IN] = os.pathsep.join([*places, place])


def source_of(part: Any) -> str | None:
    """The file or module that defines a class or function: what `hand_to_workers` takes; None for a notebook's."""
    module = sys.modules.get(getattr(part, "__module__", ""))
    if module is None:
        return None
    file = getattr(module, "__file__", None)
    importable = module.__name__ not in ("__main__", "__mp_main__")
    return module.__name__ if importable else file and os.path.abspath(file)


@cache
def run_registering_code() -> None:
    """Run what `hand_to_workers` named in the process that started this one; raises `SettingError`."""
    places = [place for place in os.environ.get(REGISTERED_IN, "").split(os.pathsep) if place]
    for place in places:
        if place in _HANDED:  # by this process: it is registered
            continue
        if not place.endswith(".py"):
            import_module(place)
            continue
        spec = spec_from_file_location("maml_exp_registering", place)
        if spec is None or spec.loader is None or not os.path.isfile(place):
            raise SettingError(f"{place}, named in {REGISTERED_IN}, is not a Python file")
        module = module_from_spec(spec)
        sys.modules.setdefault(spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
