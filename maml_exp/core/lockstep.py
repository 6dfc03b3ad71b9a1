"""Training several runs together, an iteration of all at a time: one call of numpy does for all what it does for one.

Runs in lockstep differ in what their generators draw, and in the rates of inner and outer loop. All else they share,
so their arrays have the same shapes and become one array with an axis of runs, (R, P) for (P,). What is done to one run
is done to its part of it, in the same order: a run has the same bits as alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace

import numpy as np

from maml_exp.core.arrays import norm
from maml_exp.core.optimizers.base import OptimizerState, clipped
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch, TaskFamily
from maml_exp.core.training import StepMetrics, Trainer, TrainState

Array = np.ndarray


class Streams:
    """The generators of R runs as one: the first axis of what is drawn is split among them, evenly and in order."""

    def __init__(self, generators: Sequence[np.random.Generator]):
        self.generators = list(generators)

    def random(self, shape: tuple[int, ...]) -> Array:
        """Uniform numbers in [0, 1)."""
        return self._drawn("random", shape)

    def standard_normal(self, shape: tuple[int, ...]) -> Array:
        """Normal numbers."""
        return self._drawn("standard_normal", shape)

    def _drawn(self, method: str, shape: tuple[int, ...]) -> Array:
        found = np.empty(shape)
        for generator, part in zip(self.generators, found.reshape(len(self.generators), -1), strict=True):
            getattr(generator, method)(out=part)
        return found


class LockstepTrainer:
    """Runs the meta-training of R problems; holds buffers, never state.

    Args:
        problems: the same but for inner.lr and optimizer.lr (`shared_by`), of a learner that goes in lockstep.
    """

    def __init__(self, problems: Sequence[Problem]):
        self.problem = _together(problems)
        self._trainer = Trainer(self.problem)

    @np.errstate(over="ignore", invalid="ignore")  # a run that diverges says so by its metrics
    def train_step(self, state: TrainState) -> tuple[TrainState, list[StepMetrics]]:
        """One outer iteration of every run, from a state that `stacked` made."""
        problem, trainer = self.problem, self._trainer
        batch = sampled(problem.family, state.rng.generators, problem.meta_batch, problem.dtype)
        found = trainer.learner.meta_gradient(state.vector, batch, state.learner_rng, trainer.progress(state))
        sizes = [norm(gradient) for gradient in found.vector]
        if problem.clip_norm is not None:
            for gradient, size in zip(found.vector, sizes, strict=True):
                gradient[...] = clipped(gradient, size, problem.clip_norm)
        values = zip(found.loss, found.support_loss, sizes, strict=True)
        return trainer.updated(state, found.vector), [StepMetrics(*of_run, {}) for of_run in values]


def stacked(states: Sequence[TrainState]) -> TrainState:
    """The states of runs after equally many steps as one, with vectors (R, P)."""
    first = states[0]
    moments = zip(*(state.optimizer.moments for state in states), strict=True)
    return TrainState(
        np.stack([state.vector for state in states]),
        OptimizerState(first.optimizer.count, tuple(map(np.stack, moments))),
        first.step,
        Streams([state.rng for state in states]),
        Streams([state.learner_rng for state in states]),
    )


def unstacked(state: TrainState) -> list[TrainState]:
    """The states of the runs, views of those that `stacked` or a step made."""
    count, moments = state.optimizer
    of_runs = zip(state.vector, *moments, state.rng.generators, state.learner_rng.generators, strict=True)
    return [
        TrainState(vector, OptimizerState(count, tuple(rest)), state.step, rng, learner_rng)
        for vector, *rest, rng, learner_rng in of_runs
    ]


def sampled(family: TaskFamily, generators: Sequence[np.random.Generator], tasks: int, dtype: str) -> Batch:
    """A meta-batch of every run, (R, T, ...), each drawn from its own generator."""
    if not family.draws_by_task:
        batches = [family.sample(generator, tasks, dtype) for generator in generators]
        return Batch(*map(np.stack, zip(*batches, strict=True)))
    runs = len(generators)
    batch = family.sample(Streams(generators), runs * tasks, dtype)
    return Batch(*(points.reshape(runs, tasks, *points.shape[1:]) for points in batch))


def shared_by(problem: Problem) -> str:
    """What runs in lockstep must have in common: everything but the rates, as a text."""
    inner, optimizer = ({**asdict(one), "lr": None} for one in (problem.inner, problem.optimizer))
    parts = [asdict(problem.model), asdict(problem.algorithm), asdict(problem.task), inner, optimizer]
    rest = (problem.meta_batch, problem.iterations, problem.dtype, problem.curvature, id(problem.data))
    return repr((parts, rest))


def _together(problems: Sequence[Problem]) -> Problem:
    """The problem of all, with rates of each run: inner.lr a tuple, optimizer.lr an array (R, 1)."""
    first = problems[0]
    inner, optimizer = copy(first.inner), copy(first.optimizer)
    rates, outer_rates = [p.inner.lr for p in problems], [p.optimizer.lr for p in problems]
    if len(set(rates)) > 1:
        inner.lr = tuple(rates)
    if len(set(outer_rates)) > 1:
        optimizer.lr = np.array(outer_rates)[:, None]
    return replace(first, inner=inner, optimizer=optimizer)
