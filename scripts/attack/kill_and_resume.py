"""Kill runs with SIGKILL at random moments, resume after each, and compare with a run left alone.

    python scripts/attack/kill_and_resume.py --kills 100
    python scripts/attack/kill_and_resume.py --kills 30 --together 6

With --together it kills sweeps of so many seeds whose runs go in lockstep, with all their processes. Exit status 0:
parameters, metrics.csv and evaluation of every run are equal to the bit; 3: they are not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from maml_exp.comparison.differences import compare_runs
from maml_exp.store.run_folder import RunFolder

COMMAND = [sys.executable, "-m", "maml_exp"]
SETTINGS = [
    "training.iterations=1500",
    "training.log_every=7",
    "training.evaluate_every=500",
    "training.checkpoint_every=50",
    "evaluation.tasks=40",
    "evaluation.tasks_in_training=10",
    "evaluation.plots=false",
]
SMALL = ["training.meta_batch=4", "task.shots=5", "task.query=5"]  # of runs that go in lockstep


def run(arguments: list[str], seconds: float | None = None) -> bool:
    """Run maml-exp, killed after `seconds` if given; returns whether it came to its end."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*COMMAND, *arguments], start_new_session=True, **quiet)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"maml-exp {' '.join(arguments)} failed:\n{errors}")
    return process.returncode == 0


def kill_until_finished(folder: Path, kills: int, seconds: float, rng: random.Random, together: int) -> int:
    """Kill a run, or a sweep, at most `kills` times, within its first `seconds` each time; returns the kills made."""
    made = 0
    while True:
        if run(next_arguments(folder, together), rng.uniform(0.0, seconds) if made < kills else None):
            return made
        made += 1


def next_arguments(folder: Path, together: int) -> list[str]:
    """Arguments that go on with it; those that start it, where every kill came before it said that it runs."""
    if together and (folder / "sweep.json").exists():
        return ["resume", str(folder), "--jobs", "2"]
    return ["resume", str(folder)] if (folder / "status.json").exists() else fresh(folder, together)


def fresh(folder: Path, together: int) -> list[str]:
    """Arguments that start it anew: it was killed before it had said that it runs."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.exists() else []:
        path.rmdir() if path.is_dir() else path.unlink()
    if not together:
        return [f"hydra.run.dir={folder}", *SETTINGS]
    launcher = ["hydra/launcher=together", "hydra.launcher.jobs=2"]
    return ["-m", f"hydra.sweep.dir={folder}", *launcher, *SETTINGS, *SMALL, f"seed=range({together})"]


def differences(folder: Path, alone: Path, together: int) -> list[str]:
    """What differs between what was killed and what was not, line by line."""
    if not together:
        return compare_runs(RunFolder(alone), RunFolder(folder)).results
    pairs = [(folder_of(alone, job), folder_of(folder, job)) for job in range(together)]
    return [line for one, other in pairs for line in compare_runs(RunFolder(one), RunFolder(other)).results]


def folder_of(sweep: Path, job: int) -> Path:
    """A job's folder; one that was killed while Hydra made it has no status, and another one beside it."""
    return next(path for path in sweep.glob(f"{job}_*") if (path / "status.json").exists())


def main() -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--together", type=int, default=0, metavar="RUNS", help="kill sweeps of so many runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep all runs here")
    options = parser.parse_args()
    rng, together, made, runs, different = random.Random(options.seed), options.together, 0, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        base = options.folder or Path(temporary)
        alone = base / "alone"
        if together:
            run(["-m", f"hydra.sweep.dir={alone}", *SETTINGS, *SMALL, f"seed=range({together})"])
        before = time.perf_counter()
        run(fresh(base / "never_killed" if together else alone, together))
        seconds = time.perf_counter() - before
        while made < options.kills:
            folder = base / f"killed_{runs}"
            made += kill_until_finished(folder, options.kills - made, seconds, rng, together)
            found = differences(folder, alone, together)
            runs, different = runs + 1, different + bool(found)
            if found:
                print(f"run {runs}:", *found, sep="\n")
    what = "sweeps" if together else "runs"
    print(f"killed {made} times in {runs} {what}: {f'{different} of them different' if different else 'identical'}")
    return 3 if different else 0


if __name__ == "__main__":
    sys.exit(main())
