"""`maml-exp resume`: go on with an interrupted run or sweep, in its own folder, to the same bits."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from maml_exp.commands import FILE, given_file, parser_of
from maml_exp.config.overrides import parse_all
from maml_exp.config.saved import load_config
from maml_exp.core import checks
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.data.texts import for_terminal, one_line
from maml_exp.run.execution import execute
from maml_exp.run.progress import is_quiet
from maml_exp.store import run_folder as states
from maml_exp.store.run_folder import PLAN_FILE, open_run, require_folder
from maml_exp.sweep.plan import Sweep, describe_outcome, stop_file
from maml_exp.sweep.rest import unfinished
from maml_exp.sweep.session import hold_sweep
from maml_exp.sweep.workers import Work, run_all


def run_resume(arguments: Sequence[str]) -> int:
    """Go on from the newest usable checkpoint; what is finished is left as it is."""
    parser = parser_of("resume", run_resume)
    parser.add_argument("run", type=Path, help="the folder of a run or a sweep")
    parser.add_argument("--jobs", type=int, help="of a sweep: how many runs at the same time (default 1)")
    parser.add_argument(
        "launcher",
        nargs="*",
        help="of a sweep: hand what is left to a launcher, as hydra/launcher=joblib hydra.launcher.n_jobs=2; "
        "and task.file=PATH, the table of the tasks, which is not opened unasked",
    )
    options = parser.parse_intermixed_args(arguments)
    if options.jobs is not None:
        checks.integer(1, 1024).require("--jobs", options.jobs)
    files = [text for text in options.launcher if text.startswith(FILE)]
    options.launcher = [text for text in options.launcher if text not in files]
    file = given_file(files[0]) if files else None
    _check_launcher(options.launcher, options.jobs)
    require_folder(options.run)
    if door.kind_of(options.run / PLAN_FILE) is not None:
        return resume_sweep(options.run, options.jobs or 1, options.launcher, file)
    if options.launcher:
        raise SettingError(f"{options.launcher[0]} is for sweeps, and {options.run} is none: it has no {PLAN_FILE}")
    return resume_run(options.run, file)


def _check_launcher(overrides: Sequence[str], jobs: int | None) -> None:
    """Require that overrides choose a launcher and say how it works: a resumed run keeps its settings."""
    more = [text for text in overrides if "=" not in text]
    if more:
        raise SettingError(f"{more[0]} is one too many: one run or sweep at a time")
    parsed = parse_all(overrides)
    for override in parsed:
        of_launcher = override.key == "hydra/launcher" or override.key.startswith("hydra.launcher.")
        if not of_launcher or override.sweeps:
            raise SettingError(
                f"{override.text} is not usable here: a resumed run keeps its settings; a launcher may be given, as in "
                "hydra/launcher=joblib hydra.launcher.n_jobs=2; for other settings: maml-exp rerun RUN key=value"
            )
    if overrides and "hydra/launcher" not in {override.key for override in parsed}:
        raise SettingError(f"{overrides[0]} needs a launcher beside it: hydra/launcher=joblib, say")
    if overrides and jobs is not None:
        raise SettingError(f"--jobs={jobs} is a launcher of its own: leave out --jobs, or {overrides[0]}")


def resume_run(path: Path, file: str | None = None) -> int:
    """Go on with a run, on the table that was given again; returns the exit status."""
    folder = open_run(path)
    status = folder.read_status()
    if status.get("state") == states.FINISHED and folder.has_results():
        print(f"{path} is finished; nothing to resume")
        return 0
    if status.get("state") == states.DIVERGED:
        reason = for_terminal(str(status.get("error")))
        print(f"maml-exp: {path} diverged ({reason}); it would again", file=sys.stderr)
        print(f"try other settings in a new run: maml-exp rerun {shlex.quote(str(path))} KEY=VALUE", file=sys.stderr)
        return 1
    config = load_config(folder.config)
    if file is not None:
        config.reading(file)
    outcome = execute(config, path, resume=True)
    if outcome.evaluation is not None:
        print(outcome.report(), flush=True)
    return outcome.exit_status


def _give_file(work: Sequence[Work], file: str, launcher: Sequence[str]) -> None:
    """Let jobs open the table that was given again; raises `SettingError` where it cannot be that of all of them."""
    with_files = [one.config for one in work if hasattr(one.config.task, "file")]
    files = sorted({config.task.file for config in with_files})
    if len(files) > 1:
        raise SettingError(f"task.file={file} cannot stand for {', '.join(files[:5])}: resume these jobs one by one")
    if launcher and with_files:
        raise SettingError(f"{launcher[0]}: jobs elsewhere are not told task.file; resume them here, with --jobs")
    for config in with_files:
        config.reading(file)


def resume_sweep(path: Path, jobs: int, launcher: Sequence[str] = (), file: str | None = None) -> int:
    """Finish what is unfinished of a sweep, here or through a launcher of Hydra's; returns the exit status."""
    sweep, status = Sweep.load(path.resolve()), 0
    if not sweep.jobs and not sweep.folders():
        raise SettingError(
            f"{path} is a sweep of which no job has begun, and its plan names none: its sweeper chooses them as it "
            "goes; start it again, as it was started"
        )
    with hold_sweep(path):
        stop = stop_file(sweep.folder)
        door.remove(stop)  # left by whoever stopped it before
        work = unfinished(sweep)
        if file is not None:
            _give_file(work, file, launcher)
        if work and launcher:
            from maml_exp.sweep.hydra_run import launch_rest  # slow to import, and seldom needed

            return launch_rest(sweep, work, launcher)
        for _, outcome in run_all(dict(enumerate(work)), jobs, in_process=jobs == 1, stop=stop, together=True):
            if not is_quiet():
                print(one_line(f"{outcome.folder.name}: {describe_outcome(outcome)}"), flush=True)
            if outcome.state == states.INTERRUPTED:
                status = status or outcome.exit_status
        failed = sweep.report()
    return status or int(failed)
