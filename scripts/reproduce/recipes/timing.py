"""The time of a training iteration, methods in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from maml_exp.config.composing import compose
from maml_exp.core.problem import Problem
from maml_exp.core.training import Trainer
from recipes.runs import Overrides

TURNS, ITERATIONS = 20, 20
Clock = Callable[[], float]  # seconds, from any start


def in_turns(
    problems: Mapping[str, Problem], turns: int, iterations: int, clock: Clock = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds an iteration in every turn, (turns,) a problem, on one BLAS thread; each round begins with another one.

    All train from seed 0, some iterations before the clock starts.
    """
    trainers = {name: Trainer(problem) for name, problem in problems.items()}
    states = {name: trainer.init(0) for name, trainer in trainers.items()}
    seconds = {name: np.empty(turns + 1) for name in problems}
    with threadpool_limits(1):
        for turn in range(turns + 1):
            for name in np.roll(list(problems), -turn):
                step, state, started = trainers[name].train_step, states[name], clock()
                for _ in range(iterations):
                    state, _ = step(state)
                seconds[name][turn] = (clock() - started) / iterations
                states[name] = state
    return {name: times[1:] for name, times in seconds.items()}  # buffers are made in the first turn


def milliseconds(groups: Mapping[str, Overrides]) -> dict[str, float]:
    """Milliseconds an iteration, of the fastest turn of every group: what else runs on the machine slows the others."""
    times = in_turns({name: compose(group).problem for name, group in groups.items()}, TURNS, ITERATIONS)
    return {name: 1e3 * float(seconds.min()) for name, seconds in times.items()}
