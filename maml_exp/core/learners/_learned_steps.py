"""What learned optimizers share: inner steps that are made by something learned from the support loss's gradient.

    (theta_{s+1}, state_{s+1}) = step(theta_s, g_s, L_s, state_s)          g_s, L_s: of the support loss at theta_s

The papers hold g_s and L_s constant in the outer gradient; with `second_order` they are what they are, functions of
theta_s, which takes one R pass a step (docs/learners.md, "Learned optimizers").
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from maml_exp.core import checks
from maml_exp.core.arrays import Workspace
from maml_exp.core.checks import setting
from maml_exp.core.inner.open import OpenLoop
from maml_exp.core.inner.passes import Pass, query_passes, support_passes
from maml_exp.core.learners._gradient_settings import STEP_LOSSES, query_weights
from maml_exp.core.learners.base import BaseLearner, Gradient, LearnerSettings
from maml_exp.core.losses import mean_loss
from maml_exp.core.network import Network
from maml_exp.core.problem import Problem
from maml_exp.core.proof import reference
from maml_exp.core.tasks.base import Batch

Array = np.ndarray


@dataclass
class LearnedStepsSettings(LearnerSettings):
    """What every learned optimizer has; inner.lr is the unit of its steps."""

    learned_steps: ClassVar[bool] = True
    second_order: bool = setting(
        True, "the outer gradient knows that inner gradients depend on the weights", checks.boolean()
    )
    step_losses: str = setting(
        "last", "query losses behind which inner steps count", checks.one_of(lambda: STEP_LOSSES)
    )
    step_losses_until: float = setting(0.1, "share of training over which annealed step losses go", checks.up_to(1))
    scale: float = setting(0.1, "a gradient g is seen as asinh(g / scale)", checks.number())


class Steps(Protocol):
    """The steps of one meta-batch, forward and backward; arrays are of all tasks and weights, (T, P)."""

    def step(self, s: int, theta: Array, gradient: Array, losses: Array) -> Array:
        """theta_{s+1} from theta_s, and from gradients and losses (T,) of the support sets there."""

    def step_back(self, s: int, v: Array) -> tuple[Array, Array, Array]:
        """The derivatives of theta_s, of the gradients and of the losses (T,), from that of theta_{s+1}."""

    def gradient(self, out: Mapping[str, Array]) -> None:
        """Write the derivatives of what is learned of them, summed over all steps back, to out."""


class LearnedStepsLearner(BaseLearner):
    """Adapts by steps of a rule that is learned; the part theta, where there is one, is a learned start."""

    def __init__(self, problem: Problem, **options: Any):
        super().__init__(problem, **options)
        self.settings: Any = problem.algorithm
        self._workspace = Workspace()

    @property
    def network(self) -> Network:
        """What is adapted."""
        return self.problem.network

    @abstractmethod
    def steps_of(self, parts: Mapping[str, Array], tasks: int, kept: int, lr: float, workspace: Workspace) -> Steps:
        """The rule, with the state before the first step.

        Args:
            parts: of the vector.
            tasks: T.
            kept: of how many steps it keeps what the way back needs; further ones are forgotten.
            lr: the unit of steps.
            workspace: holds all of it.
        """

    @abstractmethod
    def reference_step(
        self, parts: Mapping[str, Array], theta: Array, gradient: Array, loss: Array, state: Any
    ) -> tuple[Array, Any]:
        """One step of one task, slow and obvious: theta (P,) and the state after it; the first state is None."""

    def start(self, parts: Mapping[str, Array], rng: np.random.Generator) -> Array:
        """theta_0 (P,) of a meta-batch."""
        return parts["theta"]

    def start_of_adaptation(self, parts: Mapping[str, Array]) -> Array:
        """theta_0 (P,) where a trained learner adapts."""
        return parts["theta"]

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The derivative of the query losses, or of first order that with inner gradients and losses constant."""
        x, y, x_query, y_query = batch
        (tasks, shots, _), inner, parts = x.shape, self.problem.inner, self.layout.parts(vector)
        omega = query_weights(self.settings, inner.steps, progress)
        later = query_passes(omega, x_query.shape[1], tasks)
        loop = self._loop(tasks, (*support_passes(inner.steps, shots, -1.0), *later), vector.dtype)
        rule = self.steps_of(parts, tasks, inner.steps, inner.lr, self._workspace)
        loop.bind(self.start(parts, rng))
        before = mean_loss(loop.loss, loop.predict(x, 0), y)
        gradients = list(_steps(loop, rule, x, y))
        for q in range(loop.steps, loop.pass_count):
            query = loop.run_pass(q, x_query, y_query)

        v = loop.gradients(loop.pass_count - 1)
        for s in reversed(range(loop.steps)):
            v, of_gradient, of_loss = rule.step_back(s, v)
            if self.settings.second_order:
                v += loop.hessian_products(s, of_gradient)
                v += of_loss[:, None] * gradients[s]
            for q, one in enumerate(later[:-1], loop.steps):
                if one.behind == s:
                    v += loop.gradients(q)
        gradient = np.empty_like(vector)
        out = self.layout.parts(gradient)
        rule.gradient(out)
        if "theta" in out:
            np.add.reduce(v, axis=0, out=out["theta"])
        return Gradient(gradient, loop.loss.mean(query), before)

    def _loop(self, tasks: int, passes: Sequence[Pass], dtype: np.dtype) -> OpenLoop:
        return OpenLoop(self.network, self.problem.family.loss, tasks, passes, dtype)

    def adapt(
        self, vector: Array, x_support: Array, y_support: Array, x: Array, steps: int, lr: float | None = None
    ) -> Iterator[Array]:
        """Predictions after 0 .. `steps` steps of the rule, also beyond those of training; `lr` is their unit."""
        x_support, y_support, x = (array.astype(vector.dtype, copy=False) for array in (x_support, y_support, x))
        tasks, shots, _ = x_support.shape
        parts, lr = self.layout.parts(vector), self.problem.inner.lr if lr is None else lr
        passes = (*support_passes(steps, shots, -1.0, kept=False), *query_passes((*[0.0] * steps, 1.0), 0, tasks))
        loop = self._loop(tasks, passes, vector.dtype)
        rule = self.steps_of(parts, tasks, 1, lr, Workspace())
        loop.bind(self.start_of_adaptation(parts))
        yield loop.predict(x, 0)
        for s, _ in enumerate(_steps(loop, rule, x_support, y_support)):
            yield loop.predict(x, s + 1)

    def reference_loss(
        self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float, base: Array
    ) -> Array:
        """The weighted query losses, one task at a time; of first order with inner gradients and losses of base."""
        parts, at_base = self.layout.parts(vector), self.layout.parts(base)
        omega = query_weights(self.settings, self.problem.inner.steps, progress)
        start, losses, loss = self.start(parts, rng), [], reference.LOSSES[self.problem.family.loss.name]
        for x, y, x_query, y_query in zip(*batch, strict=True):
            seen = None
            if not self.settings.second_order:
                _, seen = self._reference_path(at_base, at_base.get("theta", start), x, y, None)
            path, _ = self._reference_path(parts, start, x, y, seen)
            for weight, theta in zip(omega, path, strict=True):
                losses.append(weight * reference.loss(self.network, theta, x_query, y_query, loss))
        return np.sum(losses) / np.array(len(batch.x_support))

    def _reference_path(
        self, parts: Mapping[str, Array], theta: Array, x: Array, y: Array, seen: Sequence[tuple[Array, Array]] | None
    ) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """theta_0 .. theta_S of one task, and the gradients and losses that led there: its own, or those given."""
        path, found, state = [theta], [], None
        loss = reference.LOSSES[self.problem.family.loss.name]
        for s in range(self.problem.inner.steps):
            points = self.network, path[s], x, y, loss
            own = reference.gradient(*points), reference.loss(*points)
            found.append(own if seen is None else seen[s])
            theta, state = self.reference_step(parts, path[s], *found[s], state)
            path.append(theta)
        return path, found

    def seen(self, gradient: Array) -> Array:
        """What a rule sees of gradients: asinh(g / scale), linear where they are small, a logarithm where large."""
        return np.arcsinh(gradient / gradient.dtype.type(self.settings.scale))

    def slope_of_seen(self, gradient: Array) -> Array:
        """The derivative of `seen`."""
        scale = gradient.dtype.type(self.settings.scale)
        return 1 / np.sqrt(scale * scale + gradient * gradient)

    @property
    def trained_steps(self) -> int:
        """S."""
        return self.problem.inner.steps


def _steps(loop: OpenLoop, rule: Steps, x: Array, y: Array) -> Iterator[Array]:
    """Make all steps on x (T, K, n), y (T, K, m), each as it is asked for; gives the gradients (T, P) behind each."""
    theta = loop.start()
    for s in range(loop.steps):
        found = loop.run_pass(s, x, y)
        gradients = loop.gradients(s)
        theta = rule.step(s, theta, gradients, loop.loss.means(found))
        loop.write(s + 1, theta)
        yield gradients
