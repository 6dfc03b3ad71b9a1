"""Training several runs together, an iteration of all at a time: one call of numpy does for all what it does for one.

Runs in lockstep differ in what their generators draw, and in rates of the inner and the outer loop. All else they share
(`shared_by`), so arrays of the same name have the same shape in all, and make one with an axis of runs: (R, P) of (P,).
What is done to a run is done to its part of these, in the same order, so it has the same bits as alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from itertools import repeat
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.arrays import norms
from maml_exp.core.inner.layers.choice import keeps_pairs
from maml_exp.core.optimizers.base import OptimizerState, clipped
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import StepMetrics, Trainer, TrainState
from maml_exp.core.training.draws import Draws, Streams

Array = np.ndarray
NO_EXTRAS: Mapping[str, float] = MappingProxyType({})
# what pays was measured (docs/performance.md): numbers in the largest array of all runs' tasks, and in their vectors
TASKS_NUMBERS, VECTORS_NUMBERS, MOST_RUNS = 50_000, 2**17, 20


class LockstepState(NamedTuple):
    """All that R runs need to go on together."""

    vector: Array  # (R, P)
    optimizer: OptimizerState  # its moments (R, P)
    step: int  # iterations made, the same of all
    rngs: Sequence[np.random.Generator]  # of the runs, as in `TrainState`
    learner_rngs: Sequence[np.random.Generator]

    @classmethod
    def of(cls, states: Sequence[TrainState]) -> LockstepState:
        """The states of runs that have made as many iterations as each other."""
        moments = zip(*(state.optimizer.moments for state in states), strict=True)
        return cls(
            np.stack([state.vector for state in states]),
            OptimizerState(states[0].optimizer.count, tuple(map(np.stack, moments))),
            states[0].step,
            [state.rng for state in states],
            [state.learner_rng for state in states],
        )

    def by_run(self) -> list[TrainState]:
        """The state of every run, its arrays views of these."""
        return [_OfRun(self, run) for run in range(len(self.rngs))]  # type: ignore[misc]  # all that a `TrainState` has


class _OfRun(NamedTuple):
    """A run's part of the state of several, taken out of it when it is asked for: most iterations nobody asks."""

    of_all: LockstepState
    run: int

    @property
    def vector(self) -> Array:
        return self.of_all.vector[self.run]

    @property
    def optimizer(self) -> OptimizerState:
        count, moments = self.of_all.optimizer
        return OptimizerState(count, tuple(of_all[self.run] for of_all in moments))

    @property
    def step(self) -> int:
        return self.of_all.step

    @property
    def rng(self) -> np.random.Generator:
        return self.of_all.rngs[self.run]

    @property
    def learner_rng(self) -> np.random.Generator:
        return self.of_all.learner_rngs[self.run]


class LockstepTrainer:
    """Runs the meta-training of R problems that share what `shared_by` says; holds buffers, never state."""

    def __init__(self, problems: Sequence[Problem]):
        self.problem = _together(problems)
        self.trainer = Trainer(self.problem)
        self._draws = Draws(self.problem.family, self.problem.meta_batch, self.problem.dtype, (len(problems),))

    @np.errstate(over="ignore", invalid="ignore")  # a run that diverges says so by its metrics
    def train_step(self, state: LockstepState) -> tuple[LockstepState, list[StepMetrics]]:
        """One outer iteration of every run."""
        problem, trainer = self.problem, self.trainer
        batch = self._batch(state.rngs)
        progress, rng = state.step / problem.iterations, Streams(state.learner_rngs)
        found: Any = trainer.learner.meta_gradient(state.vector, batch, rng, progress)  # type: ignore[arg-type]
        sizes = norms(found.vector)
        if problem.clip_norm is not None:
            for gradient, size in zip(found.vector, sizes, strict=True):
                gradient[...] = clipped(gradient, size, problem.clip_norm)
        vector, optimizer = trainer.updated(state.vector, state.optimizer, found.vector, progress)
        after = state._replace(vector=vector, optimizer=optimizer, step=state.step + 1)
        return after, list(map(StepMetrics, found.loss, found.support_loss, sizes, repeat(NO_EXTRAS)))

    def _batch(self, rngs: Sequence[np.random.Generator]) -> Batch:
        """A meta-batch of every run (R, T, ...), each from its own generator."""
        family, problem = self.problem.family, self.problem
        if family.draws_by_task:
            return self._draws(Streams(rngs))
        batches = [family.sample(rng, problem.meta_batch, problem.dtype) for rng in rngs]
        return Batch(*map(np.stack, zip(*batches, strict=True)))


def shared_by(problem: Problem) -> str | None:
    """What a problem must have in common with others to train in lockstep, as a text; None where it trains alone."""
    rates = problem.algorithm.rates_in_lockstep
    by_element = problem.optimizer.by_element and problem.family.loss.by_point
    of_one_run = problem.curvature or problem.inner.steps == 0 or len(problem.task.all_shots) > 1
    if rates is None or not by_element or of_one_run:
        return None
    parts = (problem.model, problem.algorithm, problem.inner, problem.task, problem.optimizer)
    settings = {f"{part.section}.{key}": value for part in parts for key, value in asdict(part).items()}
    same = {key: value for key, value in settings.items() if key not in rates}
    return repr((same, problem.meta_batch, problem.iterations, problem.dtype, id(problem.data)))


def most_together(problem: Problem) -> int:
    """R up to which runs are faster in lockstep: until their arrays leave the cache; 1 where none are."""
    if shared_by(problem) is None:
        return 1
    shots, sizes = problem.task.shots, problem.network.sizes
    points = max(shots, problem.family.query)
    of_rows, rule = points * max(sizes), (problem.meta_batch, problem.inner.steps, problem.inner.steps * shots)
    of_weights = [(n + 1) * m for n, m in problem.network.shapes if not keeps_pairs(n, m, *rule)]
    by_tasks = TASKS_NUMBERS // (problem.meta_batch * max([of_rows, *of_weights]))
    by_vectors = VECTORS_NUMBERS // problem.network.parameter_count
    return max(1, min(by_tasks, by_vectors, MOST_RUNS))


def _together(problems: Sequence[Problem]) -> Problem:
    """The problem of all: where they differ, inner.lr is a tuple (R,) and optimizer.lr an array (R, 1)."""
    first = problems[0]
    inner, optimizer = copy(first.inner), copy(first.optimizer)
    inner_lr, outer_lr = [problem.inner.lr for problem in problems], [problem.optimizer.lr for problem in problems]
    inner.lr = inner_lr[0] if len(set(inner_lr)) == 1 else tuple(inner_lr)  # type: ignore[assignment]
    optimizer.lr = outer_lr[0] if len(set(outer_lr)) == 1 else np.array(outer_lr)[:, None]  # type: ignore[assignment]
    return replace(first, inner=inner, optimizer=optimizer)
