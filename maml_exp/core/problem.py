"""Everything that decides, together with the seed, what meta-training computes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.network import ModelSettings, Network
from maml_exp.core.optimizers.base import AUTO, OptimizerSettings
from maml_exp.core.tasks import families
from maml_exp.core.tasks.base import TaskFamily, TaskSettings

# Several inner steps can explode on single tasks, at any time: one such meta-gradient, of norm 1e6 and more, stays in
# Adam's second moment for tens of thousands of iterations. Norms of ordinary ones are 1 to 5, so few are clipped.
AUTO_CLIP_NORM = 10.0


def clip_limit(limit: Any, steps: int) -> float | None:
    """What a value of optimizer.clip_norm means with so many inner steps: a norm, or None for never."""
    if limit != AUTO:
        return None if limit is None else float(limit)
    return AUTO_CLIP_NORM if steps > 1 else None


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
    data: Any = None  # what a family that has a reader is computed on
    curvature: bool = False  # whether learners that can also measure what first order would drop

    @cached_property
    def clip_norm(self) -> float | None:
        """The norm that meta-gradients are scaled down to, None for never: what optimizer.clip_norm says, resolved."""
        return clip_limit(self.optimizer.clip_norm, self.inner.steps)

    @cached_property
    def family(self) -> TaskFamily:
        """The tasks; what it draws has the first of several numbers of shots, and nothing else depends on them."""
        return families(self.task, self.data)[0]

    @cached_property
    def drawn_from(self) -> list[TaskFamily]:
        """What meta-batches are drawn from: the family, or of several numbers of shots one for each."""
        return families(self.task, self.data) if len(self.task.all_shots) > 1 else [self.family]

    @cached_property
    def network(self) -> Network:
        """The multilayer perceptron between the tasks' inputs and outputs."""
        sizes = (self.family.inputs, *self.model.hidden, self.family.outputs)
        return Network(sizes, self.model.activation, self.model.layer_norm)
