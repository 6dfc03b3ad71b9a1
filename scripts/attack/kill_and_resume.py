"""Kill one run with SIGKILL at many random moments, resume it after each, and compare with a run left alone.

    python scripts/attack/kill_and_resume.py --kills 100

Exit status 0: parameters, metrics.csv and evaluation are equal to the bit; 3: they are not.
"""

from __future__ import annotations

import argparse
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


def run(arguments: list[str], seconds: float | None = None) -> int:
    """Run maml-exp, killed after `seconds` if given; returns its exit status (-9 when killed)."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        print(errors, file=sys.stderr)
    return process.returncode


def kill_until_finished(folder: Path, kills: int, seed: int) -> int:
    """Kill a run at `kills` random moments, resume it each time, at last to the end; returns the kills made."""
    rng, made = random.Random(seed), 0
    before = time.perf_counter()
    run([f"hydra.run.dir={folder}", *SETTINGS], seconds=0.05 if kills else None)
    start_up = 1.5 * (time.perf_counter() - before)
    while made < kills:
        if run(next_arguments(folder), seconds=rng.uniform(0.0, start_up + 1.0)) == 0:
            break
        made += 1
    if run(next_arguments(folder)) != 0:
        raise SystemExit("the last resume failed")
    return made


def next_arguments(folder: Path) -> list[str]:
    """Arguments that go on with the run; those that start it, where every kill came before it said that it runs."""
    return ["resume", str(folder)] if (folder / "status.json").exists() else fresh(folder)


def fresh(folder: Path) -> list[str]:
    """Arguments that start the run anew: it was killed before it had said that it runs."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.exists() else []:
        path.rmdir() if path.is_dir() else path.unlink()
    return [f"hydra.run.dir={folder}", *SETTINGS]


def main() -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep both runs here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = options.folder or Path(temporary)
        run([f"hydra.run.dir={base / 'alone'}", *SETTINGS])
        made = kill_until_finished(base / "killed", options.kills, options.seed)
        found = compare_runs(RunFolder(base / "alone"), RunFolder(base / "killed"))
    print(f"killed {made} times: {'identical' if found.identical else 'different'}")
    print("\n".join(found.results))
    return 0 if found.identical else 3


if __name__ == "__main__":
    sys.exit(main())
