"""Hydra's command line with its parts in any order, and --jobs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from maml_exp.config.overrides import keys_of
from maml_exp.core import checks
from maml_exp.core.checks import SettingError


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """The arguments in the order that Hydra's parser takes, --jobs as the launcher it stands for.

    Raises `SettingError` for options that are not there.
    """
    jobs, others = split_jobs(arguments)
    found = read(others)
    given = list(found.overrides)
    options = []
    for text in others:  # what is no override is an option or the value of one; both keep their order
        if given and text == given[0]:
            del given[0]
        else:
            options.append(text)
    overrides = list(found.overrides)
    if jobs is None:
        return [*overrides, *options]
    if not found.multirun:
        raise SettingError(f"--jobs={jobs} is for sweeps: add -m")
    if "hydra/launcher" in keys_of(overrides):
        raise SettingError(f"--jobs={jobs} is a launcher of its own: leave out --jobs, or hydra/launcher=...")
    ours = ["hydra/launcher=workers", f"hydra.launcher.jobs={jobs}"] if jobs > 1 else []
    return [*overrides, *ours, *options]


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
