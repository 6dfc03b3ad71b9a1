"""Configurations that were saved, perhaps by a stranger: data only, checked before it is used.

Nothing named in a file is instantiated, no interpolation is resolved, and no path in a file decides where anything
is written. What an older version saved is brought up to today's schema first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from maml_exp.config.migrations import migrated
from maml_exp.config.plain import as_plain, flatten, leaves
from maml_exp.config.schema import Config, from_dict, setting_names, typed
from maml_exp.core.checks import SettingError
from maml_exp.data import door

LARGEST_CONFIG = 100_000  # bytes; ours have a thousand
MOST_TEXTS = 2000  # names and values; ours have some hundred
DEEPEST = 8  # levels of nesting; ours have three
TOO_DEEP = "nested too deeply to be a configuration of ours"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times faster


def load_plain_config(path: Path) -> dict[str, Any]:
    """The saved configuration, in today's schema, as plain data; raises `SettingError` for what we never save."""
    plain = _read(path)
    _refuse_strange_values(plain, path)
    return migrated(plain)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = door.read_bytes(path, LARGEST_CONFIG, own_folder=True).decode()
        _check_shape(text)
        plain = yaml.load(text, Loader=LOADER)
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


def _check_shape(text: str) -> None:
    """Refuse what could exhaust the loader: deep nesting (it recurses), and aliases (small files grow without end)."""
    depth = texts = 0
    try:
        for event in yaml.parse(text, Loader=LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            texts += isinstance(event, yaml.ScalarEvent)
            if depth > DEEPEST:
                raise ValueError(TOO_DEEP)
            if texts > MOST_TEXTS:
                raise ValueError(f"it holds more than {MOST_TEXTS} names and values: not a configuration of ours")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it uses YAML aliases, which a configuration of ours never does")
    except yaml.YAMLError as error:
        deep = "maximum nesting depth" in str(error)  # newer libyaml's own limit
        raise ValueError(TOO_DEEP if deep else str(error)) from error


def check_complete(plain: dict[str, Any], path: Path) -> None:
    """Require every setting of today's schema; raises `SettingError` naming a missing one and what to do."""
    needed = setting_names(as_plain(typed(plain)))
    present = flatten(plain)
    for name in needed:
        groups = name.split(".")[:-1]
        outer = next((key for n in range(len(groups)) if (key := ".".join(groups[: n + 1])) in present), None)
        if outer is not None:
            value = str(present[outer])[:60]
            raise SettingError(f"{path}: {outer}={value!r} is not usable: it must hold settings, as {name}")
        is_there = name in present or any(key.startswith(f"{name}.") for key in present)
        if not is_there:
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
    """The saved configuration, checked against today's schema; raises `SettingError`."""
    return complete_config(load_plain_config(path), path)
