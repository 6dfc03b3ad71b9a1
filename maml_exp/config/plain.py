"""Nested plain data, as YAML and JSON hold it, seen as one flat table of dotted keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from omegaconf import DictConfig


def as_plain(node: DictConfig, *, resolve: bool = False, complete: bool = False) -> dict[str, Any]:
    """A composed configuration as nested dictionaries: interpolations as written, or resolved; missing values refused
    if it must be `complete`. Raises OmegaConf's errors."""
    from omegaconf import OmegaConf  # slow to import, and plain data needs none of it

    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=resolve, throw_on_missing=complete))


def flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys; lists are values, but for lists of dictionaries."""
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {key: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= flatten(inner, f"{key}.{name}" if key else str(name))
    return flat


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every (dotted key, value) that is not itself a dictionary or list; items of a list share its key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key)
    else:
        yield key, value


def put(plain: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; raises ValueError, naming it, where a part of the key is not a group of settings."""
    *groups, name = key.split(".")
    place = plain
    for group in groups:
        place = place.setdefault(group, {})
        if not isinstance(place, dict):
            raise ValueError(f"{group} is not a group of settings")
    place[name] = value


def setting_names(plain: dict[str, Any]) -> list[str]:
    """All settings of a configuration, dotted; the version of its schema is none."""
    return [key for key in flatten(plain) if key != "schema"]
