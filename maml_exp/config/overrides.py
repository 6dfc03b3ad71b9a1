"""Overrides as people type them, key=value: the one place that takes them apart, by Hydra's own grammar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.errors import HydraException

from maml_exp.core.checks import SettingError

LARGEST_SWEEP = 100_000  # jobs; a slip of the pen makes more
EXAMPLE = "a setting such as inner.lr=0.02"


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
    except HydraException as error:
        raise SettingError(f"{text} is not {EXAMPLE}") from error
    if not parsed.key_or_group:
        raise SettingError(f"{text} is not {EXAMPLE}")
    return Override(text, parsed.key_or_group, parsed)


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
    """The overrides of every job of Hydra's basic sweeper; raises `SettingError` where that makes no job of them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = [override.parsed for override in overrides]
    jobs = 1
    if GlobalHydra.instance().is_initialized():  # glob(*) asks it for a group's options
        loader = GlobalHydra.instance().config_loader()
        parsed = [replace(one, config_loader=loader) for one in parsed]
    for override, one in zip(overrides, parsed, strict=True):
        if override.sweeps:
            jobs *= _number_of_values(override.text, one)
    if jobs > LARGEST_SWEEP:
        raise SettingError(f"this sweep has more than {LARGEST_SWEEP} jobs, which is not usable: give fewer values")
    return [list(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


def _number_of_values(text: str, parsed: HydraOverride) -> int:
    """How many values a sweep stands for, or one more than a sweep may have jobs."""
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
    """A text in the quotes of the grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def as_text(value: Any) -> str:
    """A value in the grammar."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(map(as_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_text(inner)}" for key, inner in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
