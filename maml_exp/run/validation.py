"""Choosing by validation tasks while training: the best checkpoint so far, and when to stop.

The objective is that of evaluation.objective, measured on tasks that have a seed of their own and are never reported,
with the best of the evaluation's rates.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from maml_exp.config.schema import Config
from maml_exp.core.evaluation import adaptation_errors
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.statistics import statistics
from maml_exp.core.training import TrainState
from maml_exp.run.final_evaluation import Array, held_out_tasks
from maml_exp.store.checkpoints import BEST, CheckpointError
from maml_exp.store.choosing import best_checkpoint
from maml_exp.store.run_folder import RunFolder


def validation_objective(config: Config, learner: BaseLearner, vector: Array) -> float:
    """The objective of `vector` on the validation tasks: infinite where an error in it is."""
    evaluation, step = config.evaluation, config.objective_steps
    tasks = held_out_tasks(config, learner, evaluation.validation_tasks, "validation")
    reference = learner.problem.family.loss.unadapted(tasks.y_query, tasks.weights)

    def objective(lr: float) -> float:
        errors = adaptation_errors(learner, vector, tasks, config.objective_shots, step, lr, first=step)
        return float(getattr(statistics(errors, reference), evaluation.objective)[0])

    return min(objective(lr) for lr in config.evaluation_rates)


class Validation:
    """What validation tasks have said of a run, and what follows from it.

    Args:
        config: training.keep_best and training.patience say what follows.
        learner: what is trained.
        remembered: what `state` gave, to go on from.
    """

    def __init__(self, config: Config, learner: BaseLearner, remembered: dict[str, Any] | None = None):
        self._config, self._learner = config, learner
        self._best = Best(**(remembered or {}))

    def state(self) -> dict[str, Any]:
        """All that it remembers, as plain data."""
        return dataclasses.asdict(self._best)

    def measure(self, step: int, vector: Array) -> tuple[float, bool]:
        """The objective of `vector`, and whether its checkpoint is to be kept as the best so far."""
        objective = validation_objective(self._config, self._learner, vector)
        better = self._best.add(step, objective)
        return objective, better and self._config.training.keep_best

    @property
    def is_over(self) -> bool:
        """Whether training.patience is at its end."""
        return 0 < self._config.training.patience <= self._best.misses

    def judged_step(self, step: int) -> int:
        """The iteration whose checkpoint is judged, after `step` iterations."""
        best = self._best.step
        return step if best is None or not self._config.training.keep_best else best

    def judged_vector(self, folder: RunFolder, last: TrainState) -> Array:
        """The parameters that are judged; raises `CheckpointError` where the best checkpoint is not in the folder."""
        step = self.judged_step(last.step)
        if step == last.step:
            return last.vector
        point = best_checkpoint(folder, self._config)
        if point is None or point.state.step != step:
            raise CheckpointError(f"{folder.checkpoints / BEST} is not the best checkpoint, that of iteration {step}")
        return point.state.vector

    def notes(self, step: int) -> list[str]:
        """An early end, and the choice of a checkpoint, a line each, after `step` iterations."""
        found, best, last = [], self._best, self._config.training.iterations
        if self.is_over and step < last:
            found.append(
                f"stopped early, after iteration {step} of {last}: no better objective on validation tasks "
                f"in {best.misses} evaluations (training.patience)"
            )
        if self._config.training.keep_best and best.step is not None:
            found.append(
                f"the best objective on validation tasks is {best.objective:.4g}, at iteration {best.step}: "
                "that checkpoint is kept, judged and loaded (training.keep_best)"
            )
        return found

    def summary(self, step: int) -> dict[str, Any]:
        """What summary.json says of it, after `step` iterations."""
        training, best = self._config.training, self._best
        chosen = {"step": best.step, "objective": best.objective} if training.validates else None
        early = step < training.iterations
        return {"judged_step": self.judged_step(step), "stopped_early": early, "validation": chosen}


@dataclass
class Best:
    """The best objective so far; plain data, so that a checkpoint can hold it."""

    objective: float = math.inf
    step: int | None = None  # None: none was finite
    misses: int = 0  # evaluations since, none of them better

    def add(self, step: int, objective: float) -> bool:
        """Take note of an evaluation; returns whether it is better than all before."""
        better = objective < self.objective
        if better:
            self.objective, self.step, self.misses = objective, step, 0
        else:
            self.misses += 1
        return better
