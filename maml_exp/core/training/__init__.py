"""Meta-training: an explicit state, and the step that takes one state to the next."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.arrays import norm
from maml_exp.core.learners import LEARNERS
from maml_exp.core.learners._evolved import EvolvedLearner
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.optimizers.base import OptimizerState, clipped, scheduled
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training.draws import Draws

Array = np.ndarray


@dataclass(frozen=True)
class TrainState:
    """All that a run needs to go on."""

    vector: Array  # (P,), the meta-parameters: theta, and what else the learner learns
    optimizer: OptimizerState
    step: int  # iterations made
    rng: np.random.Generator  # draws the training tasks; a step advances it in place, as the next one
    learner_rng: np.random.Generator  # what the learner draws while training


class StepMetrics(NamedTuple):
    """What one outer iteration was, measured at the state before it."""

    loss: float  # the query loss after adaptation (joint: of all points pooled)
    support_loss: float  # before adaptation
    gradient_norm: float  # of the meta-gradient, before it is clipped
    extras: Mapping[str, float]  # a learner's own


def streams(seed: int) -> list[np.random.Generator]:
    """Separate generators of initialisation, training tasks, and the learner."""
    return [np.random.default_rng(sequence) for sequence in np.random.SeedSequence(seed).spawn(3)]


def make_learner(problem: Problem, **options: Any) -> BaseLearner:
    """The learner that a problem names, evolved if it says so; raises `SettingError` for one that there is not.

    `options` are for tests and proofs alone: see `BaseLearner.variants`.
    """
    kind = LEARNERS.get(problem.algorithm.learner).Learner
    if problem.algorithm.evolution.population == 0:
        return kind(problem, **options)
    return EvolvedLearner(problem, partial(kind, problem, **options))


class Trainer:
    """Runs a problem's meta-training; holds buffers, never state."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.learner = make_learner(problem)
        self._draws = [Draws(family, problem.meta_batch, problem.dtype) for family in problem.drawn_from]
        self._optimizer = OPTIMIZERS.get(problem.optimizer.name)
        # an optimizer's step is as long as its rate: a part with a rate of its own makes it longer or shorter, and a
        # schedule is that of both
        slices = self.learner.layout.slices
        self._outer_rates = [(slices[name], rate) for name, rate in self.learner.outer_rates.items()]

    def init(self, seed: int) -> TrainState:
        """The state before the first step."""
        for_parameters, for_tasks, for_learner = streams(seed)
        vector = self.learner.init(for_parameters)
        return TrainState(vector, self._optimizer.init(vector), 0, for_tasks, for_learner)

    @np.errstate(over="ignore", invalid="ignore")  # a run that diverges says so by its metrics
    def train_step(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        """One outer iteration: a meta-batch, its meta-gradient, one optimizer update."""
        batch = self._draw(state.rng, state.learner_rng)
        progress = state.step / self.problem.iterations
        found = self.learner.meta_gradient(state.vector, batch, state.learner_rng, progress)
        size = norm(found.vector)
        gradient = clipped(found.vector, size, self.problem.clip_norm)
        vector, optimizer = self.updated(state.vector, state.optimizer, gradient, progress)
        after = TrainState(vector, optimizer, state.step + 1, state.rng, state.learner_rng)
        return after, StepMetrics(found.loss, found.support_loss, size, found.extras)

    def updated(
        self, before: Array, optimizer: OptimizerState, gradient: Array, progress: float
    ) -> tuple[Array, OptimizerState]:
        """The vector (P,), or those of runs in lockstep (R, P), and the optimizer's state behind one update."""
        settings = self.problem.optimizer
        vector, optimizer = self._optimizer.update(gradient, optimizer, before, scheduled(settings, progress))
        for part, rate in self._outer_rates:
            longer = np.asarray(rate / settings.lr, vector.dtype)
            vector[..., part] = before[..., part] + longer * (vector[..., part] - before[..., part])
        return vector, optimizer

    @np.errstate(over="ignore", invalid="ignore")
    def next_loss(self, state: TrainState) -> float:
        """The meta-loss that one more iteration would measure at a state, which stays as it is."""
        problem, learner_rng = self.problem, deepcopy(state.learner_rng)
        batch = self._draw(deepcopy(state.rng), learner_rng)
        progress = min(state.step, problem.iterations - 1) / problem.iterations
        return self.learner.meta_gradient(state.vector, batch, learner_rng, progress).loss

    def _draw(self, rng: np.random.Generator, learner_rng: np.random.Generator) -> Batch:
        """A meta-batch; which of several numbers of shots all its tasks have is drawn from the learner's stream."""
        among = self._draws
        draws = among[learner_rng.integers(len(among))] if len(among) > 1 else among[0]
        return draws(rng)
