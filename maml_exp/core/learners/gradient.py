"""Learning by gradient descent on the support set: MAML and the methods that differ from it in settings.

outer          the direction of the outer loop
exact          v pulled back through all S inner steps: the gradient of the meta-loss (maml)
first_order    v = gradient of the query loss at theta_S, not pulled back (fomaml; Finn et al. 2017, section 5.2)
joint          no inner step, support and query pooled: ordinary regression on all tasks at once
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.arrays import norm
from maml_exp.core.checks import setting
from maml_exp.core.inner.loop import InnerLoop
from maml_exp.core.learners.base import BaseLearner, Gradient, LearnerSettings
from maml_exp.core.network import initial_parameters
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem
from maml_exp.core.proof import reference
from maml_exp.core.tasks.base import Batch

Array = np.ndarray
OUTER = ("exact", "first_order", "joint")
CURVATURE = ("curvature_share", "fomaml_cosine")
MOST_LOOPS = 8  # sizes of meta-batches whose buffers are kept


@dataclass
class Settings(LearnerSettings):
    """Which gradient the outer loop descends."""

    learner: str = "gradient"
    outer: str = setting(
        "exact",
        "meta-gradient: pulled back through the inner steps, not pulled back, or of all points pooled",
        checks.one_of(lambda: OUTER),
    )


class Learner(BaseLearner):
    """Adapts by S steps of gradient descent with rate alpha; theta is the network it starts from.

    Args:
        problem: see `Problem`; its inner settings are alpha and S.
        pairs: force one representation of the adapted weights; None chooses layer by layer.
    """

    variants = ({"pairs": True}, {"pairs": False})

    def __init__(self, problem: Problem, pairs: bool | None = None):
        super().__init__(problem)
        self.outer = problem.algorithm.outer
        self.network = problem.network
        self.layout = Layout({"theta": self.network.parameter_count})
        self._pairs = pairs
        self._loops: dict[Any, InnerLoop] = {}
        self._measures_curvature = problem.curvature and self.outer != "joint"

    def init(self, rng: np.random.Generator) -> Array:
        """Theta (P,)."""
        return initial_parameters(self.network, self.problem.model.initializer, rng, self.problem.dtype)

    def _loop(self, tasks: int, points: tuple[int, ...], lr: float, dtype: np.dtype) -> InnerLoop:
        """An inner loop for these sizes, with the buffers of the last time they were asked for."""
        key = (tasks, points, lr, dtype)
        loop = self._loops.get(key)
        if loop is None:
            loop = InnerLoop(self.network, tasks, points, lr, dtype, self.problem.family.loss, self._pairs)
            self._keep(key, loop)
        return loop

    def _keep(self, key: Any, loop: InnerLoop) -> None:
        if len(self._loops) >= MOST_LOOPS:
            self._loops.pop(next(iter(self._loops)))
        self._loops[key] = loop

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The outer direction; extras: `curvature_share` and `fomaml_cosine` where curvature is measured."""
        tasks, shots = batch.x_support.shape[:2]
        query = batch.x_query.shape[1]
        adapts = self.outer != "joint"
        points = (shots,) * self.problem.inner.steps + (query,) if adapts else (shots + query,)
        loop = self._loop(tasks, points, self.problem.inner.lr, vector.dtype)
        loop.bind(vector)
        second_order = self.outer == "exact"
        if adapts:
            loss, support_loss = _adapt(loop, batch)
        else:
            mean = loop.loss.mean
            residual = loop.run_pass(0, *batch.pooled())
            loss, support_loss = mean(residual), mean(residual[:, :shots])
        if second_order or self._measures_curvature:
            loop.start_pull_back()
            for s in reversed(range(loop.steps)):
                loop.pull_back(s)
        gradient = loop.gradient(np.empty_like(vector), second_order)
        if not self._measures_curvature:
            return Gradient(gradient, loss, support_loss)
        other = loop.gradient(np.empty_like(vector), not second_order)
        exact, first_order = (gradient, other) if second_order else (other, gradient)
        return Gradient(gradient, loss, support_loss, curvature(exact, first_order))

    def adapt(
        self, vector: Array, x_support: Array, y_support: Array, x: Array, steps: int, lr: float | None = None
    ) -> Iterator[Array]:
        """Predictions after 0 .. `steps` gradient steps from theta on each support set."""
        tasks, shots, _ = x_support.shape
        lr = self.problem.inner.lr if lr is None else lr
        key = (tasks, (shots,) * steps + (0,), lr, vector.dtype)
        loop = self._loop(*key)
        del self._loops[key]  # an adaptation that begins before this one has ended has buffers of its own
        loop.bind(vector)
        x_support, y_support, x = (array.astype(loop.dtype) for array in (x_support, y_support, x))
        try:
            for step in range(steps + 1):
                yield loop.predict(x, step)
                if step < steps:
                    loop.run_pass(step, x_support, y_support)
        finally:
            self._keep(key, loop)

    def reference_loss(
        self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float, base: Array
    ) -> Array:
        """See `reference.meta_loss`."""
        inner = self.problem.inner
        return reference.meta_loss(self.network, self.outer, vector, batch, inner.lr, inner.steps, base)

    @property
    def extra_names(self) -> tuple[str, ...]:
        """What `curvature` measures, where it is asked for."""
        return CURVATURE if self._measures_curvature else ()

    @property
    def trained_steps(self) -> int:
        """S; joint training makes none."""
        return 0 if self.outer == "joint" else self.problem.inner.steps

    @property
    def describes(self) -> str:
        """The inner loop in a few words."""
        steps = self.trained_steps
        if self.outer == "joint":
            return ""
        return f"{steps} inner step{'s' * (steps != 1)} of rate {self.problem.inner.lr:g}"


def _adapt(loop: InnerLoop, batch: Batch) -> tuple[float, float]:
    """All support passes and the query pass; returns the query loss and the first support loss."""
    mean = loop.loss.mean
    support_loss = math.nan
    for s in range(loop.steps):
        residual = loop.run_pass(s, batch.x_support, batch.y_support)
        if s == 0:
            support_loss = mean(residual)
    loss = mean(loop.run_pass(loop.steps, batch.x_query, batch.y_query))
    if not loop.steps:
        support_loss = mean(loop.predict(batch.x_support, 0) - batch.y_support)
    return loss, support_loss


def curvature(exact: Array, first_order: Array) -> dict[str, float]:
    """What first order drops of the exact meta-gradient (P,): its norm's share of the whole, and the cosine of both."""
    size = norm(exact)
    share = norm(exact - first_order) / size
    cosine = (exact @ first_order).item() / (size * norm(first_order))
    return dict(zip(CURVATURE, (share, cosine), strict=True))
