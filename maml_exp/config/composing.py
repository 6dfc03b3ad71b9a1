"""Configurations from conf/ and overrides, without running anything: Hydra's composition, not its runtime."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from maml_exp.config import schema
from maml_exp.config.choices import CHOICES, REGISTERED_IN, run_registering_code
from maml_exp.config.messages import explain as explain_omegaconf
from maml_exp.config.messages import known_names, suggestion
from maml_exp.config.overrides import keys_of, parse_all
from maml_exp.config.plain import flatten, put
from maml_exp.config.schema import Config
from maml_exp.config.usual import GLOBAL, GROUPS, conf_dir, options
from maml_exp.core.checks import SettingError
from maml_exp.core.registry import all_entry_points

SWEEPING_KEYS = {"experiment", "hydra.mode", "hydra/sweeper"}  # these may say that a run is a sweep
IS_HYDRA_1_3 = hydra.__version__.startswith("1.3.")
# jobs stay in the working directory, for one; from 1.4 on there are no other defaults, and asking is deprecated
HYDRA_DEFAULTS = {"version_base": "1.3"} if IS_HYDRA_1_3 else {}
REPLACING: dict[str, Any] = {} if IS_HYDRA_1_3 else {"replace": True}  # in Hydra's store; from 1.4 on only if told to
INSTALLED_BY = {  # start of an option's name: the extra that installs it
    "hydra/launcher": {"joblib": "joblib", "submitit": "slurm", "ray": "ray"},
    "hydra/sweeper": {"optuna": "optuna"},
}


def teach_hydra() -> None:
    """Have Hydra know the schema and every choice's dataclass; worker processes of every launcher do it, too."""
    all_entry_points.cache_clear()  # something may have been installed
    if os.environ.get(REGISTERED_IN):
        run_registering_code()
    _teach("config_schema", Config)
    for group, choice in CHOICES.items():
        own = choice.registry.own_names()
        for name in choice.registry.names():
            settings = choice.registry.get(name).Settings
            _teach(name, settings, group=choice.schema_group)
            if name not in own:  # registered or installed: it has no file in conf/
                _teach(name, settings, group=group)


def _teach(name: str, settings: type, group: str | None = None) -> None:
    """Have Hydra's store hold a dataclass, unless it does: to store it takes longer than to look."""
    store = ConfigStore.instance()
    held: Any = store.repo
    for part in group.split("/") if group else ():
        held = held.get(part, {})
    held = held.get(f"{name}.yaml")
    if held is None or OmegaConf.get_type(held.node) is not settings:
        store.store(name, settings, group=group, **REPLACING)


def compose_typed(overrides: Sequence[str]) -> DictConfig:
    """What Hydra composes, its nodes typed."""
    teach_hydra()
    with hydra.initialize_config_dir(str(conf_dir()), **HYDRA_DEFAULTS):
        return hydra.compose("config", list(overrides))


def compose(overrides: Sequence[str]) -> Config:
    """The configuration for these overrides; raises `SettingError`."""
    check_typed(overrides)
    with friendly_errors(overrides):
        return schema.from_omegaconf(compose_typed(overrides))


def check_typed(texts: Sequence[str], can_sweep: bool = False) -> None:
    """Refuse what Hydra would understand otherwise than it was meant; raises `SettingError`."""
    overrides = parse_all(texts)
    can_sweep = can_sweep or any(override.key in SWEEPING_KEYS for override in overrides)
    for override in overrides:
        text, key = override.text, override.key
        if override.sweeps and not can_sweep:
            raise SettingError(
                f"{text} gives several values; for a sweep put -m (--multirun) in front: {_as_sweep(text)}"
            )
        if key == "experiment" and text.startswith("experiment"):
            raise SettingError(f"experiments are added with a plus: +{text}")
        if override.sweeps or override.parsed.is_delete():
            continue
        value = override.parsed.value()
        if key in GROUPS and key != "experiment" and isinstance(value, list):
            sweep = _as_sweep(f"{key}={','.join(map(str, value))}")
            raise SettingError(
                f"{text} is not usable: it must be one of {', '.join(options(key))}; for a sweep: {sweep}"
            )


def _as_sweep(text: str) -> str:
    return f"maml-exp -m {shlex.quote(text)}"


@cache
def default_settings() -> dict[str, Any]:
    """The settings, dotted, without any override."""
    return flatten(compose([]).to_dict())


def chosen(group: str, option: str) -> dict[str, Any]:
    """The settings, dotted, that an option brings: its group's, and what it writes into other groups.

    Raises `SettingError` for an option that is not there.
    """
    if option not in options(group):
        raise SettingError(f"{group}={option} is not usable: it must be one of {', '.join(options(group))}")
    composed = flatten(compose([f"{group}={option}"]).to_dict())
    default = default_settings()
    own = {key: value for key, value in composed.items() if key.startswith(f"{group}.")}
    elsewhere = {key: value for key, value in composed.items() if value != default.get(key)}
    return {**elsewhere, **own}


def with_option(plain: dict[str, Any], group: str, option: str) -> None:
    """Choose an option of a group in a plain configuration, in place; raises `SettingError`."""
    plain.pop(group, None)
    for key, value in chosen(group, option).items():
        put(plain, key, value)


@contextmanager
def friendly_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's and OmegaConf's complaints into a `SettingError` of a line or two."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints the error, with a traceback, and exits
    try:
        yield
    except SettingError:
        raise
    except Exception as error:  # Hydra raises plain ValueErrors too for what a user typed
        if before == "1":
            raise
        raise SettingError(explain(error, overrides)) from error
    finally:
        if before is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def explain(error: BaseException, overrides: Sequence[str]) -> str:
    """Hydra's complaint, or the one of OmegaConf's behind it, in a line or two."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    if complaint := _of_own_experiment(overrides):
        return complaint
    if cause is not None:
        return explain_omegaconf(cause, _with_same_choices(overrides), keys_of(overrides))
    if found := re.search(r"In '([^']+)': Config(?:Key|Attribute)Error.*?full_key: (\S+)", str(error), re.DOTALL):
        file, key = found.groups()
        known = known_names(_with_same_choices([]))
        return f"{file}.yaml: {key} is not a setting{suggestion(key, known)}"
    if "--multirun" in str(error):  # an experiment might have been one of several runs, but is not
        check_typed([text for text in overrides if "=" in text and keys_of([text]) - SWEEPING_KEYS])
    group = unknown_option(error, overrides)
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line]
    message = " ".join(lines)[:300] or type(error).__name__
    culprit = getattr(error, "override", None) or " ".join(overrides)[:100]
    return group or (message if culprit in message else f"{culprit}: {message}")


def _with_same_choices(overrides: Sequence[str]) -> DictConfig | None:
    """What composes with these overrides' choices of groups alone: it knows the settings that there are."""
    choices = [text for text in overrides if keys_of([text]) & set(GROUPS)]
    for these in (choices, []):
        try:
            return compose_typed(these)
        except Exception:  # the choices are what is wrong
            continue
    return None


def _own_folders(arguments: Sequence[str]) -> list[Path]:
    """The user's folders of configurations among the arguments: --config-dir DIR."""
    following = [value for flag, value in pairwise(arguments) if flag in ("--config-dir", "-cd")]
    joined = [text.partition("=")[2] for text in arguments if text.startswith("--config-dir=")]
    return [Path(folder) for folder in (*following, *joined)]


def _of_own_experiment(arguments: Sequence[str]) -> str | None:
    """What is wrong with a file of the user's in experiment/, if it is one of two common mistakes."""
    for text in arguments:
        key, _, name = text.lstrip("+").partition("=")
        for path in [folder / "experiment" / f"{name}.yaml" for folder in _own_folders(arguments)]:
            if key != "experiment" or not path.is_file():
                continue
            content = path.read_text(encoding="utf-8", errors="replace")
            if GLOBAL not in content:
                return f"{path} needs the line '{GLOBAL}' at its top; without it all that it sets is experiment.*"
            for group in GROUPS:
                if found := re.search(rf"^{group}: *([\w.-]+) *(#.*)?$", content, re.MULTILINE):
                    choice = f"override /{group}: {found[1]}"
                    return f"{path}: '{group}: {found[1]}' chooses no option; write  defaults: [{choice}]"
    return None


def unknown_option(error: BaseException, overrides: Sequence[str]) -> str | None:
    """What to say where a group was given an option that it does not have; None if that is not the trouble."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        extras = INSTALLED_BY.get(group, {})
        extra = next((name for start, name in extras.items() if option.startswith(start)), None)
        install = f"; for this {group.split('/')[-1]}: pip install 'maml-exp[{extra}]'" if extra else ""
        return f"{group}={option} is not usable: it must be one of {', '.join(sorted(error.options))}{install}"
    for override in overrides:
        group, separator, option = override.lstrip("+").partition("=")
        known = options(group) if group.isidentifier() else []
        if any((folder / group / f"{option}.yaml").is_file() for folder in _own_folders(overrides)):
            continue
        if separator and known and option not in known:
            return f"{override} is not usable: {group} must be one of {', '.join(known)}"
    return None
