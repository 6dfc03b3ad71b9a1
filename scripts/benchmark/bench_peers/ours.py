"""This project: the Trainer's own `train_step`, with BLAS limited to one thread."""

from __future__ import annotations

import numpy as np
from maml_exp.core.optimizers.updates import OPTIMIZERS
from threadpoolctl import threadpool_limits

from bench_peers import SEED, Case, initial_theta
from maml_exp.core.learners.gradient import MetaGradient
from maml_exp.core.tasks.sinusoid import Batch
from maml_exp.core.training import Trainer, TrainState

VARIANTS = ("train_step/by hand",)


class Ours:
    """A contender made of the core's own objects."""

    def __init__(self, case: Case):
        threadpool_limits(1)
        self.case = case
        self._trainer = Trainer(case.problem)
        theta, rng = initial_theta(case), np.random.default_rng(SEED)
        self._state = TrainState(theta, OPTIMIZERS["adam"].init(theta), 0, rng)

    def gradient(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """The meta-gradient (P,)."""
        case, inner = self.case, self.case.problem.inner
        sizes = {"tasks": case.tasks, "shots": case.shots, "query": case.shots}
        rates = {"inner_lr": inner.lr, "inner_steps": inner.steps}
        return MetaGradient(case.network, case.algorithm, **rates, **sizes)(theta, batch)[0]

    def run(self, iterations: int) -> None:
        """Train."""
        step, state = self._trainer.train_step, self._state
        for _ in range(iterations):
            state, _ = step(state)
        self._state = state

    def theta(self) -> np.ndarray:
        """The parameters now (P,)."""
        return self._state.theta


def make(case: Case, variant: str) -> Ours:
    """The one way we have."""
    return Ours(case)
