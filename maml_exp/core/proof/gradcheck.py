"""Proof of the hand-derived gradients: complex-step derivatives of an independent implementation.

Every check compares the fast core, in float64 and in both representations of the adapted weights,
with Im f(theta + i h u) / h of `reference`, which has no step size to choose and no cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from maml_exp.core.learners.gradient import ALGORITHMS, MetaGradient
from maml_exp.core.network import Network, initial_parameters
from maml_exp.core.proof import reference
from maml_exp.core.tasks.sinusoid import Batch, Sinusoids

Array = np.ndarray
TOLERANCE = 1e-10
DIRECTIONS = 8  # random directions along which a gradient is compared


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


class Case(NamedTuple):
    """A network, a point in its parameter space, a meta-batch and an inner rate to check at."""

    network: Network
    theta: Array
    batch: Batch
    inner_lr: float
    steps: int

    def meta_gradient(self, algorithm: str, pairs: bool, **changes) -> Array:
        """The fast core's meta-gradient (P,)."""
        case = self._replace(**changes)
        tasks, shots, query = *case.batch.x_support.shape[:2], case.batch.x_query.shape[1]
        sizes = {"tasks": tasks, "shots": shots, "query": query, "dtype": np.float64, "pairs": pairs}
        rates = {"inner_lr": case.inner_lr, "inner_steps": case.steps}
        return MetaGradient(case.network, algorithm, **rates, **sizes)(case.theta, case.batch)[0]


def relative_error(ours: Array, exact: Array) -> float:
    """Norm of the difference over the norm of `exact`."""
    return float(np.linalg.norm(np.subtract(ours, exact)) / np.linalg.norm(exact))


def inner_gradient_error(case: Case, pairs: bool, rng: np.random.Generator) -> float:
    """The support loss's gradient, one task at a time."""
    ours, exact = [], []
    for x, y in zip(case.batch.x_support, case.batch.y_support, strict=True):
        # without an inner step the query loss's gradient is the gradient of the loss on the points given
        one = Batch(x[None], y[None], x[None], y[None])
        gradient = case.meta_gradient("fomaml", pairs, batch=one, steps=0)
        for direction in rng.standard_normal((DIRECTIONS, case.theta.size)):
            ours.append(gradient @ direction)
            exact.append(
                reference.complex_step(
                    lambda theta, x=x, y=y: reference.loss(case.network, theta, x, y), case.theta, direction
                )
            )
    return relative_error(ours, exact)


def hessian_products(case: Case, pairs: bool) -> Iterator[tuple[Array, Array, Array]]:
    """(v, H v, exact H v), each (P,), for the support Hessian of the first task and several v.

    H v is what one pull-back with rate alpha takes away from v: (fomaml - maml) / alpha.
    """
    x, y = case.batch.x_support[:1], case.batch.y_support[:1]
    alpha = 0.1
    for x_query, y_query in zip(case.batch.x_query, case.batch.y_query, strict=True):
        one = {"batch": Batch(x, y, x_query[None], y_query[None]), "steps": 1, "inner_lr": alpha}
        v = case.meta_gradient("fomaml", pairs, **one)
        ours = (v - case.meta_gradient("maml", pairs, **one)) / alpha
        exact = reference.complex_step(lambda theta: reference.gradient(case.network, theta, x[0], y[0]), case.theta, v)
        yield v, ours, exact


def hessian_value_error(case: Case, pairs: bool, rng: np.random.Generator) -> float:
    """H v against the complex step of the gradient along v."""
    return max(relative_error(ours, exact) for _, ours, exact in hessian_products(case, pairs))


def hessian_symmetry_error(case: Case, pairs: bool, rng: np.random.Generator) -> float:
    """w.(H v) against v.(H w), relative to |v| |H w|."""
    (v, hv, _), (w, hw, _) = list(hessian_products(case, pairs))[:2]
    return float(abs(w @ hv - v @ hw) / (np.linalg.norm(v) * np.linalg.norm(hw)))


def meta_gradient_error(case: Case, pairs: bool, rng: np.random.Generator, algorithm: str) -> float:
    """An algorithm's meta-gradient along random directions."""
    gradient = case.meta_gradient(algorithm, pairs)
    directions = rng.standard_normal((DIRECTIONS, case.theta.size))

    def meta_loss(theta: Array) -> Array:
        return reference.meta_loss(
            case.network, algorithm, theta, case.batch, case.inner_lr, case.steps, base=case.theta
        )

    return relative_error(directions @ gradient, [reference.complex_step(meta_loss, case.theta, u) for u in directions])


def checks(
    family: Sinusoids,
    *,
    hidden: Sequence[Sequence[int]],
    activations: Sequence[str],
    steps: Sequence[int],
    algorithms: Sequence[str] = tuple(ALGORITHMS),
    inner_lr: float = 0.01,
    initializer: str = "uniform_fan_in",
    seed: int = 0,
    tasks: int = 3,
) -> Iterator[Check]:
    """Every check of every combination, one after the other; an error is the worse of both representations."""
    for widths, activation in product(hidden, activations):
        network = Network((family.inputs, *widths, family.outputs), activation)
        rng = np.random.default_rng(seed)
        theta = initial_parameters(network, initializer, rng, np.float64)
        batch = family.sample(rng, tasks, np.float64)
        name = "-".join(map(str, network.sizes)) + " " + activation

        def check(what: str, function, s: int, name=name, case=(network, theta, batch), **options) -> Check:
            errors = [
                function(Case(*case, inner_lr, s), pairs, np.random.default_rng(seed), **options)
                for pairs in (True, False)
            ]
            return Check(what, name, s, float(np.max(errors)))

        yield check("inner gradient", inner_gradient_error, 0)
        yield check("Hessian product", hessian_value_error, 1)
        yield check("Hessian symmetry", hessian_symmetry_error, 1)
        for algorithm in algorithms:
            for s in steps if ALGORITHMS[algorithm].adapts else [0]:
                yield check(f"{algorithm} meta-gradient", meta_gradient_error, s, algorithm=algorithm)
