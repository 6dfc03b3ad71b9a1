"""What is left to do of a sweep: jobs that were interrupted, failed or never started.

Finished jobs are known by what was typed for them, or by their configuration, whatever their folder's name and
number. What is left is a folder each, and the folder says what is to be done in it: whoever has the sweep's folder
can make the run, in this process or on another machine.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.core.global_hydra import GlobalHydra

from maml_exp.config.composing import compose
from maml_exp.config.migrations import typed_then
from maml_exp.config.overrides import parse_all
from maml_exp.config.saved import load_config
from maml_exp.config.schema import Config
from maml_exp.config.usual import LOADER
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.run.outcome import Outcome
from maml_exp.store import run_folder as states
from maml_exp.store.names import safe_name
from maml_exp.store.run_folder import RunFolder
from maml_exp.sweep.plan import Sweep, job_number
from maml_exp.sweep.workers import Work

LARGEST_OVERRIDES = 100_000  # bytes


def unfinished(sweep: Sweep) -> list[Work]:
    """What is left to do of a sweep; planned jobs that cannot run are named."""
    folders = sweep.folders()
    if not sweep.jobs:  # another sweeper chose the jobs: what it had started can be finished
        saved = {folder: _config_or_none(folder) for folder in folders if not folder.has_ended()}
        return [Work(config, folder.path, True) for folder, config in saved.items() if config is not None]
    numbers, folders = _without_ended(sweep, folders)
    if not numbers:
        return []
    saved = {folder: _config_or_none(folder) for folder in folders}
    work = []
    for number in numbers:
        config = _planned_config(typed_then(sweep.jobs[number], sweep.schema))
        if isinstance(config, SettingError):
            print(f"maml-exp: job {number}: {config}", file=sys.stderr)
        elif (left := _rest_of_job(sweep, number, config, saved)) is not None:
            work.append(left)
    return work


def _without_ended(sweep: Sweep, folders: list[RunFolder]) -> tuple[list[int], list[RunFolder]]:
    """The jobs' numbers, and the folders, that are left without those that ended with a job's very overrides.

    Composing a job takes 0.07 s, and reading two small files nothing.
    """
    ended: dict[tuple[str, ...], list[RunFolder]] = defaultdict(list)
    others = []
    for folder in folders:
        typed = _overrides_of(folder) if folder.has_ended() else None
        if typed is None:
            others.append(folder)
        else:
            ended[typed].append(folder)
    numbers = []
    for number, overrides in enumerate(sweep.jobs):
        same = ended[tuple(sorted(overrides))]
        if same:
            own = next((folder for folder in same if job_number(folder.path) == number), same[0])
            same.remove(own)
        else:
            numbers.append(number)
    others += [folder for same in ended.values() for folder in same]
    return numbers, sorted(others, key=lambda folder: (job_number(folder.path), folder.path.name))


def _overrides_of(folder: RunFolder) -> tuple[str, ...] | None:
    """What was typed for a run, sorted; None where that cannot be told."""
    try:
        if door.kind_of(folder.config) is None:
            return None
        text = door.read_bytes(folder.overrides, LARGEST_OVERRIDES, own_folder=True).decode()
        typed = yaml.load(text, Loader=LOADER)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        return None
    is_list = isinstance(typed, list) and all(isinstance(text, str) for text in typed)
    return tuple(sorted(typed)) if is_list else None


def _rest_of_job(sweep: Sweep, number: int, config: Config, saved: dict[RunFolder, Config | None]) -> Work | None:
    """What is left of a planned job; None if it had ended. Its folder is taken out of `saved`."""
    own_first = sorted(saved, key=lambda folder: job_number(folder.path) != number)
    for folder in own_first:
        if saved[folder] == config:
            del saved[folder]
            return None if folder.has_ended() else Work(config, folder.path, True)
    # killed before its configuration was saved, or never started
    for folder in own_first[:1]:
        if saved[folder] is None and job_number(folder.path) == number:
            del saved[folder]
            return Work(config, folder.path, False)
    overrides = sweep.jobs[number]
    return Work(config, _free(sweep.folder / f"{number}_{safe_name(sweep.swept(overrides))}"), False, overrides)


def _free(path: Path) -> Path:
    """The path, or path-2, path-3 ... where somebody else's run is; a launcher leaves empty folders."""
    candidate, number = path, 1
    while candidate.exists() and not (candidate.is_dir() and not any(candidate.iterdir())):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def make_rest(path: Path, stop: Path) -> Outcome:
    """Do what is left in a folder of a sweep, whoever calls: go on with the run in it, or make the planned job."""
    folder, number = RunFolder(path), job_number(path)
    config, overrides = _config_or_none(folder), None
    resume = config is not None
    if config is None:
        sweep = Sweep.load(path.parent)
        if number >= len(sweep.jobs):
            return Outcome(states.FAILED, path, f"{path.parent} has no job {number}")
        overrides = sweep.jobs[number] if door.kind_of(folder.overrides) is None else None
        with _between_jobs():
            planned = _planned_config(typed_then(sweep.jobs[number], sweep.schema))
        if isinstance(planned, SettingError):
            return Outcome(states.FAILED, path, str(planned))
        config = planned
    return Work(config, path, resume, overrides).make(stop)


@contextmanager
def _between_jobs() -> Iterator[None]:
    """Have Hydra compose as if no job of its own were under way, as one is wherever a launcher calls us."""
    hydra = GlobalHydra.instance()
    before = hydra.hydra
    hydra.clear()
    try:
        yield
    finally:
        hydra.hydra = before


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
    except Exception as error:  # of a user's own settings
        return SettingError(f"{type(error).__name__}: {error}")


def _config_or_none(folder: RunFolder) -> Config | None:
    try:
        return load_config(folder.config)
    except Exception:  # a user's own settings raise what they like
        return None
