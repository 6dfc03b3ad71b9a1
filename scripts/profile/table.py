"""What a large table costs: the time to read it, the memory, and an iteration beside one on sinusoids.

python scripts/profile/table.py [--rows 1000000] [--groups 10000]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from maml_exp.config.composing import compose
from maml_exp.core.training import Trainer

ROUNDS, ITERATIONS = 40, 50


def write_table(path: Path, rows: int, groups: int) -> None:
    """A CSV of five columns: id, three inputs, an output."""
    rng = np.random.default_rng(0)
    group, x = rng.integers(groups, size=rows), rng.normal(size=(rows, 3))
    y = x.sum(axis=1) * (1 + group / groups)
    with open(path, "w") as file:
        file.write("id,a,b,c,y\n")
        lines = zip(group.tolist(), x.tolist(), y.tolist(), strict=True)
        file.writelines(f"user {i},{a:.5f},{b:.5f},{c:.5f},{value:.5f}\n" for i, (a, b, c), value in lines)


def seconds_an_iteration(trainer: Trainer) -> float:
    """The mean of a few iterations."""
    state = trainer.init(0)
    state, _ = trainer.train_step(state)
    started = time.perf_counter()
    for _ in range(ITERATIONS):
        state, _ = trainer.train_step(state)
    return (time.perf_counter() - started) / ITERATIONS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--groups", type=int, default=10**4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        write_table(path, options.rows, options.groups)
        columns = ["task.group=id", "task.inputs=[a,b,c]", "task.outputs=[y]"]
        points = ["task.shots=10", "task.query=10", "task.short=drop"]
        config = compose(["task=table", f"task.file={path}", *columns, *points]).reading()
        started, used = time.perf_counter(), time.process_time()
        problem = config.problem
        problem.family  # noqa: B018  it reads the table
        seconds, used = time.perf_counter() - started, time.process_time() - used
        print(f"{options.rows} rows of {options.groups} groups read in {seconds:.1f} s, {used:.1f} s of the processor")
        trainers = Trainer(problem), Trainer(compose(["task.oracle=true"]).problem)  # three inputs, too
        rounds = np.array([[seconds_an_iteration(trainer) for trainer in trainers] for _ in range(ROUNDS)])
    table, sinusoids = np.median(rounds, axis=0)
    ratio = np.median(rounds[:, 0] / rounds[:, 1])
    print(f"an iteration: {1e6 * table:.0f} us, on sinusoids {1e6 * sinusoids:.0f} us; median of ratios {ratio:.2f}")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB of memory")


if __name__ == "__main__":
    main()
