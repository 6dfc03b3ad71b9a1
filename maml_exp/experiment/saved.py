"""Runs that were saved, perhaps by a stranger: data only, checked before it is used.

No pickle is read, nothing named in a file is instantiated, no interpolation is resolved, and no path in
a file decides where anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from maml_exp.core.errors import SettingError
from maml_exp.experiment import checkpoint as checkpoints
from maml_exp.experiment.checkpoint import Checkpoint, CheckpointError
from maml_exp.experiment.config import Config, from_dict, setting_names
from maml_exp.experiment.console import log
from maml_exp.experiment.folder import RunFolder

LARGEST_CONFIG = 100_000  # bytes; ours have a thousand
DEEPEST = 8  # levels of nesting; ours have three
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times faster


def open_run(path: Path | str) -> RunFolder:
    """The run in a folder; raises `SettingError` where there is none."""
    folder = RunFolder(path)
    if not folder.path.is_dir():
        raise SettingError(f"{path} is not a folder")
    if not folder.config.is_file():
        raise SettingError(f"{path} is not a run: it has no .hydra/config.yaml")
    return folder


def load_plain_config(folder: RunFolder) -> dict[str, Any]:
    """The saved configuration as plain data; raises `SettingError` if it is not of the kind we save."""
    path = folder.config
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise SettingError(f"{path} is larger than {LARGEST_CONFIG} bytes: not a configuration of ours")
        text = path.read_text(encoding="utf-8")
        _check_shape(text)
        plain = yaml.load(text, Loader=LOADER)
    except SettingError:
        raise
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise SettingError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(plain, dict):
        raise SettingError(f"{path} is not a configuration: it holds no settings")
    for key, value in _leaves(plain):
        for text in (key, value):
            if isinstance(text, str) and "${" in text:
                raise SettingError(f"{path}: {key} holds '{text[:60]}'; saved configurations hold no interpolations")
        if "_target_" in key:
            raise SettingError(f"{path}: {key} is refused; a configuration of ours never names code")
    return plain


def _check_shape(text: str) -> None:
    """Refuse what could exhaust the loader: deep nesting (it recurses), and aliases (small files grow without end)."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deeply to be a configuration of ours")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it uses YAML aliases, which a configuration of ours never does")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every (dotted key, value) that is not itself a dictionary or list."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value


def check_complete(plain: dict[str, Any], path: Path) -> None:
    """Require every setting of today's schema; raises `SettingError` naming a missing one and what to do."""
    for name in setting_names():
        group, _, key = name.rpartition(".")
        part = plain.get(group, {}) if group else plain
        if isinstance(part, dict) and key not in part:
            raise SettingError(f"{path} has no {name}, which this version needs; give it: {name}=VALUE")


def load_config(folder: RunFolder) -> Config:
    """The saved configuration, checked against today's schema; raises `SettingError`."""
    plain = load_plain_config(folder)
    check_complete(plain, folder.config)
    try:
        return from_dict(plain)
    except SettingError as error:
        raise SettingError(f"{folder.config}: {error}") from error


def newest_checkpoint(folder: RunFolder, config: Config) -> Checkpoint | None:
    """The newest checkpoint that is whole and of this configuration; each one passed over is named in a warning."""
    for path in checkpoints.listed(folder.checkpoints):
        try:
            point = checkpoints.load(path)
            if point.config != config.to_dict():
                raise CheckpointError(f"{path} belongs to another configuration")
            if point.state.step != checkpoints.step_of(path):
                raise CheckpointError(f"{path} holds step {point.state.step}")
            expected = config.problem.network.parameter_count
            if point.state.theta.shape != (expected,) or point.state.theta.dtype != config.dtype:
                raise CheckpointError(f"{path} does not hold {expected} parameters of {config.dtype}")
            return point
        except CheckpointError as error:
            log.warning("%s; it is passed over", error)
    return None
