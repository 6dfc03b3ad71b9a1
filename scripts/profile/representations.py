"""The time of an iteration whose hidden layer is multiplied out, over that of one where it stays pairs, in turns.

    python scripts/profile/representations.py

Thin layers are as they are chosen; P or M is what the rules choose for the hidden one (core/inner/layers/choice.py).
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits
from turns import Training

from maml_exp.config.composing import compose
from maml_exp.core.inner.layers import choice
from maml_exp.core.problem import Problem
from maml_exp.core.training import Trainer

WIDTHS, ROUNDS, SECONDS = (24, 40, 64, 96, 128), 7, 0.04
CASES = [(tasks, 5, steps) for tasks in (4, 10, 25, 64) for steps in (2, 3, 5, 10)]
WARM = 6  # iterations, until they are replayed


def training(problem: Problem, pairs: bool) -> Training:
    """One whose hidden layer is told what to be."""
    usual = choice.keeps_pairs
    choice.keeps_pairs = lambda n, m, *of_passes: pairs if min(n, m) > 2 else usual(n, m, *of_passes)
    trainer = Trainer(problem)
    state = trainer.init(0)
    for _ in range(WARM):
        state, _ = trainer.train_step(state)
    choice.keeps_pairs = usual
    return Training(trainer.train_step, state)


def ratio(problem: Problem) -> str:
    """Multiplied out over pairs, and what is chosen."""
    out, pairs = training(problem, False), training(problem, True)
    found = np.median([out.seconds(SECONDS) / pairs.seconds(SECONDS) for _ in range(ROUNDS)])
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
