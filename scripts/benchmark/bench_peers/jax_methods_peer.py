"""JAX: methods with another inner loop than MAML's, each written for itself, as one jit-compiled program.

Loops as in `jax_peer`; differentiated by `reverse` mode of the mean over tasks, or `per-task`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench_peers import Case
from bench_peers.jax_peer import FORMULAS, Formulas, Jax, Parameters, flatten, unflatten
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import make_learner

VARIANTS = tuple(f"{loop}/{formula}" for loop in ("step", "scan") for formula in ("reverse", "per-task"))
Parts = dict[str, Any]  # theta: `Parameters`; rates: as each method wants them


class Head(Formulas):
    """ANIL: the last layer alone moves, on features that are computed once, of all points in one go."""

    def _features(self, body: Parameters, x: jax.Array) -> jax.Array:
        for w, b in body:
            x = self.activation(x @ w + b)
        return x

    def _task_loss(self, parts: Parts, task: Batch) -> jax.Array:
        *body, head = parts["theta"]
        features = self._features(body, jnp.concatenate([task.x_support, task.x_query]))
        x, x_query = jnp.split(features, [len(task.x_support)])
        for _ in range(self.steps):
            head = self._moved(head, jax.grad(lambda h: self.loss([h], x, task.y_support))(head))
        return self.loss([head], x_query, task.y_query)


class LearnedRates(Formulas):
    """All layers move, each by rates of its own."""

    def rates_of(self, rates: Any, step: int) -> Parameters:
        """The rates of a step, shaped as theta or to be broadcast to it."""
        raise NotImplementedError

    def _task_loss(self, parts: Parts, task: Batch) -> jax.Array:
        moved = parts["theta"]
        for step in range(self.steps):
            gradient = jax.grad(self.loss)(moved, task.x_support, task.y_support)
            rates = self.rates_of(parts["rates"], step)
            moved = jax.tree.map(lambda p, g, rate: p - rate * g, moved, gradient, rates)
        return self.loss(moved, task.x_query, task.y_query)


class ByLayerAndStep(LearnedRates):
    """LSLR."""

    def rates_of(self, rates: jax.Array, step: int) -> Parameters:
        """From rates (S L,), those of the first step before those of the second."""
        return [(rate, rate) for rate in rates.reshape(self.steps, -1)[step]]


class ByWeight(LearnedRates):
    """Meta-SGD."""

    def rates_of(self, rates: Parameters, step: int) -> Parameters:
        """The same in every step."""
        return rates


METHOD = {"anil": Head, "lslr": ByLayerAndStep, "meta_sgd": ByWeight}


class JaxMethod(Jax):
    """A contender whose parameters are those of the core's learner, by part."""

    def __init__(self, case: Case, loop: str, gradient: Callable):
        self._layout = make_learner(case.problem).layout
        super().__init__(case, loop, gradient)

    def _unflatten(self, theta: np.ndarray) -> Parts:
        shaped = {"meta_sgd": partial(unflatten, self.case)}.get(self.case.algorithm, jnp.array)
        parts = self._layout.parts(theta)
        return {name: unflatten(self.case, part) if name == "theta" else shaped(part) for name, part in parts.items()}

    def _flatten(self, parameters: Parts) -> np.ndarray:
        parts = [parameters[name] for name in self._layout.sizes]
        return np.concatenate([flatten(part) if isinstance(part, list) else np.asarray(part) for part in parts])


def make(case: Case, variant: str) -> JaxMethod:
    """One of `VARIANTS`."""
    loop, formula = variant.split("/")
    return JaxMethod(case, loop, partial(FORMULAS[formula], METHOD[case.algorithm](case)))
