"""OmegaConf's complaints in one line for people: the key, the value and what is allowed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from maml_exp.config.choices import CHOICES, settings_class
from maml_exp.config.plain import as_plain, flatten
from maml_exp.core.checks import SettingError

# what a value must be, by the annotation of its field as it stands in the source
EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "int | None": "an integer or null",
    "float | None": "a number or null",
    "str | None": "a text or null",
    "list[int]": "a list of integers, as in [40,40]",
    "list[str]": "a list of names, as in [year]",
    "list[float]": "a list of two numbers, as in [0.1,5]",
}
FORMER = {"algorithm.name": "choose a method with algorithm=fomaml, or change what it does, as with algorithm.outer"}
NOT_ABOUT_TYPES = (InterpolationKeyError, InterpolationResolutionError, MissingMandatoryValue)


def explain(error: OmegaConfBaseException, config: DictConfig | None = None, typed: Iterable[str] = ()) -> str:
    """The complaint, about a configuration whose typed nodes say what a setting may be, with these keys typed."""
    key = re.sub(r"\[\d+\]$", "", getattr(error, "full_key", None) or "")
    reason = str(getattr(error, "msg", None) or error).splitlines()[0]
    if isinstance(error, (ConfigKeyError, ConfigAttributeError)):
        key = next((name for name in typed if name.startswith(f"{key}.")), key)  # innner.lr, not innner alone
        return of_other_choices(key, config) or f"{key} is not a setting{suggestion(key, known_names(config))}"
    expected = None if isinstance(error, NOT_ABOUT_TYPES) else _expected(config, key)
    if expected:
        value = "" if getattr(error, "value", None) is None else f"={error.value!r}"
        return f"{key}{value[:80]} is not usable: it must be {expected}"
    return f"{key or 'the configuration'}: {reason[:200]}"


def of_other_choices(key: str, config: DictConfig | None) -> str | None:
    """What to say of a setting that other choices of its group have, as momentum, sgd's; None if none has it."""
    group, _, name = key.partition(".")
    chosen = OmegaConf.select(config, group) if config is not None and group in CHOICES else None
    if not isinstance(chosen, DictConfig):
        return None
    choice = CHOICES[group]
    current, owners = chosen.get(choice.key), [o for o in choice.registry.names() if name in _field_names(group, o)]
    if not owners or current in owners:
        return None
    # by its name alone a choice is laid over the settings of the one before; an option brings its own
    options = " or ".join(f"{group}={option}" for option in [*owners[:3], current])
    instead = options if choice.key == "name" else f"{group}=... with a preset of {' or '.join(owners[:3])}"
    return f"{key} is a setting of {', '.join(owners[:3])}, not of {current}; choose it with {instead}"


def _field_names(group: str, choice: str) -> set[str]:
    try:
        return {field.name for field in dataclasses.fields(settings_class(group, choice))}
    except (SettingError, TypeError):  # somebody's own that is not complete
        return set()


def _expected(config: DictConfig | None, key: str) -> str | None:
    """What a setting must be: the words of its check, or where somebody's own has none, for its type."""
    group, _, name = key.rpartition(".")
    node = OmegaConf.select(config, group) if config is not None and group else config
    kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    fields = {f.name: f for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    field = fields.get(name)
    if field is None:
        return None
    if "check" in field.metadata:
        return field.metadata["check"].allowed()
    return EXPECTED.get(str(field.type))


def known_names(config: DictConfig | None) -> list[str]:
    """All settings of a composed configuration, dotted; Hydra's own and the version of the schema are none."""
    if config is None:
        return []
    return [key for key in flatten(as_plain(config)) if key != "schema" and not key.startswith("hydra.")]


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    from difflib import get_close_matches

    close: list[Any] = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return close[0] if close else None


def suggestion(key: str, known: list[str]) -> str:
    """'; did you mean ...?' with the closest setting, or where to look them up."""
    if key in FORMER:
        return f"; {FORMER[key]}"
    groups = {name.partition(".")[0] for name in known if "." in name}
    if "." not in key and (group := closest(key, groups)):
        return f"; did you mean {group}=..., or {next(name for name in known if name.startswith(f'{group}.'))}=...?"
    by_end = {name.split(".")[-1]: name for name in reversed(known)}
    end = closest(key.split(".")[-1], by_end)  # the right name in the wrong group, perhaps
    found = closest(key, known) or (by_end[end] if end else None)
    return f"; did you mean {found}?" if found else "; `maml-exp settings` shows all of them"
