"""What a value that a person gave us must be: the one error type, and settings that declare their own bounds.

A setting is a dataclass field made by `setting(default, help, check)`: its type, default, unit, bounds and line of
help stand in one place, and the reference of settings, `--help` and every complaint are made from it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from math import isfinite
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple


class SettingError(ValueError):
    """A setting outside what is allowed; the message names key, value and the allowed range."""


def require(ok: bool, key: str, value: Any, allowed: str) -> None:
    """Raise `SettingError` naming `key`, `value` and what is `allowed`, unless `ok`."""
    if not ok:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise SettingError(f"{key}={shown} is not usable: it must be {allowed}")


class Check(NamedTuple):
    """Whether a value is allowed, and the words for what is."""

    accepts: Callable[[Any], bool]
    allowed: Callable[[], str]  # asked for only when it is shown: a list of names may need a look at a folder

    def require(self, key: str, value: Any) -> None:
        """Raise `SettingError` unless the value is allowed."""
        if not self.accepts(value):
            require(False, key, value, self.allowed())


def is_number(value: Any, above: float = float("-inf")) -> bool:
    """Whether `value` is a finite real number greater than `above` (booleans are not numbers)."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value) and float(value) > above
    except OverflowError:  # an integer beyond every float
        return False


def is_integer(value: Any, low: int, high: int) -> bool:
    """Whether `value` is an integer with low <= value <= high (booleans are not integers)."""
    return isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high


def integer(low: int, high: int) -> Check:
    """An integer from `low` to `high`, both included."""
    return Check(lambda value: is_integer(value, low, high), lambda: f"an integer from {low} to {high}")


def integers(low: int, high: int) -> Check:
    """One integer from `low` to `high`, or a list of different ones."""

    def accepts(value: Any) -> bool:
        several = value if isinstance(value, list) else [value]
        allowed = bool(several) and all(is_integer(one, low, high) for one in several)
        return allowed and len(set(several)) == len(several)

    words = f"an integer from {low} to {high}, or a list of different integers from {low} to {high}, as in [5,10,20]"
    return Check(accepts, lambda: words)


def number(above: float = 0.0) -> Check:
    """A finite number greater than `above`."""
    return Check(lambda value: is_number(value, above), lambda: f"a finite number > {above:g}")


def not_negative() -> Check:
    """A finite number that is 0 or more."""
    return Check(lambda value: is_number(value) and value >= 0, lambda: "a finite number >= 0")


def up_to(most: float) -> Check:
    """A number from 0 to `most`, both included."""
    return Check(lambda value: is_number(value) and 0 <= value <= most, lambda: f"a number from 0 to {most:g}")


def fraction() -> Check:
    """A number from 0 to below 1."""
    return Check(lambda value: is_number(value) and 0 <= value < 1, lambda: "a number with 0 <= value < 1")


def boolean() -> Check:
    """True or false."""
    return Check(lambda value: isinstance(value, bool), lambda: "true or false")


def one_of(names: Callable[[], Iterable[str]]) -> Check:
    """One of the names that `names()` gives."""
    return Check(
        lambda value: isinstance(value, str) and value in names(), lambda: "one of " + ", ".join(sorted(names()))
    )


def one_of_or(words: tuple[str, ...], check: Check) -> Check:
    """One of a few words, or what `check` allows."""
    return Check(
        lambda value: (isinstance(value, str) and value in words) or check.accepts(value),
        lambda: ", ".join([*words, check.allowed()]),
    )


def interval(strict: bool = False) -> Check:
    """[low, high], two finite numbers with low <= high (low < high if `strict`)."""
    relation = "<" if strict else "<="

    def accepts(value: Any) -> bool:
        if not (isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_number, value))):
            return False
        low, high = value
        ordered = low < high or (low == high and not strict)
        return ordered and is_number(high - low)  # their difference is a float, too

    return Check(accepts, lambda: f"[low, high], two finite numbers with low {relation} high")


def optional(check: Check, null: str = "null") -> Check:
    """What `check` allows, or null, of which `null` says what it means."""
    return Check(lambda value: value is None or check.accepts(value), lambda: f"{check.allowed()}, or {null}")


def setting(default: Any, help: str, check: Check, unit: str = "") -> Any:
    """A dataclass field with its line of help, its unit and what it must be."""
    metadata = {"help": help, "check": check, "unit": unit}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Settings:
    """Base of dataclasses of settings: each field is checked when an object is made; raises `SettingError`."""

    section: ClassVar[str] = ""  # the key they stand under in a configuration

    def __post_init__(self) -> None:
        for key, field in declared(self).items():
            field.metadata["check"].require(key, getattr(self, field.name))


def declared(settings: Any) -> dict[str, dataclasses.Field]:
    """The fields of a settings class or object that `setting` made, by their dotted keys."""
    prefix = f"{settings.section}." if settings.section else ""
    return {prefix + f.name: f for f in dataclasses.fields(settings) if "check" in f.metadata}
