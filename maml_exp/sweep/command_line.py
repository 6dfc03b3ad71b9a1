"""Hydra's command line with its parts in any order, and --jobs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

import yaml
from hydra._internal.utils import get_args_parser

from maml_exp.config.composing import conf_dir, options
from maml_exp.config.overrides import keys_of, parse
from maml_exp.core import checks
from maml_exp.core.checks import SettingError


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """The arguments in the order that Hydra's parser takes, --jobs as the launcher it stands for.

    Raises `SettingError` for options that are not there.
    """
    jobs, others = split_jobs(arguments)
    found = read(others)
    given = list(found.overrides)
    switches = []
    for text in others:  # what is no override is an option or the value of one; both keep their order
        if given and text == given[0]:
            del given[0]
        else:
            switches.append(text)
    overrides = list(found.overrides)
    asks = found.multirun or found.run or found.cfg or found.info or found.shell_completion or found.hydra_help
    if not asks and _experiment_sweeps(overrides):
        switches.append("--multirun")
    if jobs is None:
        return [*overrides, *switches]
    if not found.multirun and "--multirun" not in switches:
        raise SettingError(f"--jobs={jobs} is for sweeps: add -m")
    if "hydra/launcher" in keys_of(overrides):
        raise SettingError(f"--jobs={jobs} is a launcher of its own: leave out --jobs, or hydra/launcher=...")
    ours = ["hydra/launcher=workers", f"hydra.launcher.jobs={jobs}"] if jobs > 1 else []
    return [*overrides, *ours, *switches]


def _experiment_sweeps(overrides: Sequence[str]) -> bool:
    """Whether one of our experiments says that it is a sweep. Hydra 1.4 no longer looks for itself."""
    readable = [parse(text) for text in overrides if keys_of([text])]
    if any(override.key == "hydra.mode" for override in readable):
        return False
    for override in readable:
        if override.key == "experiment" and override.text.partition("=")[2] in options("experiment"):
            path = conf_dir() / "experiment" / f"{override.text.partition('=')[2]}.yaml"
            said = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("hydra") or {}
            if said.get("mode") == "MULTIRUN":
                return True
    return False


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What Hydra understands; raises `SettingError` where it would print its usage and end."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # of this parser alone
    return parser.parse_intermixed_args(list(arguments))


def split_jobs(arguments: Sequence[str]) -> tuple[int | None, list[str]]:
    """The number that --jobs gives, checked, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.error = _refuse  # type: ignore[method-assign]
    parser.add_argument("--jobs", type=int)
    found, others = parser.parse_known_args(list(arguments))
    if found.jobs is not None:
        checks.integer(1, 1024).require("--jobs", found.jobs)
    return found.jobs, others


def _refuse(message: str) -> NoReturn:
    raise SettingError(f"{message}; maml-exp --help and --hydra-help say what there is")
