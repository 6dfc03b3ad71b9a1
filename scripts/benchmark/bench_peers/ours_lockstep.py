"""This project: R runs of one problem in lockstep, which differ in their seeds; BLAS limited to one thread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from bench_peers import SEED, Case, initial_theta
from bench_peers.ours import Ours
from maml_exp.core.optimizers import adam
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import Trainer
from maml_exp.core.training.lockstep import LockstepState, LockstepTrainer

VARIANTS = ("lockstep/by hand",)


class OursInLockstep(Ours):
    """A contender made of the core's own objects; the first run is that of `ours`."""

    def __init__(self, case: Case):
        threadpool_limits(1)
        self._trainer = LockstepTrainer([case.problem] * case.runs)
        theta, rng = initial_theta(case), np.random.default_rng(SEED)
        states = [Trainer(case.problem).init(SEED + run) for run in range(case.runs)]
        states[0] = replace(states[0], vector=theta, optimizer=adam.init(theta), rng=rng)
        self._state = LockstepState.of(states)

    def gradient(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """The first run's meta-gradient (P,); all of them are given the same."""
        runs = len(self._state.rngs)
        thetas, batches = np.stack([theta] * runs), Batch(*(np.stack([points] * runs) for points in batch))
        rng = np.random.default_rng(SEED)  # nothing is drawn
        return self._trainer.trainer.learner.meta_gradient(thetas, batches, rng, 0.0).vector[0]

    def theta(self) -> np.ndarray:
        """The first run's parameters now (P,)."""
        return self._state.vector[0]


def make(case: Case, variant: str) -> OursInLockstep:
    """The one way we have."""
    return OursInLockstep(case)
