"""The time of an iteration of this tree beside another one's, an older version's, in turns on one core.

    git worktree add ../older COMMIT
    python scripts/profile/beside.py ../older inner=five_steps
    python scripts/profile/beside.py ../older training.meta_batch=4 --runs 10

Prints both medians of processor time, in milliseconds, and the median of the rounds' ratios: below 1 this is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
# reads numbers of iterations and answers with seconds each; the first version had other names
WORKER = """
import sys, time
tree, runs, *overrides = sys.argv[1:]
sys.path.insert(0, tree)
from threadpoolctl import threadpool_limits
try:
    from maml_exp.config.composing import compose
except ImportError:
    from maml_exp.experiment.hydra_app import compose
from maml_exp.core.training import Trainer
threadpool_limits(1)
problem = compose(overrides).problem
trainer = Trainer(problem)
state = trainer.init(0)
if int(runs) > 1:
    from maml_exp.core.training.lockstep import LockstepState, LockstepTrainer
    state = LockstepState.of([trainer.init(seed) for seed in range(int(runs))])
    trainer = LockstepTrainer([problem] * int(runs))
for line in sys.stdin:
    started = time.process_time()
    for _ in range(int(line)):
        state, _ = trainer.train_step(state)
    print((time.process_time() - started) / int(line), flush=True)
"""


class Tree:
    """A process that trains with one tree's code."""

    def __init__(self, path: Path, runs: int, overrides: list[str], core: int):
        command = ["taskset", "-c", str(core), sys.executable, "-c", WORKER, str(path), str(runs), *overrides]
        self._process = subprocess.Popen(command, cwd=path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, iterations: int) -> float:
        """Of an iteration."""
        to_it, from_it = self._process.stdin, self._process.stdout
        assert to_it is not None  # they are pipes
        assert from_it is not None
        to_it.write(f"{iterations}\n")
        to_it.flush()
        answer = from_it.readline()
        if not answer:
            raise SystemExit("beside: one of the trees does not train with these overrides")
        return float(answer)


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another tree of the project")
    parser.add_argument("overrides", nargs="*", help="as for maml-exp; both trees must know them")
    parser.add_argument("--runs", type=int, default=1, help="in lockstep (default 1: one alone)")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=0.05, help="length of a turn (default 0.05)")
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    options = parser.parse_args()
    trees = [Tree(path, options.runs, options.overrides, options.core) for path in (options.other.resolve(), HERE)]
    longest = max(tree.seconds(10) for tree in trees)
    iterations = max(1, round(options.seconds / longest))
    rounds = []
    for number in range(options.rounds):
        order = trees if number % 2 else trees[::-1]
        taken = {tree: tree.seconds(iterations) for tree in order}
        rounds.append([taken[tree] for tree in trees])
    other, ours = (1000 * statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(ours / other for other, ours in rounds)
    print(f"{other:.4f} ms there, {ours:.4f} ms here, {ratio:.3f} of it")


if __name__ == "__main__":
    main()
