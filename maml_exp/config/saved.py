"""Runs that were saved, perhaps by a stranger: data only, checked before it is used.

No pickle is read, nothing named in a file is instantiated, no interpolation is resolved, and no path in
a file decides where anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from maml_exp.config.schema import Config, from_dict, is_logged, setting_names
from maml_exp.core.checks import SettingError
from maml_exp.core.optimizers.updates import OPTIMIZERS
from maml_exp.run.metrics_log import read_rows
from maml_exp.run.progress import log
from maml_exp.store import checkpoints
from maml_exp.store.checkpoints import Checkpoint, CheckpointError
from maml_exp.store.run_folder import RunFolder

LARGEST_CONFIG = 100_000  # bytes; ours have a thousand
DEEPEST = 8  # levels of nesting; ours have three
TOO_DEEP = "nested too deeply to be a configuration of ours"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times faster


def open_run(path: Path | str) -> RunFolder:
    """The run in a folder; raises `SettingError` where there is none."""
    folder = RunFolder(path)
    if not folder.path.is_dir():
        raise SettingError(f"{path} is not a folder")
    if not folder.config.is_file():
        raise SettingError(f"{path} is not a run: it has no .hydra/config.yaml")
    for (
        written
    ) in folder.written:  # a link in a stranger's folder must not decide where we write, nor a pipe hold us up
        if written.is_symlink() or (written.exists() and not (written.is_file() or written.is_dir())):
            raise SettingError(f"{written} is a link or a device; a run's files and folders are its own")
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
        if value == "???":
            raise SettingError(f"{path}: {key} has no value; give it one: {key}=VALUE")
        if "_target_" in key:
            raise SettingError(f"{path}: {key} is refused; a configuration of ours never names code")
    return plain


def _check_shape(text: str) -> None:
    """Refuse what could exhaust the loader: deep nesting (it recurses), and aliases (small files grow without end)."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(TOO_DEEP)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it uses YAML aliases, which a configuration of ours never does")
    except yaml.YAMLError as error:
        deep = "maximum nesting depth" in str(error)  # newer libyaml's own limit
        raise ValueError(TOO_DEEP if deep else str(error)) from error


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
        if not isinstance(part, dict):
            raise SettingError(f"{path}: {group}={str(part)[:60]!r} is not usable: it must hold settings, as {name}")
        if key not in part:
            raise SettingError(f"{path} has no {name}, which this version needs; give it: {name}=VALUE")


def load_config(folder: RunFolder) -> Config:
    """The saved configuration, checked against today's schema; raises `SettingError`."""
    plain = load_plain_config(folder)
    check_complete(plain, folder.config)
    try:
        return from_dict(plain)
    except SettingError as error:
        raise SettingError(f"{folder.config}: {error}") from error


def newest_checkpoint(folder: RunFolder, config: Config, to_resume: bool = False) -> Checkpoint | None:
    """The newest checkpoint that is whole and of this configuration; each one passed over is named in a warning.

    One `to_resume` from also needs every row of metrics.csv up to its step: they are not made again.
    """
    logged = {row["step"] for row in read_rows(folder.metrics)} if to_resume else set()
    for path in checkpoints.listed(folder.checkpoints):
        try:
            point = checkpoints.load(path)
            _check_fit(point, path, config)
            if to_resume and not logged.issuperset(_rows_before(point.state.step, config)):
                raise CheckpointError(f"{folder.metrics} lacks rows that were logged before {path.name}")
            return point
        except CheckpointError as error:
            log.warning("%s; it is passed over", error)
    return None


def _check_fit(point: Checkpoint, path: Path, config: Config) -> None:
    """Require a checkpoint of this configuration and of the step that its name says."""
    if point.config != config.to_dict():
        raise CheckpointError(f"{path} belongs to another configuration")
    if point.state.step != checkpoints.step_of(path):
        raise CheckpointError(f"{path} holds step {point.state.step}")
    theta, moments = point.state.theta, point.state.optimizer.moments
    expected = config.problem.network.parameter_count
    if theta.shape != (expected,) or theta.dtype != config.dtype:
        raise CheckpointError(f"{path} does not hold {expected} parameters of {config.dtype}")
    if len(moments) != len(OPTIMIZERS[config.optimizer.name].init(theta).moments):
        raise CheckpointError(f"{path} does not hold the moments of {config.optimizer.name}")


def _rows_before(step: int, config: Config) -> set[int]:
    """The steps up to this one that were logged."""
    return {logged for logged in range(1, step + 1) if is_logged(config.training, logged)}
