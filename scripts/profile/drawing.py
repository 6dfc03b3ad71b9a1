"""What drawing tasks is of a training iteration: of sinusoids, and of warped characters in two sizes.

python scripts/profile/drawing.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from maml_exp.config.composing import compose
from maml_exp.core.training import Trainer

LARGE = ["task.size=28", "model.hidden=[256,128,64]", "model.layer_norm=false", "training.meta_batch=32"]
SETTINGS = {
    "the default": [],
    "+experiment=glyphs": ["+experiment=glyphs"],
    "1 shot, 784-256-128-64-5": ["+experiment=glyphs", *LARGE],
    "5 shots, 784-256-128-64-5": ["+experiment=glyphs", *LARGE, "task.shots=5"],
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TURN = 0.05  # seconds, about


def drawing_and_whole(overrides: Sequence[str], rounds: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Milliseconds of the fastest turn of either, drawing and whole iterations, in turns."""
    trainer = Trainer(compose(overrides).problem)
    (family,), tasks, rng = trainer.problem.drawn_from, trainer.problem.meta_batch, np.random.default_rng(0)
    state = trainer.init(0)

    def draw() -> None:
        family.sample(rng, tasks, trainer.problem.dtype)

    def iterate() -> None:
        nonlocal state
        state, _ = trainer.train_step(state)

    def seconds(function: Callable[[], None], times: int) -> float:
        started = clock()
        for _ in range(times):
            function()
        return (clock() - started) / times

    seconds(iterate, 2)  # the learner's buffers are made
    turns = max(1, round(TURN / seconds(iterate, 2)))
    drawing, whole = zip(*((seconds(draw, turns), seconds(iterate, turns)) for _ in range(rounds)), strict=True)
    return 1e3 * min(drawing), 1e3 * min(whole)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="turns of either, of which the fastest counts")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    print(f"{'':<28}{'drawing, ms':>12}{'iteration, ms':>15}{'share':>8}")
    with threadpool_limits(1):
        for name, overrides in SETTINGS.items():
            drawing, whole = drawing_and_whole(overrides, options.rounds, CLOCKS[options.clock])
            print(f"{name:<28}{drawing:>12.3f}{whole:>15.3f}{drawing / whole:>8.1%}")


if __name__ == "__main__":
    main()
