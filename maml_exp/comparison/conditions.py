"""Choosing runs by their settings: the conditions KEY=VALUE of --where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from maml_exp.config.messages import suggestion
from maml_exp.config.overrides import as_text, parse
from maml_exp.config.usual import CHOSEN_BY, GROUPS, options, short_names, usual_settings
from maml_exp.core.checks import SettingError

EXAMPLE = "give KEY=VALUE, as in task.shots=10 or algorithm=maml"


class WithSettings(Protocol):
    """A run of which the settings are known, dotted."""

    @property
    def settings(self) -> dict[str, Any]: ...  # noqa: D102


AnyRun = TypeVar("AnyRun", bound=WithSettings)


class Condition(NamedTuple):
    """What settings must be: one as typed, or all those of an option, as of model=one_hidden."""

    values: Mapping[str, Any]
    typed: str  # the value's text, for settings that are texts

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether a run's settings (dotted) are so."""
        return all(key in settings and self._is(settings[key], value) for key, value in self.values.items())

    def _is(self, setting: Any, value: Any) -> bool:
        return same(setting, value) or (isinstance(setting, str) and setting == self.typed)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal; true and 1 are not, 1 and 1.0 are."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def choose(runs: Sequence[AnyRun], where: Iterable[str]) -> list[AnyRun]:
    """The runs that meet all conditions; raises `SettingError` for one that says nothing of any run."""
    known = list(dict.fromkeys(name for run in runs for name in run.settings)) or list(usual_settings())
    conditions = [condition(text, known) for text in where]
    return [run for run in runs if all(one.holds(run.settings) for one in conditions)]


def condition(text: str, known: Sequence[str]) -> Condition:
    """A condition that was typed; its key is one of the `known` settings, the short end of one, or a group."""
    key, separator, typed = text.partition("=")
    if not separator or not key:
        raise SettingError(f"--where {text} is not usable: {EXAMPLE}")
    name = _setting(key.strip(), known)
    if name in GROUPS and name not in CHOSEN_BY and name not in known:
        return Condition(_of_option(name, typed.strip()), typed)
    name = CHOSEN_BY.get(name, name)
    if name not in known:
        raise SettingError(f"--where {text}: {key} is not a setting of these runs{suggestion(key, [*known])}")
    return Condition({name: _value(text, typed)}, typed.strip())


def _setting(key: str, known: Sequence[str]) -> str:
    """The setting that a key means: itself, or the one that is listed by this short name."""
    long = {short: name for name, short in short_names(known).items()}
    return key if key in known or key in GROUPS else long.get(key, key)


def _value(text: str, typed: str) -> Any:
    """The value by the grammar of overrides; the text itself where that has no word for it."""
    try:
        override = parse(f"x={typed}")
    except SettingError:
        return typed.strip()
    if override.sweeps:
        raise SettingError(f"--where {text} is not usable: give one value, as in seed=0")
    return override.value


def _of_option(group: str, option: str) -> dict[str, Any]:
    """The settings of an option of a group that is no setting itself."""
    if group == "experiment":
        raise SettingError("--where experiment=... is not usable: runs hold settings; name those that it makes")
    if option not in options(group):
        raise SettingError(f"--where {group}={option} is not usable: it must be one of {', '.join(options(group))}")
    found = usual_settings((group, option))
    return {key: value for key, value in found.items() if key.startswith(f"{group}.")}


def as_condition(key: str, value: Any) -> str:
    """The text of a condition."""
    return f"{key}={as_text(value)}"
