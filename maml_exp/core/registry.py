"""Choices by name. The registry of a folder is the folder: a name is a file in it, imported when it is asked for.

Adding a choice to the project is adding its file. A choice of the user's is registered by a script, or offered by
an installed package through an entry point; both are looked at only for names that are not there. Saved files hold
names only, so a configuration can never run code.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from maml_exp.core.checks import SettingError


class Registry:
    """The named choices of one kind.

    Args:
        package: the folder's dotted name; `base`, names with an underscore in front and folders are no choices.
        key: the setting that names the choice, as in task.name.
        parts: what the file of a choice must define.
    """

    def __init__(self, package: str, key: str, parts: tuple[str, ...]):
        self.package = package
        self.key = key
        self.parts = parts
        self._registered: dict[str, Any] = {}
        self._get = cache(self._find)

    def own_names(self) -> list[str]:
        """The names of the project's own choices."""
        found = pkgutil.iter_modules(import_module(self.package).__path__)
        files = {module.name for module in found if not module.ispkg} - {"base"}
        return sorted(name for name in files if not name.startswith("_"))

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.own_names(), *self._registered, *self._entry_points()})

    def get(self, name: Any) -> Any:
        """What defines the `parts` of a choice; raises `SettingError` for a name that is not one."""
        if not isinstance(name, str):
            raise self._unknown(name)
        return self._get(name)

    def register(self, name: str, **parts: Any) -> None:
        """Add a choice, in place of one of that name that was registered before.

        Raises `SettingError` for a name of ours or no name, or where parts are missing.
        """
        if not name.isidentifier():
            raise SettingError(f"{name!r} cannot be registered: a name is a Python identifier")
        if name in self.own_names():
            raise SettingError(f"{name!r} cannot be registered: {self.key}={name} is there already")
        choice = SimpleNamespace(**parts)
        self._check(name, choice)
        self._registered[name] = choice
        self._get.cache_clear()

    def _find(self, name: str) -> Any:
        if name in self.own_names():
            return import_module(f"{self.package}.{name}")
        choice = self._registered.get(name) or self._offered(name)
        if choice is None:
            raise self._unknown(name)
        self._check(name, choice)
        return choice

    def _unknown(self, name: Any) -> SettingError:
        shown = repr(name)[:60]
        return SettingError(f"{self.key}={shown} is not usable: it must be one of {', '.join(self.names())}")

    def _check(self, name: str, choice: Any) -> None:
        missing = [part for part in self.parts if not hasattr(choice, part)]
        if missing:
            raise SettingError(f"{self.key}={name} is not usable: it does not define {', '.join(missing)}")

    def _entry_points(self) -> dict[str, Callable[[], Any]]:
        """What installed packages offer in the group named after the folder, as in maml_exp.tasks."""
        group = "maml_exp." + self.package.rpartition(".")[2]
        return {point.name: point.load for point in all_entry_points().select(group=group)}

    def _offered(self, name: str) -> Any:
        load = self._entry_points().get(name)
        return None if load is None else load()


@cache
def all_entry_points() -> Any:
    """What installed packages offer; they are looked at again once the cache is cleared, as it is to compose."""
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return entry_points()
