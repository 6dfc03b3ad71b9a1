"""Overrides as people type them, key=value: the one place that takes them apart, by Hydra's own grammar."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.errors import HydraException

from maml_exp.core.checks import SettingError

EXAMPLE = "a setting such as inner.lr=0.02"
WORD = r"[^\W\d][\w.-]*"  # a text that needs no quotes
NO_WORDS = ("true", "false", "null", "inf", "nan")


class Override(NamedTuple):
    """One override, taken apart."""

    text: str
    key: str  # dotted setting, or a group such as model, without + ~ and package
    parsed: HydraOverride

    @property
    def sweeps(self) -> bool:
        """Whether it stands for several values."""
        return self.parsed.is_sweep_override()

    @property
    def is_plain(self) -> bool:
        """Whether it gives one value to a setting that is there: no + ~ and no package."""
        return self.text.startswith(self.key) and not self.sweeps and self.parsed.package is None

    @property
    def value(self) -> Any:
        """The value; raises `SettingError` for one that is deleted or swept."""
        if self.sweeps or self.parsed.is_delete() or self.parsed.package is not None:
            raise SettingError(f"{self.text} is not usable here: give one value, as in inner.lr=0.02")
        return self.parsed.value()


def parse(text: str) -> Override:
    """One override; raises `SettingError`."""
    try:
        parsed = OverridesParser.create().parse_override(text)
    except (HydraException, RecursionError) as error:  # the latter from nesting that only a stranger's plan has
        raise SettingError(f"{_cut(text)} is not {EXAMPLE}") from error
    if not parsed.key_or_group:
        raise SettingError(f"{_cut(text)} is not {EXAMPLE}")
    return Override(text, parsed.key_or_group, parsed)


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def parse_all(texts: Iterable[str]) -> list[Override]:
    """Several overrides; raises `SettingError`."""
    return [parse(text) for text in texts]


def keys_of(texts: Iterable[str]) -> set[str]:
    """The keys of overrides that may be damaged: what cannot be taken apart has no key."""
    found = set()
    for text in texts:
        try:
            found.add(parse(text).key)
        except SettingError:
            continue
    return found


def gives(texts: Iterable[str], key: str) -> bool:
    """Whether the user gave this key."""
    return key in keys_of(texts)


def split_sweep(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of every job of a sweep; empty where another sweeper than Hydra's basic one decides."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    try:
        return [list(job) for job in BasicSweeper.split_arguments([o.parsed for o in overrides], None)[0]]
    except HydraException:  # intervals
        return []


def in_quotes(text: str) -> str:
    """A text in the quotes of the grammar, in which backslashes are themselves but before a quote."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text) + "'"


def as_text(value: Any) -> str:
    """A value in the grammar."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(map(as_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return value if re.fullmatch(WORD, value) and value.lower() not in NO_WORDS else in_quotes(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
