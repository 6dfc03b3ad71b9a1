"""The one error type for a value a person gave us that we cannot use."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real
from typing import Any


class SettingError(ValueError):
    """A setting outside what is allowed; the message names key, value and the allowed range."""


def require(ok: bool, key: str, value: Any, allowed: str) -> None:
    """Raise `SettingError` naming `key`, `value` and what is `allowed`, unless `ok`."""
    if not ok:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise SettingError(f"{key}={shown} is not usable: it must be {allowed}")


def is_number(value: Any, above: float = float("-inf")) -> bool:
    """Whether `value` is a finite real number greater than `above` (booleans are not numbers)."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value) and value > above
    except OverflowError:  # an integer beyond every float
        return False


def is_integer(value: Any, low: int, high: int) -> bool:
    """Whether `value` is an integer with low <= value <= high (booleans are not integers)."""
    return isinstance(value, Integral) and not isinstance(value, bool) and low <= value <= high


def require_number(key: str, value: Any, above: float = 0.0) -> None:
    """Require a finite number greater than `above`."""
    require(is_number(value, above), key, value, f"a finite number > {above:g}")


def require_integer(key: str, value: Any, low: int, high: int) -> None:
    """Require an integer from `low` to `high`, both included."""
    require(is_integer(value, low, high), key, value, f"an integer from {low} to {high}")


def require_name(key: str, value: Any, names: Any) -> None:
    """Require one of `names` (a registry's keys)."""
    require(isinstance(value, str) and value in names, key, value, "one of " + ", ".join(sorted(names)))


def require_fraction(key: str, value: Any) -> None:
    """Require 0 <= value < 1."""
    require(is_number(value) and 0 <= value < 1, key, value, "a number with 0 <= value < 1")


def require_range(key: str, value: Any, strict: bool = False) -> None:
    """Require [low, high], two finite numbers with low <= high (low < high if `strict`)."""
    ok = isinstance(value, (list, tuple)) and len(value) == 2 and all(is_number(v) for v in value)
    ok = ok and (value[0] < value[1] or (value[0] == value[1] and not strict)) and is_number(value[1] - value[0])
    require(ok, key, value, f"[low, high], two finite numbers with low {'<' if strict else '<='} high")
