"""`maml-exp resume`: go on with an interrupted run or sweep, in its own folder, to the same bits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maml_exp.config.saved import load_config
from maml_exp.core import checks
from maml_exp.data import door
from maml_exp.data.texts import for_terminal
from maml_exp.run.run import execute
from maml_exp.store import run_folder as states
from maml_exp.store.run_folder import PLAN_FILE, open_run, require_folder
from maml_exp.sweep.plan import Sweep, describe_outcome
from maml_exp.sweep.rest import unfinished
from maml_exp.sweep.workers import run_all


def run_resume(arguments: Sequence[str]) -> int:
    """Go on from the newest usable checkpoint; what is finished is left as it is."""
    parser = argparse.ArgumentParser(prog="maml-exp resume", description=run_resume.__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run or a sweep")
    parser.add_argument("--jobs", type=int, default=1, help="of a sweep: how many runs at the same time (default 1)")
    options = parser.parse_args(arguments)
    checks.integer(1, 1024).require("--jobs", options.jobs)
    require_folder(options.run)
    if door.kind_of(options.run / PLAN_FILE) is not None:
        return resume_sweep(options.run, options.jobs)
    return resume_run(options.run)


def resume_run(path: Path) -> int:
    """Go on with a run; returns the exit status."""
    folder = open_run(path)
    status = folder.read_status()
    if status.get("state") == states.FINISHED and folder.has_results():
        print(f"{path} is finished; nothing to resume")
        return 0
    if status.get("state") == states.DIVERGED:
        reason = for_terminal(str(status.get("error")))
        print(f"maml-exp: {path} diverged ({reason}); it would again", file=sys.stderr)
        print(f"try other settings in a new run: maml-exp rerun {path} optimizer.lr=...", file=sys.stderr)
        return 1
    outcome = execute(load_config(folder.config), path, resume=True)
    if outcome.evaluation is not None:
        print(f"{outcome.evaluation.table()}\n\n{outcome.folder}")
    return outcome.exit_status


def resume_sweep(path: Path, jobs: int) -> int:
    """Finish what is unfinished of a sweep; returns the exit status."""
    sweep, status = Sweep.load(path), 0
    for _, outcome in run_all(dict(enumerate(unfinished(sweep))), jobs, in_process=jobs == 1):
        print(f"{outcome.folder.name}: {describe_outcome(outcome)}", flush=True)
        if outcome.state == states.INTERRUPTED:
            status = status or outcome.exit_status
    failed = sweep.report()
    return status or int(failed)
