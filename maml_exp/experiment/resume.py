"""`maml-exp resume`: go on with an interrupted run, in its own folder, to the same bits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maml_exp.experiment import folder as states
from maml_exp.experiment.runner import execute
from maml_exp.experiment.saved import load_config, open_run


def run_resume(arguments: Sequence[str]) -> int:
    """Go on with a run from its newest usable checkpoint; a finished run is left as it is."""
    parser = argparse.ArgumentParser(prog="maml-exp resume", description=run_resume.__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    path = parser.parse_args(arguments).run

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
