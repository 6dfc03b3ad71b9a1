"""Everything that decides, together with the seed, what meta-training computes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.network import ModelSettings, Network
from maml_exp.core.optimizers.base import OptimizerSettings
from maml_exp.core.tasks import TASKS
from maml_exp.core.tasks.base import TaskFamily, TaskSettings


@dataclass(frozen=True)
class Problem:
    """The settings of one run's mathematics; what they name is looked up here."""

    model: ModelSettings
    algorithm: Any  # the settings of a learner
    inner: InnerSettings
    task: TaskSettings
    optimizer: OptimizerSettings
    meta_batch: int  # T
    iterations: int = 1  # of the outer loop: what schedules are shares of
    dtype: str = "float32"
    curvature: bool = False  # whether learners that can also measure what first order would drop

    @cached_property
    def family(self) -> TaskFamily:
        """The tasks."""
        return TASKS.get(self.task.name).Family(self.task)

    @cached_property
    def network(self) -> Network:
        """The multilayer perceptron between the tasks' inputs and outputs."""
        return Network((self.family.inputs, *self.model.hidden, self.family.outputs), self.model.activation)
