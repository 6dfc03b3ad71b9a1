"""Runs a minute: a sweep of seeds of a small setting, under each launcher, from command to exit.

    python scripts/benchmark/sweep_throughput.py --seeds 20 --launchers joblib together
    python scripts/benchmark/sweep_throughput.py --launchers together jax

Every launcher makes the same runs, to the same bits, and uses what cores it is given; the order changes every round.
jax is a program of its own that trains and judges as many networks (`jax_sweep.py`), where JAX is installed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from maml_exp.store.files import read_json

SETTING = ["training.meta_batch=4", "task.shots=5", "task.query=5", "evaluation.plots=false"]
LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib"],
    "workers": ["hydra/launcher=workers", "hydra.launcher.together=false", f"hydra.launcher.jobs={os.cpu_count()}"],
    "together": ["hydra/launcher=together"],
}
JAX = "jax"


def seconds_of(launcher: str, seeds: int, iterations: int, folder: Path) -> float:
    """How long a sweep takes; stops the program where one of its jobs does not finish."""
    swept = [f"training.iterations={iterations}", f"seed=range({seeds})", f"hydra.sweep.dir={folder}"]
    before = time.perf_counter()
    command = [sys.executable, "-m", "maml_exp", "-q", "-m", *LAUNCHERS.get(launcher, []), *SETTING, *swept]
    if launcher == JAX:
        program = Path(__file__).with_name("jax_sweep.py")
        command = [sys.executable, str(program), "--seeds", str(seeds), "--iterations", str(iterations)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"{launcher}: {made.stderr or made.stdout}")
    return time.perf_counter() - before


def parameters_of(folder: Path) -> list[str]:
    """The hashes of all runs' parameters, in the order of their seeds."""
    jobs = sorted(folder.glob("*_*"), key=lambda path: int(path.name.split("_")[0]))
    return [read_json(job / "summary.json")["parameters_sha256"] for job in jobs]


def main() -> None:
    """Time all and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--launchers", nargs="+", choices=(*LAUNCHERS, JAX), default=list(LAUNCHERS))
    options = parser.parse_args()
    taken: dict[str, list[float]] = {launcher: [] for launcher in options.launchers}
    found = set()
    with tempfile.TemporaryDirectory() as base:
        for number in range(options.rounds):
            places = [(place + number) % len(options.launchers) for place in range(len(options.launchers))]
            for launcher in [options.launchers[place] for place in places]:
                folder = Path(base) / f"{launcher}_{number}"
                taken[launcher].append(seconds_of(launcher, options.seeds, options.iterations, folder))
                if launcher != JAX:
                    found.add(tuple(parameters_of(folder)))
    for launcher, times in taken.items():
        seconds = statistics.median(times)
        print(f"{launcher:<10} {seconds:7.1f} s {60 * options.seeds / seconds:7.1f} runs a minute")
    print("the same parameters" if len(found) <= 1 else "different parameters")


if __name__ == "__main__":
    main()
