"""The reference of settings, made from the fields that declare them: what `maml-exp settings` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from maml_exp.config.choices import CHOICES, settings_class
from maml_exp.config.overrides import as_text
from maml_exp.config.schema import Config, EvaluationSettings, TrainingSettings
from maml_exp.config.usual import conf_dir, usual_settings
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.network import ModelSettings


class Entry(NamedTuple):
    """One setting."""

    key: str
    default: str
    unit: str
    allowed: str
    help: str


class Section(NamedTuple):
    """The settings of one dataclass."""

    title: str
    about: str
    entries: list[Entry]


FIXED = (Config, ModelSettings, InnerSettings, TrainingSettings, EvaluationSettings)


def sections() -> list[Section]:
    """All of them: the groups that are always there, then every choice of the others."""
    usual = usual_settings()
    found = [_section(kind.section or "(no group)", kind, usual) for kind in FIXED]
    for group, choice in CHOICES.items():
        for name in choice.registry.names():
            has_option = (conf_dir() / group / f"{name}.yaml").is_file()  # which may say otherwise than the class
            usual = usual_settings((group, name)) if has_option else {}
            found.append(_section(f"{group} with {group}.{choice.key}={name}", settings_class(group, name), usual))
    return found


def _section(title: str, kind: Any, usual: Mapping[str, Any]) -> Section:
    about = " ".join((kind.__doc__ or "").split())
    return Section(title, about, list(_entries(kind, kind.section, usual)))


def _entries(kind: Any, prefix: str, usual: Mapping[str, Any]) -> Iterator[Entry]:
    for field in dataclasses.fields(kind):
        key = f"{prefix}.{field.name}" if prefix else field.name
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        if dataclasses.is_dataclass(default):
            if prefix:  # one inside a group; those of a whole configuration have sections of their own
                yield from _entries(type(default), key, usual)
        elif "check" in field.metadata:
            about = field.metadata
            yield Entry(key, as_text(usual.get(key, default)), about["unit"], about["check"].allowed(), about["help"])
