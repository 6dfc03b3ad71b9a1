"""Overrides as people type them, key=value: the one place that takes them apart, by Hydra's own grammar."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from maml_exp.core.checks import SettingError

if TYPE_CHECKING:  # slow to import, and a value's text needs none of it
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override as HydraOverride

LARGEST_SWEEP = 100_000  # jobs; a slip of the pen makes more
EXAMPLE = "a setting such as inner.lr=0.02"
LONGEST_SHOWN = 200
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
        return self.parsed.value()  # anew every time: a list is the caller's to change


@lru_cache(maxsize=1024)  # a command asks several times for each of its own
def parse(text: str) -> Override:
    """One override; raises `SettingError`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(text)
    except (HydraException, RecursionError) as error:  # the latter from nesting that only a stranger's plan has
        raise SettingError(f"{_cut(text)} is not {EXAMPLE}{_quotes_needed(text)}") from error
    if not parsed.key_or_group:
        raise SettingError(f"{_cut(text)} is not {EXAMPLE}")
    return Override(text, parsed.key_or_group, parsed)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _quotes_needed(text: str) -> str:
    """What to say where a value can be read if it stands in the grammar's own quotes, as letters beyond ASCII must."""
    key, separator, value = text.partition("=")
    quoted = f"{key}={in_quotes(value)}"
    if len(text) > LONGEST_SHOWN:
        return ""
    if value[:1] == "[" and value[-1:] != "]":
        return f"; did you mean {_for_the_shell(f'{text}]')}?" if _is_readable(f"{text}]") else ""
    items = [item.strip() for item in value[1:-1].split(",")]
    if value[:1] == "[" and value.isprintable() and all(items):
        each = f"{key}=[{','.join(map(in_quotes, items))}]"
        return f"; quote each, for the shell and for us: {_for_the_shell(each)}" if _is_readable(each) else ""
    if not separator or not value.isprintable() or value[:1] in tuple("=[{'\"") or not _is_readable(quoted):
        return ""
    return f"; quote the value, for the shell and for us: {_for_the_shell(quoted)}"


def _for_the_shell(text: str) -> str:
    """A text in quotes of the shell, double ones where single ones are in it and nothing else is special."""
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)


def _is_readable(text: str) -> bool:
    try:
        parse(text)
    except (SettingError, RecursionError):
        return False
    return True


def parse_all(texts: Iterable[str]) -> list[Override]:
    """Several overrides; raises `SettingError`."""
    words = list(texts)
    found = []
    for number, word in enumerate(words):
        try:
            found.append(parse(word))
        except SettingError as error:
            raise SettingError(_split_by_the_shell(words, number) or str(error)) from error
    return found


def _split_by_the_shell(words: Sequence[str], number: int) -> str | None:
    """What to say where a word is a part of a value with a space in it, as [1, 3]; None if that is not the trouble."""
    for first in (number, number - 1):
        if first < 0 or "=" not in words[first]:
            continue
        rest = list(takewhile(lambda word: "=" not in word, words[first + 1 :]))
        for count in range(1, len(rest) + 1):
            text = " ".join([words[first], *rest[:count]])
            if _is_readable(text):
                return f"the shell splits at spaces: quote it, as in {shlex.quote(text)}"
    return None


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


def split_sweep(overrides: Sequence[Override], loader: ConfigLoader | None = None) -> list[list[str]]:
    """The overrides of every job of Hydra's basic sweeper; raises `SettingError` where that makes no job of them.

    The loader knows a group's options, which glob(*) stands for.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = [replace(override.parsed, config_loader=loader) for override in overrides]
    jobs = 1
    for override, one in zip(overrides, parsed, strict=True):
        if override.sweeps:
            jobs *= _number_of_values(override.text, one)
    if jobs > LARGEST_SWEEP:
        raise SettingError(f"this sweep has more than {LARGEST_SWEEP} jobs, which is not usable: give fewer values")
    return [list(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


def _number_of_values(text: str, parsed: HydraOverride) -> int:
    """How many values a sweep stands for, or one more than a sweep may have jobs."""
    from hydra.errors import HydraException

    if not parsed.is_discrete_sweep():
        raise SettingError(
            f"{text} is not usable: a sweep takes values, as in seed=1,2 or seed=range(0,4); "
            "for a search between bounds add hydra/sweeper=optuna"
        )
    try:
        number = sum(1 for _ in islice(parsed.sweep_string_iterator(), LARGEST_SWEEP + 1))
    except (HydraException, ValueError) as error:  # a range with a step of 0
        raise SettingError(f"{text} is not usable: {error}") from error
    if number == 0:
        raise SettingError(f"{text} is not usable: it stands for no value, so there is nothing to run")
    return number


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
