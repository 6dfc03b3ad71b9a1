"""This project: the Trainer's own `train_step`, with BLAS limited to one thread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from bench_peers import SEED, Case, initial_theta
from maml_exp.core.optimizers import adam
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import Trainer, make_learner

VARIANTS = ("train_step/by hand",)


class Ours:
    """A contender made of the core's own objects."""

    def __init__(self, case: Case):
        threadpool_limits(1)
        self.case = case
        self._trainer = Trainer(case.problem)
        theta, rng = initial_theta(case), np.random.default_rng(SEED)
        self._state = replace(self._trainer.init(SEED), vector=theta, optimizer=adam.init(theta), rng=rng)

    def gradient(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """The meta-gradient (P,)."""
        learner = make_learner(self.case.problem)
        return learner.meta_gradient(theta, batch, np.random.default_rng(SEED), 0.0).vector

    def run(self, iterations: int) -> None:
        """Train."""
        step, state = self._trainer.train_step, self._state
        for _ in range(iterations):
            state, _ = step(state)
        self._state = state

    def theta(self) -> np.ndarray:
        """The parameters now (P,)."""
        return self._state.vector


def make(case: Case, variant: str) -> Ours:
    """The one way we have."""
    return Ours(case)
