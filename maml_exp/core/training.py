"""Meta-training: an explicit state, and the step that takes one state to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maml_exp.core.learners.gradient import MetaGradient
from maml_exp.core.network import Network, initial_parameters
from maml_exp.core.optimizers.updates import OPTIMIZERS, OptimizerState, clipped
from maml_exp.core.settings import (
    AlgorithmSettings,
    InnerSettings,
    ModelSettings,
    OptimizerSettings,
    TaskSettings,
)
from maml_exp.core.tasks.sinusoid import TASKS

Array = np.ndarray


@dataclass(frozen=True)
class TrainState:
    """All that a run needs to go on."""

    theta: Array  # (P,), the parameters
    optimizer: OptimizerState
    step: int  # iterations made
    rng: np.random.Generator  # draws the training tasks; the one part that a step advances in place


@dataclass(frozen=True)
class Problem:
    """Everything that decides, together with the seed, what meta-training computes."""

    model: ModelSettings
    algorithm: AlgorithmSettings
    inner: InnerSettings
    task: TaskSettings
    optimizer: OptimizerSettings
    meta_batch: int  # T
    dtype: str = "float32"
    curvature: bool = False  # whether metrics say what share of the meta-gradient is second order

    @property
    def network(self) -> Network:
        """The network between the task's inputs and outputs."""
        task = TASKS[self.task.name](self.task)
        return Network((task.inputs, *self.model.hidden, task.outputs), self.model.activation)


class Trainer:
    """Runs a problem's meta-training; holds buffers, never state."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self._tasks = TASKS[problem.task.name](problem.task)
        self._optimizer = OPTIMIZERS[problem.optimizer.name]
        self._meta_gradient = MetaGradient(
            problem.network,
            problem.algorithm.name,
            inner_lr=problem.inner.lr,
            inner_steps=problem.inner.steps,
            tasks=problem.meta_batch,
            shots=problem.task.shots,
            query=problem.task.query,
            dtype=problem.dtype,
            curvature=problem.curvature,
        )

    def init(self, seed: int) -> TrainState:
        """The state before the first step; initialisation and training tasks have separate streams."""
        for_parameters, for_tasks = np.random.SeedSequence(seed).spawn(2)
        rng = np.random.default_rng(for_parameters)
        theta = initial_parameters(self.problem.network, self.problem.model.initializer, rng, self.problem.dtype)
        return TrainState(theta, self._optimizer.init(theta), 0, np.random.default_rng(for_tasks))

    @np.errstate(over="ignore", invalid="ignore")  # a run that diverges says so by its metrics
    def train_step(self, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """One outer iteration: a meta-batch, its meta-gradient, one optimizer update.

        Returns the next state and the metrics of `MetaGradient`, computed at the state given.
        """
        settings = self.problem.optimizer
        batch = self._tasks.sample(state.rng, self.problem.meta_batch, self.problem.dtype)
        gradient, metrics = self._meta_gradient(state.theta, batch)
        gradient = clipped(gradient, metrics["meta/grad_norm"], settings.clip_norm)
        theta, optimizer = self._optimizer.update(gradient, state.optimizer, state.theta, settings)
        return TrainState(theta, optimizer, state.step + 1, state.rng), metrics
