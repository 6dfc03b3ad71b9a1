"""Proof of the hand-derived gradients: complex-step derivatives of an independent implementation.

Every check compares a learner, in float64 and in every variant of its implementation, with
Im f(vector + i h u) / h of its `reference_loss`, which has no step size to choose and no cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.learners import LEARNERS, gradient
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.problem import Problem
from maml_exp.core.proof import reference
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import make_learner

Array = np.ndarray
TOLERANCE = 1e-10
DIRECTIONS = 4  # random directions along which a part of a gradient is compared
PAIRS = 3  # of perturbations, of which an estimate is compared


class Check(NamedTuple):
    """One comparison."""

    what: str
    network: str
    steps: int
    error: float  # relative

    @property
    def passed(self) -> bool:
        """Whether the error is within `TOLERANCE` (a NaN is not)."""
        return self.error <= TOLERANCE


def relative_error(ours: Array, exact: Array) -> float:
    """Norm of the difference over the norm of `exact`; where that is zero, zero if both are, else infinite."""
    difference, size = float(np.linalg.norm(np.subtract(ours, exact))), float(np.linalg.norm(exact))
    if size == 0:
        return np.inf if difference else 0.0
    return difference / size


def elsewhere(learner: BaseLearner, vector: Array, rng: np.random.Generator) -> Array:
    """`vector` (P,) with all parts but theta moved by about a third: where they start they are all alike, or zero."""
    moved = vector.copy()
    for name, part in learner.layout.parts(moved).items():
        if name != "theta":
            size = np.abs(part).max() or 1.0
            part += 0.3 * size * rng.standard_normal(part.size)
    return moved


def gradient_errors(
    learner: BaseLearner, vector: Array, batch: Batch, seed: int, progress: float = 0.0
) -> dict[str, float]:
    """The relative error of every named part of a learner's meta-gradient, along random directions of that part."""
    ours = learner.meta_gradient(vector, batch, np.random.default_rng(seed), progress).vector

    def loss(moved: Array) -> Array:  # what the learner draws is the same each time
        return learner.reference_loss(moved, batch, np.random.default_rng(seed), progress, vector)

    errors, rng = {}, np.random.default_rng(seed)
    for name, part in learner.layout.slices.items():
        directions = np.zeros((DIRECTIONS, vector.size))
        directions[:, part] = rng.standard_normal((DIRECTIONS, part.stop - part.start))
        exact = [reference.complex_step(loss, vector, direction) for direction in directions]
        errors[name] = relative_error(directions @ ours, np.array(exact))
    return errors


class Passes:
    """The support loss's gradient and Hessian, as the passes of the gradient learner compute them."""

    def __init__(self, problem: Problem, vector: Array, batch: Batch, pairs: bool):
        self.problem, self.vector, self.batch, self.pairs = problem, vector, batch, pairs
        self.function = reference.LOSSES[problem.family.loss.name]

    def _meta_gradient(self, outer: str, batch: Batch, steps: int, lr: float = 0.01) -> Array:
        algorithm = gradient.Settings(outer=outer)
        inner = replace(self.problem.inner, steps=steps, lr=lr)
        learner = gradient.Learner(replace(self.problem, algorithm=algorithm, inner=inner), pairs=self.pairs)
        return learner.meta_gradient(self.vector, batch, np.random.default_rng(0), 0.0).vector

    def gradient_error(self, rng: np.random.Generator) -> float:
        """The support loss's gradient, one task at a time."""
        ours, exact = [], []
        network = self.problem.network
        for x, y in zip(self.batch.x_support, self.batch.y_support, strict=True):
            # without an inner step the query loss's gradient is the gradient of the loss on the points given
            one = Batch(x[None], y[None], x[None], y[None])
            found = self._meta_gradient("first_order", one, steps=0)

            def loss(theta: Array, x: Array = x, y: Array = y) -> Array:
                return reference.loss(network, theta, x, y, self.function)

            for direction in rng.standard_normal((DIRECTIONS, self.vector.size)):
                ours.append(found @ direction)
                exact.append(reference.complex_step(loss, self.vector, direction))
        return relative_error(np.array(ours), np.array(exact))

    def hessian_products(self) -> Iterator[tuple[Array, Array, Array]]:
        """(v, H v, exact H v), each (P,), for the support Hessian of the first task and several v.

        H v is what one pull-back with rate alpha takes away from v: (first order - exact) / alpha.
        """
        x, y = self.batch.x_support[:1], self.batch.y_support[:1]
        alpha = 0.1

        def support_gradient(theta: Array) -> Array:
            return reference.gradient(self.problem.network, theta, x[0], y[0], self.function)

        for x_query, y_query in zip(self.batch.x_query, self.batch.y_query, strict=True):
            one = Batch(x, y, x_query[None], y_query[None])
            v = self._meta_gradient("first_order", one, 1, alpha)
            ours = (v - self._meta_gradient("exact", one, 1, alpha)) / alpha
            yield v, ours, reference.complex_step(support_gradient, self.vector, v)

    def hessian_error(self) -> float:
        """H v against the complex step of the gradient along v."""
        return max(relative_error(ours, exact) for _, ours, exact in self.hessian_products())

    def symmetry_error(self) -> float:
        """w.(H v) against v.(H w), relative to |v| |H w|."""
        (v, hv, _), (w, hw, _) = list(self.hessian_products())[:2]
        return float(abs(w @ hv - v @ hw) / (np.linalg.norm(v) * np.linalg.norm(hw)))


def _worst(errors: Sequence[float]) -> float:
    """The largest error; a NaN is larger than all."""
    return float(np.max(errors))


def checks(
    problem: Problem,
    algorithms: Mapping[str, Any],
    *,
    hidden: Sequence[Sequence[int]],
    activations: Sequence[str],
    steps: Sequence[int],
    seed: int = 0,
) -> Iterator[Check]:
    """Every check of every combination, one after the other; an error is the worst of all variants.

    Args:
        problem: what is not varied: task, inner rate, number of tasks; computed in float64.
        algorithms: settings of learners, by the name they are reported under.
        hidden, activations, steps: what is varied.
        seed: of parameters, tasks and directions.
    """
    for widths, activation in product(hidden, activations):
        model = replace(problem.model, hidden=list(widths), activation=activation)
        here = replace(problem, model=model, dtype="float64")
        name = "-".join(map(str, here.network.sizes)) + " " + activation
        rng = np.random.default_rng(seed)
        theta = gradient.Learner(replace(here, algorithm=gradient.Settings())).init(rng)
        batch = here.family.sample(rng, here.meta_batch, np.float64)
        both = [Passes(here, theta, batch, pairs) for pairs in (True, False)]
        yield Check("inner gradient", name, 0, _worst([p.gradient_error(np.random.default_rng(seed)) for p in both]))
        yield Check("Hessian product", name, 1, _worst([p.hessian_error() for p in both]))
        yield Check("Hessian symmetry", name, 1, _worst([p.symmetry_error() for p in both]))
        for label, settings in algorithms.items():
            yield from _learner_checks(replace(here, algorithm=settings), label, name, steps, batch, seed)


def _learner_checks(
    problem: Problem, label: str, name: str, steps: Sequence[int], batch: Batch, seed: int
) -> Iterator[Check]:
    """The meta-gradient of one learner, part by part, for every number of inner steps that it makes.

    Where the outer loop is evolution it is no gradient: its estimate is compared, by a few pairs of perturbations.
    """
    compared, evolution = "meta-gradient", problem.algorithm.evolution
    if evolution.population:
        compared, evolution = "estimate", replace(evolution, population=min(PAIRS, evolution.population))
        problem = replace(problem, algorithm=replace(problem.algorithm, evolution=evolution))
    # by steps: one that makes no inner step is checked once
    by_steps = {learner.trained_steps: learner.problem for learner in _made(problem, steps)}
    variants = LEARNERS.get(problem.algorithm.learner).Learner.variants
    for made, one in by_steps.items():
        learners = [make_learner(one, **variant) for variant in variants]
        rng = np.random.default_rng(seed)
        vector = elsewhere(learners[0], learners[0].init(rng), rng)
        moments = _moments(learners[0], vector, batch, seed)
        found = [gradient_errors(learner, vector, batch, seed, at) for learner in learners for at in moments]
        for part in found[0]:
            what = f"{label} {compared}" + (f" of {part}" if len(found[0]) > 1 else "")
            yield Check(what, name, made, _worst([errors[part] for errors in found]))


def _made(problem: Problem, steps: Sequence[int]) -> list[BaseLearner]:
    """A learner for every number of inner steps that its settings allow; raises `SettingError` if they allow none."""
    learners, refusals = [], []
    for count in steps:
        try:
            learners.append(make_learner(replace(problem, inner=replace(problem.inner, steps=count))))
        except SettingError as error:  # as of a context that no step would move
            refusals.append(error)
    if not learners:
        raise refusals[0]
    return learners


def _moments(learner: BaseLearner, vector: Array, batch: Batch, seed: int) -> Sequence[float]:
    """Shares of training at which a learner's gradient is checked: its start, and its end where that differs."""
    start, end = (learner.meta_gradient(vector, batch, np.random.default_rng(seed), at).vector for at in (0.0, 0.99))
    return (0.0,) if np.array_equal(start, end) else (0.0, 0.99)
