"""JAX: R runs of one problem as one, by a vmap over seeds inside the compiled scan that draws its tasks itself."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench_peers import SEED, Case
from bench_peers.jax_peer import FORMULAS, Formulas, Jax, flatten, sample, unflatten
from maml_exp.core.training import make_learner

VARIANTS = tuple(f"scan/{formula}" for formula in FORMULAS)


class JaxInLockstep(Jax):
    """A contender; the first run is that of `jax`, all arrays have an axis of runs."""

    def __init__(self, case: Case, formula: str):
        super().__init__(case, "scan", partial(FORMULAS[formula], Formulas(case)))
        learner, first = make_learner(case.problem), self._parameters
        others = [unflatten(case, learner.init(np.random.default_rng(SEED + run))) for run in range(1, case.runs)]
        self._parameters = jax.tree.map(lambda *parts: jnp.stack(parts), first, *others)
        self._state = jax.tree.map(lambda part: jnp.stack([part] * case.runs), self._state)
        self._key = jax.random.split(self._key, case.runs)

    def _many_steps(self, parameters: Any, state: Any, keys: jax.Array) -> tuple:
        def step(parameters: Any, state: Any, key: jax.Array, index: jax.Array) -> tuple:
            return self._one_step(parameters, state, sample(self.case, jax.random.fold_in(key, index)))

        def body(carry: tuple, index: jax.Array) -> tuple:
            *carry, loss = jax.vmap(step, in_axes=(0, 0, 0, None))(*carry, keys, index)
            return tuple(carry), loss

        carry, losses = jax.lax.scan(body, (parameters, state), jnp.arange(self.case.chunk))
        return *carry, losses, jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, self.case.chunk)

    def theta(self) -> np.ndarray:
        """The first run's parameters now (P,)."""
        return flatten(jax.tree.map(lambda part: part[0], self._parameters))


def make(case: Case, variant: str) -> JaxInLockstep:
    """One of `VARIANTS`."""
    return JaxInLockstep(case, variant.split("/")[1])
