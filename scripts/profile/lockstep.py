"""Milliseconds of processor time an iteration and run, of 1 to 20 runs in lockstep, in turns, as a share of one alone.

python scripts/profile/lockstep.py
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits
from turns import Training

from maml_exp.config.composing import compose
from maml_exp.core.problem import Problem
from maml_exp.core.training import Trainer
from maml_exp.core.training.lockstep import LockstepState, LockstepTrainer, most_together

RUNS, ROUNDS, SECONDS = (1, 2, 5, 10, 20), 9, 0.1
CASES = [
    (4, 5, 1, 40),
    (4, 10, 5, 40),
    (2, 5, 14, 40),
    (25, 10, 1, 40),
    (25, 10, 5, 40),
    (4, 10, 1, 128),
    (25, 10, 1, 128),
]


def training(problem: Problem, runs: int) -> Training:
    """R runs of one problem, seeds 0, 1 and so on."""
    trainer = Trainer(problem)
    states = [trainer.init(seed) for seed in range(runs)]
    if runs == 1:
        return Training(trainer.train_step, states[0])
    return Training(LockstepTrainer([problem] * runs).train_step, LockstepState.of(states))


def main() -> None:
    """A line for every case."""
    print("T   K   S   H    R that pays  " + "  ".join(f"R = {runs:<10}" for runs in RUNS))
    for tasks, shots, steps, width in CASES:
        sizes = [f"training.meta_batch={tasks}", f"task.shots={shots}", f"task.query={shots}"]
        problem = compose([*sizes, f"inner.steps={steps}", f"model.hidden=[{width},{width}]"]).problem
        trainings = {runs: training(problem, runs) for runs in RUNS}
        with threadpool_limits(1):
            rounds = [[one.seconds(SECONDS) / runs for runs, one in trainings.items()] for _ in range(ROUNDS + 1)]
        times = 1000 * np.median(rounds[1:], axis=0)  # buffers are made in the first
        cells = [f"{each:.3f} ({each / times[0]:.2f})" for each in times]
        case = f"{tasks:<3} {shots:<3} {steps:<3} {width:<4} {most_together(problem):<12} "
        print(case, *cells, sep="  ", flush=True)


if __name__ == "__main__":
    main()
