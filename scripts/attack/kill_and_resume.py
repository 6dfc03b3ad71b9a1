"""Kill runs with SIGKILL at random moments, resume after each, and compare with a run left alone.

    python scripts/attack/kill_and_resume.py --kills 100

Exit status 0: parameters, metrics.csv and evaluation of every run are equal to the bit; 3: they are not.
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


def run(arguments: list[str], seconds: float | None = None) -> bool:
    """Run maml-exp, killed after `seconds` if given; returns whether it came to its end."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"maml-exp {' '.join(arguments)} failed:\n{errors}")
    return process.returncode == 0


def kill_until_finished(folder: Path, kills: int, seconds: float, rng: random.Random) -> int:
    """Kill a run at most `kills` times, within its first `seconds` each time; returns the kills made."""
    made = 0
    while True:
        if run(next_arguments(folder), rng.uniform(0.0, seconds) if made < kills else None):
            return made
        made += 1


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
    parser.add_argument("--folder", type=Path, help="keep all runs here")
    options = parser.parse_args()
    rng, made, runs, different = random.Random(options.seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        base = options.folder or Path(temporary)
        before = time.perf_counter()
        run([f"hydra.run.dir={base / 'alone'}", *SETTINGS])
        seconds = time.perf_counter() - before
        while made < options.kills:
            folder = base / f"killed_{runs}"
            made += kill_until_finished(folder, options.kills - made, seconds, rng)
            found = compare_runs(RunFolder(base / "alone"), RunFolder(folder))
            runs, different = runs + 1, different + (not found.identical)
            if not found.identical:
                print(f"run {runs}:", *found.results, sep="\n")
    print(f"killed {made} times in {runs} runs: {f'{different} of them different' if different else 'identical'}")
    return 3 if different else 0


if __name__ == "__main__":
    sys.exit(main())
