"""Configurations that were saved, perhaps by a stranger: data only, checked before it is used.

Nothing named in a file is instantiated, no interpolation is resolved, and no path in a file decides where anything
is written. What an older version saved is brought up to today's schema first.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from maml_exp.config.messages import of_other_choices
from maml_exp.config.migrations import migrated
from maml_exp.config.plain import as_plain, flatten, leaves, setting_names
from maml_exp.config.schema import Config, from_dict, typed
from maml_exp.config.usual import LOADER
from maml_exp.core.checks import SettingError
from maml_exp.data import door

LARGEST_CONFIG = 100_000  # bytes; ours have a thousand
MOST_TEXTS = 2000  # names and values; ours have some hundred
DEEPEST = 8  # levels of nesting; ours have three
TOO_DEEP = "nested too deeply to be a configuration of ours"
DATA_FILE = "data.json"  # in a run's folder
NO_KEY = object()
TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str"))


def load_plain_config(path: Path) -> dict[str, Any]:
    """The saved configuration, in today's schema, as plain data; raises `SettingError` for what we never save."""
    plain = _read(path)
    _refuse_strange_values(plain, path)
    return migrated(plain)


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = _load(door.read_bytes(path, LARGEST_CONFIG, own_folder=True).decode())
    except SettingError:
        raise
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise SettingError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(plain, dict):
        raise SettingError(f"{path} is not a configuration: it holds no settings")
    return plain


def _refuse_strange_values(plain: dict[str, Any], path: Path) -> None:
    for key, value in leaves(plain):
        for text in (key, value):
            if isinstance(text, str) and "${" in text:
                raise SettingError(f"{path}: {key} holds '{text[:60]}'; saved configurations hold no interpolations")
        if value == "???":
            raise SettingError(f"{path}: {key} has no value; give it one: {key}=VALUE")
        if "_target_" in key:
            raise SettingError(f"{path}: {key} is refused; a configuration of ours never names code")


def _load(text: str) -> Any:
    """What a YAML document says. One pass over its events: comparing reads thousands of these files.

    Refused is what could exhaust a loader: deep nesting (it recurses), and aliases (small files grow without end).
    What is odd, as tags and merged keys, is left to the safe loader.
    """
    try:
        found = _Document()
        for event in yaml.parse(text, Loader=LOADER):
            found.take(event)
        return yaml.load(text, Loader=LOADER) if found.is_odd else found.content
    except yaml.YAMLError as error:
        deep = "maximum nesting depth" in str(error)  # newer libyaml's own limit
        raise ValueError(TOO_DEEP if deep else str(error)) from error


class _Document:
    """A document's dictionaries, lists and values, built as its events come."""

    def __init__(self) -> None:
        self.content: Any = None
        self.is_odd = False  # holds what the safe loader must see to
        self._documents = self._texts = 0
        self._open: list[Any] = []  # dictionaries and lists that have not ended, the outer ones first
        self._keys: list[Any] = []  # for each, the key whose value comes next; a list has none

    def take(self, event: yaml.Event) -> None:
        """Build what an event says; raises ValueError."""
        if isinstance(event, yaml.ScalarEvent):
            self._texts += 1
            if self._texts > MOST_TEXTS:
                raise ValueError(f"it holds more than {MOST_TEXTS} names and values: not a configuration of ours")
            self._add(self._value(event))
        elif isinstance(event, yaml.CollectionStartEvent):
            self.is_odd |= event.tag is not None
            self._begin({} if isinstance(event, yaml.MappingStartEvent) else [])
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise ValueError("it uses YAML aliases, which a configuration of ours never does")
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            self.is_odd |= self._documents > 1

    def _value(self, event: yaml.ScalarEvent) -> Any:
        if event.implicit[1] and event.tag is None:  # in quotes
            return event.value
        tag, value = _plain_value(event.value) if len(event.value) < 100 else _plain_value.__wrapped__(event.value)
        self.is_odd |= event.tag is not None or tag not in TAGS
        return value

    def _begin(self, container: Any) -> None:
        if len(self._open) == DEEPEST:
            raise ValueError(TOO_DEEP)
        self._add(container)
        self._open.append(container)
        self._keys.append(NO_KEY)

    def _add(self, value: Any) -> None:
        if not self._open:
            self.content = value
        elif isinstance(self._open[-1], list):
            self._open[-1].append(value)
        elif self._keys[-1] is NO_KEY:
            self._keys[-1] = value
        else:
            self._open[-1][self._keys[-1]] = value
            self._keys[-1] = NO_KEY


@lru_cache(maxsize=10_000)
def _plain_value(text: str) -> tuple[str, Any]:
    """The tag and value of a text without quotes. Configurations hold the same few over and over."""
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    return tag, loader.construct_object(yaml.ScalarNode(tag, text)) if tag in TAGS else None


def check_complete(plain: dict[str, Any], path: Path) -> None:
    """Require every setting of today's schema; raises `SettingError` naming a missing one and what to do."""
    schema = typed(plain)
    needed = setting_names(as_plain(schema))
    present = flatten(plain)
    for name in needed:
        groups = name.split(".")[:-1]
        outer = next((key for n in range(len(groups)) if (key := ".".join(groups[: n + 1])) in present), None)
        if outer is not None:
            value = str(present[outer])[:60]
            raise SettingError(f"{path}: {outer}={value!r} is not usable: it must hold settings, as {name}")
        is_there = name in present or any(key.startswith(f"{name}.") for key in present)
        if not is_there:
            foreign = (of_other_choices(key, schema) for key in present)  # of the choice whose place this one took
            if complaint := next(filter(None, foreign), None):
                raise SettingError(f"{path}: {complaint}")
            raise SettingError(f"{path} has no {name}, which this version needs; give it: {name}=VALUE")


def complete_config(plain: dict[str, Any], path: Path) -> Config:
    """The configuration that plain data is, in full, checked; raises `SettingError` naming the file it is from."""
    try:
        check_complete(plain, path)
        return from_dict(plain)
    except SettingError as error:
        message = str(error)
        raise SettingError(message if message.startswith(str(path)) else f"{path}: {message}") from error


def load_config(path: Path) -> Config:
    """The saved configuration, checked against today's schema; raises `SettingError`.

    The file of tasks that it names is not opened; what its run remembers of it comes along.
    """
    config = complete_config(load_plain_config(path), path)
    if config.task.reader is not None:
        config.remember(load_facts(path.parent.parent))
    return config


def load_facts(run: Path) -> dict[str, Any] | None:
    """What a run's folder remembers of the data that its tasks come from; None where it has none."""
    try:
        facts = door.read_json(run / DATA_FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingError(f"{run / DATA_FILE} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise SettingError(f"{run / DATA_FILE} is not one of ours")
    return facts
