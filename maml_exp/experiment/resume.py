"""`maml-exp resume`: go on with an interrupted run or sweep, in its own folder, to the same bits."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from maml_exp.core.errors import SettingError
from maml_exp.experiment import folder as states
from maml_exp.experiment.config import Config
from maml_exp.experiment.folder import PLAN_FILE, RunFolder, create_folder, write_atomically
from maml_exp.experiment.jobs import safe_name
from maml_exp.experiment.runner import Outcome, execute
from maml_exp.experiment.saved import load_config, open_run
from maml_exp.experiment.sweeps import Sweep, describe_outcome, job_number


def run_resume(arguments: Sequence[str]) -> int:
    """Go on from the newest usable checkpoint; what is finished is left as it is."""
    parser = argparse.ArgumentParser(prog="maml-exp resume", description=run_resume.__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run or a sweep")
    path = parser.parse_args(arguments).run
    return resume_sweep(path) if (path / PLAN_FILE).is_file() else resume_run(path)


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


def resume_sweep(path: Path) -> int:
    """Finish what is unfinished of a sweep, one job after the other; returns the exit status."""
    sweep = Sweep.load(path)
    saved = [(folder, _config_or_none(folder)) for folder in sweep.folders()]
    status = 0
    for number, overrides in enumerate(sweep.jobs):
        outcome = _resume_job(sweep, number, overrides, saved)
        if outcome is not None:
            print(f"{outcome.folder.name}: {describe_outcome(outcome)}", flush=True)
            if outcome.state == states.INTERRUPTED:
                status = outcome.exit_status
                break
    if not sweep.jobs:  # another sweeper chose the jobs: what it had started can be finished
        for folder, config in saved:
            if config is not None and _is_open(folder):
                print(f"{folder.path.name}: {describe_outcome(execute(config, folder.path, resume=True))}", flush=True)
    failed = sweep.report()
    return status or int(failed)


def _resume_job(
    sweep: Sweep, number: int, overrides: list[str], saved: list[tuple[RunFolder, Config | None]]
) -> Outcome | None:
    """Run what is left of a planned job; None if it had ended, or cannot run."""
    config = _planned_config(overrides)
    if isinstance(config, SettingError):
        print(f"maml-exp: job {number}: {config}", file=sys.stderr)
        return None
    same = [folder for folder, its_config in saved if its_config == config]
    if same:
        ended = [folder for folder in same if not _is_open(folder)]
        return None if ended else execute(config, same[0].path, resume=True)
    # killed before its configuration was saved, or never started
    torn = [folder for folder, its_config in saved if its_config is None and job_number(folder.path) == number]
    if torn:
        return execute(config, torn[0].path)
    path = create_folder(sweep.folder / f"{number}_{safe_name(sweep.swept(overrides))}")
    write_atomically(path / ".hydra" / "overrides.yaml", "".join(f"- {o}\n" for o in overrides).encode())
    return execute(config, path)


def _planned_config(overrides: list[str]) -> Config | SettingError:
    """A job's configuration from its overrides. The plan may be a stranger's: settings of ours and values only."""
    from maml_exp.experiment.hydra_app import compose

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
