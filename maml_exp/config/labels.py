"""What a run is called: its method, by its preset and by what was changed of that."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import yaml

from maml_exp.config.choices import settings_class
from maml_exp.config.overrides import as_text
from maml_exp.config.plain import flatten
from maml_exp.config.usual import LOADER, conf_dir

LABELS = ("learner", "preset")  # settings that name and do nothing


def method_label(algorithm: Any) -> str:
    """The method of a learner's settings: the preset, and what differs from it, as in "maml outer=joint"."""
    own = flatten(dataclasses.asdict(algorithm))
    return label_of(own)


def label_of(algorithm: dict[str, Any]) -> str:
    """The same, of settings that may be older or a stranger's: dotted, without the group's name."""
    learner, preset = algorithm.get("learner"), algorithm.get("preset")
    preset = preset if isinstance(preset, str) and preset.isidentifier() else None
    usual = _usual(str(learner), preset)
    if usual is None:
        return str(preset or learner)
    changed = [f"{key}={as_text(value)}" for key, value in algorithm.items() if _is_changed(key, value, usual)]
    return " ".join([str(preset or learner), *changed])


def _is_changed(key: str, value: Any, usual: dict[str, Any]) -> bool:
    return key not in LABELS and key in usual and value != usual[key]


@cache
def _usual(learner: str, preset: str | None) -> dict[str, Any] | None:
    """The settings of a preset's file, or without one a learner's defaults; None where that cannot be told."""
    try:
        usual = flatten(dataclasses.asdict(settings_class("algorithm", learner)()))
    except (ValueError, TypeError):  # a learner that is not here, or one with settings that have no default
        return None
    path = conf_dir() / "algorithm" / f"{preset}.yaml"
    if preset is None or not path.is_file():
        return usual
    written = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER) or {}
    part = written.get("algorithm", written)  # a preset that reaches into other groups has its own one inside
    return usual | flatten({key: value for key, value in part.items() if key != "defaults"})


def described(config: Any, network: str, inner: str) -> str:
    """A run in a line: method, its learner's words for the network and the inner loop, iterations."""
    several = config.task.all_shots if len(config.task.all_shots) > 1 else []
    shots = f"K drawn from {several}" if several else ""
    parts = [method_label(config.algorithm), network, inner, shots]
    return ", ".join([part for part in parts if part] + [f"{config.training.iterations} iterations"])
