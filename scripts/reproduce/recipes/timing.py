"""The time of a training iteration, methods in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping

from threadpoolctl import threadpool_limits

from maml_exp.config.composing import compose
from maml_exp.core.training import Trainer
from recipes.runs import Overrides

TURNS, ITERATIONS = 20, 20


def milliseconds(groups: Mapping[str, Overrides]) -> dict[str, float]:
    """Milliseconds an iteration, of the fastest turn of every group: what else runs on the machine slows the others."""
    trainers = {name: Trainer(compose(overrides).problem) for name, overrides in groups.items()}
    states = {name: trainer.init(0) for name, trainer in trainers.items()}
    fastest = dict.fromkeys(groups, float("inf"))
    with threadpool_limits(1):
        for _ in range(TURNS):
            for name, trainer in trainers.items():
                state, started = states[name], time.perf_counter()
                for _ in range(ITERATIONS):
                    state, _ = trainer.train_step(state)
                fastest[name] = min(fastest[name], (time.perf_counter() - started) / ITERATIONS)
                states[name] = state
    return {name: 1e3 * seconds for name, seconds in fastest.items()}
