"""`maml-exp resume`: go on with an interrupted run or sweep, in its own folder, to the same bits."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from maml_exp.config.saved import load_config, open_run
from maml_exp.config.schema import Config
from maml_exp.core import checks as need
from maml_exp.core.checks import SettingError
from maml_exp.run.run import execute
from maml_exp.store import run_folder as states
from maml_exp.store.run_folder import PLAN_FILE, RunFolder
from maml_exp.sweep.callbacks import safe_name
from maml_exp.sweep.plan import Sweep, describe_outcome, job_number
from maml_exp.sweep.workers import Task, run_all


def run_resume(arguments: Sequence[str]) -> int:
    """Go on from the newest usable checkpoint; what is finished is left as it is."""
    parser = argparse.ArgumentParser(prog="maml-exp resume", description=run_resume.__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run or a sweep")
    parser.add_argument("--jobs", type=int, default=1, help="of a sweep: how many runs at the same time (default 1)")
    options = parser.parse_args(arguments)
    need.require_integer("--jobs", options.jobs, 1, 1024)
    if (options.run / PLAN_FILE).is_file():
        return resume_sweep(options.run, options.jobs)
    return resume_run(options.run)


def resume_run(path: Path) -> int:
    """Go on with a run; returns the exit status."""
    folder = open_run(path)
    status = folder.read_status()
    if status.get("state") == states.FINISHED:
        print(f"{path} is finished; nothing to resume")
        return 0
    if status.get("state") == states.DIVERGED:
        print(f"maml-exp: {path} diverged ({status.get('error')}); it would again", file=sys.stderr)
        print(f"try other settings in a new run: maml-exp rerun {path} optimizer.lr=...", file=sys.stderr)
        return 1
    outcome = execute(load_config(folder), path, resume=True)
    if outcome.verdict is not None:
        print(f"{outcome.verdict.table()}\n\n{outcome.folder}")
    return outcome.exit_status


def resume_sweep(path: Path, jobs: int) -> int:
    """Finish what is unfinished of a sweep; returns the exit status."""
    sweep, status = Sweep.load(path), 0
    for _, outcome in run_all(dict(enumerate(_unfinished(sweep))), jobs, in_process=jobs == 1):
        print(f"{outcome.folder.name}: {describe_outcome(outcome)}", flush=True)
        if outcome.state == states.INTERRUPTED:
            status = status or outcome.exit_status
    failed = sweep.report()
    return status or int(failed)


def _unfinished(sweep: Sweep) -> list[Task]:
    """What is left to do of a sweep; planned jobs that cannot run are named."""
    saved = {folder: _config_or_none(folder) for folder in sweep.folders()}
    if not sweep.jobs:  # another sweeper chose the jobs: what it had started can be finished
        return [Task(config, run.path, True) for run, config in saved.items() if config is not None and _is_open(run)]
    tasks = []
    for number, overrides in enumerate(sweep.jobs):
        config = _planned_config(overrides)
        if isinstance(config, SettingError):
            print(f"maml-exp: job {number}: {config}", file=sys.stderr)
        elif (task := _rest_of_job(sweep, number, config, saved)) is not None:
            tasks.append(task)
    return tasks


def _rest_of_job(sweep: Sweep, number: int, config: Config, saved: dict[RunFolder, Config | None]) -> Task | None:
    """What is left of a planned job; None if it had ended. Its folder is taken out of `saved`."""
    own_first = sorted(saved, key=lambda folder: job_number(folder.path) != number)
    for folder in own_first:
        if saved[folder] == config:
            del saved[folder]
            return Task(config, folder.path, True) if _is_open(folder) else None
    # killed before its configuration was saved, or never started
    for folder in own_first[:1]:
        if saved[folder] is None and job_number(folder.path) == number:
            del saved[folder]
            return Task(config, folder.path, False)
    overrides = sweep.jobs[number]
    return Task(config, sweep.folder / f"{number}_{safe_name(sweep.swept(overrides))}", False, overrides)


def _planned_config(overrides: list[str]) -> Config | SettingError:
    """A job's configuration from its overrides. The plan may be a stranger's: settings of ours and values only."""
    from maml_exp.sweep.hydra_run import compose

    for override in overrides:
        key = override.lstrip("+~").split("=")[0]
        resolvers = "${" in re.sub(r"\$\{[\w.]+\}", "", override)  # a reference to another setting is none
        if resolvers or "_target_" in override or key.split(".")[0].split("/")[0].split("@")[0] == "hydra":
            raise SettingError(f"the sweep's plan holds {override[:80]!r}, which is not a setting of a job")
    try:
        return compose(overrides)
    except SettingError as error:
        return error


def _config_or_none(folder: RunFolder) -> Config | None:
    try:
        return load_config(folder)
    except SettingError:
        return None


def _is_open(folder: RunFolder) -> bool:
    """Whether there is something left to do: neither finished nor diverged."""
    return folder.read_status().get("state") not in (states.FINISHED, states.DIVERGED)
