"""What is left to do of a sweep: jobs that were interrupted, failed or never started."""

from __future__ import annotations

import re
import sys

from maml_exp.config.composing import compose
from maml_exp.config.overrides import parse_all
from maml_exp.config.saved import load_config
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.store.names import safe_name
from maml_exp.store.run_folder import RunFolder
from maml_exp.sweep.plan import Sweep, job_number
from maml_exp.sweep.workers import Work


def unfinished(sweep: Sweep) -> list[Work]:
    """What is left to do of a sweep; planned jobs that cannot run are named."""
    saved = {folder: _config_or_none(folder) for folder in sweep.folders()}
    if not sweep.jobs:  # another sweeper chose the jobs: what it had started can be finished
        return [Work(config, run.path, True) for run, config in saved.items() if config is not None and _is_open(run)]
    work = []
    for number, overrides in enumerate(sweep.jobs):
        config = _planned_config(overrides)
        if isinstance(config, SettingError):
            print(f"maml-exp: job {number}: {config}", file=sys.stderr)
        elif (left := _rest_of_job(sweep, number, config, saved)) is not None:
            work.append(left)
    return work


def _rest_of_job(sweep: Sweep, number: int, config: Config, saved: dict[RunFolder, Config | None]) -> Work | None:
    """What is left of a planned job; None if it had ended. Its folder is taken out of `saved`."""
    own_first = sorted(saved, key=lambda folder: job_number(folder.path) != number)
    for folder in own_first:
        if saved[folder] == config:
            del saved[folder]
            return Work(config, folder.path, True) if _is_open(folder) else None
    # killed before its configuration was saved, or never started
    for folder in own_first[:1]:
        if saved[folder] is None and job_number(folder.path) == number:
            del saved[folder]
            return Work(config, folder.path, False)
    overrides = sweep.jobs[number]
    return Work(config, sweep.folder / f"{number}_{safe_name(sweep.swept(overrides))}", False, overrides)


def _planned_config(overrides: list[str]) -> Config | SettingError:
    """A job's configuration from its overrides. The plan may be a stranger's: settings of ours and values only."""
    try:
        for override in parse_all(overrides):
            text = override.text
            resolvers = "${" in re.sub(r"\$\{[\w.]+\}", "", text)  # a reference to another setting is none
            of_hydra = re.split(r"[./@]", override.key)[0] == "hydra"
            if resolvers or of_hydra or "_target_" in text:
                raise SettingError(f"the sweep's plan holds {text[:80]!r}, which is not a setting of a job")
        return compose(overrides)
    except SettingError as error:
        return error


def _config_or_none(folder: RunFolder) -> Config | None:
    try:
        return load_config(folder.config)
    except SettingError:
        return None


def _is_open(folder: RunFolder) -> bool:
    """Whether there is something left to do: neither finished, with results, nor diverged."""
    return not folder.has_ended()
