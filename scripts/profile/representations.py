"""The time of an iteration whose hidden layer is multiplied out, over that of one where it stays pairs, in turns.

    python scripts/profile/representations.py

Thin layers are as they are chosen; P or M is what the rules choose for the hidden one (core/inner/layers/choice.py).
"""

from __future__ import annotations

import time

import numpy as np
from threadpoolctl import threadpool_limits

from maml_exp.config.composing import compose
from maml_exp.core.inner.layers import choice
from maml_exp.core.problem import Problem
from maml_exp.core.training import Trainer

WIDTHS, ROUNDS, SECONDS = (24, 40, 64, 96, 128), 7, 0.04
CASES = [(tasks, 5, steps) for tasks in (4, 10, 25, 64) for steps in (2, 3, 5, 10)]
WARM = 6  # iterations, until they are replayed


class Training:
    """A training whose hidden layer is told what to be."""

    def __init__(self, problem: Problem, pairs: bool):
        usual = choice.keeps_pairs
        choice.keeps_pairs = lambda n, m, *of_passes: pairs if min(n, m) > 2 else usual(n, m, *of_passes)
        trainer = Trainer(problem)
        self._step, self._state = trainer.train_step, trainer.init(0)
        for _ in range(WARM):
            self._state, _ = self._step(self._state)
        choice.keeps_pairs = usual

    def seconds(self) -> float:
        """Of an iteration, over `SECONDS` of processor time."""
        started, made = time.process_time(), 0
        while (taken := time.process_time() - started) < SECONDS:
            self._state, _ = self._step(self._state)
            made += 1
        return taken / made


def ratio(problem: Problem) -> str:
    """Multiplied out over pairs, and what is chosen."""
    out, pairs = Training(problem, False), Training(problem, True)
    found = np.median([out.seconds() / pairs.seconds() for _ in range(ROUNDS)])
    (width, *_), steps = problem.model.hidden, problem.inner.steps
    stays = choice.keeps_pairs(width, width, problem.meta_batch, steps, steps * problem.task.shots)
    return f"{found:.2f} {'P' if stays else 'M'}"


def main() -> None:
    """A line for every case."""
    print("T   K   S    " + "  ".join(f"{width:<6}" for width in WIDTHS))
    for tasks, shots, steps in CASES:
        sizes = [f"training.meta_batch={tasks}", f"task.shots={shots}", f"task.query={shots}", f"inner.steps={steps}"]
        problems = [compose([*sizes, f"model.hidden=[{width},{width}]"]).problem for width in WIDTHS]
        with threadpool_limits(1):
            cells = [ratio(problem) for problem in problems]
        print(f"{tasks:<3} {shots:<3} {steps:<3}", *cells, sep="  ", flush=True)


if __name__ == "__main__":
    main()
