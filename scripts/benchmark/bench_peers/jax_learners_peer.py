"""JAX: the learners that do not descend, each as one jit-compiled iteration differentiated by reverse mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench_peers import SEED, Case, initial_theta
from bench_peers.jax_peer import adam
from maml_exp.core.network import Network
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import make_learner

VARIANTS = ("step/reverse",)
Parts = Mapping[str, jax.Array]  # the learner's parts of theta, flat


def dense(network: Network, theta: jax.Array, x: jax.Array, last: Callable = lambda z: z) -> jax.Array:
    """Outputs of a ReLU network."""
    start = 0
    for layer, (n, m) in enumerate(network.shapes, start=1):
        matrix = theta[start : start + (n + 1) * m].reshape(n + 1, m)
        start += (n + 1) * m
        z = x @ matrix[:-1] + matrix[-1]
        x = jax.nn.relu(z) if layer < len(network.shapes) else last(z)
    return x


def ridge(learner: Any, parts: Parts, batch: Batch) -> jax.Array:
    """A head in closed form."""

    def features(x: jax.Array) -> jax.Array:
        h = dense(learner.body, parts["theta"], x, jax.nn.relu)
        return jnp.concatenate([h, jnp.ones((*h.shape[:2], 1))], axis=2)

    h, h_query = features(batch.x_support), features(batch.x_query)
    m = h @ h.swapaxes(1, 2) + jnp.exp(parts["penalty"]) * jnp.eye(h.shape[1])
    return h_query @ (h.swapaxes(1, 2) @ jnp.linalg.solve(m, batch.y_support))


def recurrent(learner: Any, parts: Parts, batch: Batch) -> jax.Array:
    """An LSTM; its query points share the product with the state."""
    units, theta = learner.units, parts["theta"].reshape(-1, 4 * learner.units)
    w_u, w_h, bias = theta[: -units - 1], theta[-units - 1 : -1], theta[-1]

    def cell(c: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        i, f, o, g = jnp.split(a, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    def rows(x: jax.Array, y: jax.Array, is_query: float) -> jax.Array:
        return jnp.concatenate([x, y, jnp.full((*x.shape[:2], 1), is_query)], axis=2)

    def step(state: tuple, u: jax.Array) -> tuple:
        h, c = state
        return cell(c, u @ w_u + h @ w_h + bias), None

    nothing = jnp.zeros((len(batch.x_support), units))
    u = rows(batch.x_support, batch.y_support, 0.0).swapaxes(0, 1)
    (h, c), _ = jax.lax.scan(step, (nothing, nothing), u)
    u_query = rows(batch.x_query, jnp.zeros_like(batch.y_query), 1.0)
    h, _ = cell(c[:, None], u_query @ w_u + (h @ w_h + bias)[:, None])
    readout = parts["readout"].reshape(units + 1, -1)
    return h @ readout[:-1] + readout[-1]


def neural_process(learner: Any, parts: Parts, batch: Batch) -> jax.Array:
    """Both aggregators."""
    x, y, x_query, _ = batch
    values = dense(learner.networks["theta"], parts["theta"], jnp.concatenate([x, y], axis=2))
    if "keys" in parts:
        heads = learner.settings.heads
        encode = partial(dense, learner.networks["keys"], parts["keys"])
        q, k, v = (rows.reshape(*rows.shape[:2], heads, -1) for rows in (encode(x_query), encode(x), values))
        alike = jnp.einsum("tqhe,tkhe->thqk", q, k) / q.shape[3] ** 0.5
        known = jnp.einsum("thqk,tkhe->tqhe", jax.nn.softmax(alike), v).reshape(*x_query.shape[:2], -1)
    else:
        known = jnp.broadcast_to(values.mean(axis=1, keepdims=True), (*x_query.shape[:2], values.shape[2]))
    return dense(learner.networks["decoder"], parts["decoder"], jnp.concatenate([known, x_query], axis=2))


PREDICT = {"ridge": ridge, "recurrent": recurrent, "neural_process": neural_process}


class Jax:
    """A contender."""

    def __init__(self, case: Case):
        self.case, self._learner = case, make_learner(case.problem)
        self._predict = partial(PREDICT[case.problem.algorithm.learner], self._learner)
        self._parts = self._split(initial_theta(case))
        zeros = [jax.tree.map(jnp.zeros_like, self._parts) for _ in range(2)]
        self._state, self._rng = (jnp.array(0.0), *zeros), np.random.default_rng(SEED)
        self._step = jax.jit(self._one_step, donate_argnums=(0, 1))

    def _split(self, theta: np.ndarray) -> dict[str, jax.Array]:
        return {name: jnp.array(part) for name, part in self._learner.layout.parts(theta).items()}

    def _loss(self, parts: Parts, batch: Batch) -> jax.Array:
        return jnp.mean((self._predict(parts, batch) - batch.y_query) ** 2)

    def _one_step(self, parts: Parts, state: Any, batch: Batch) -> tuple:
        return adam(parts, state, jax.grad(self._loss)(parts, batch))

    def run(self, iterations: int) -> None:
        """Train."""
        family, parts, state = self.case.family, self._parts, self._state
        for _ in range(iterations):
            batch = family.sample(self._rng, self.case.tasks, np.float32)
            parts, state = self._step(parts, state, batch)
        self._parts, self._state = jax.block_until_ready((parts, state))

    def _joined(self, parts: Parts) -> np.ndarray:
        return np.concatenate([np.asarray(parts[name]) for name in self._learner.layout.sizes])

    def gradient(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """The gradient (P,)."""
        return self._joined(jax.jit(jax.grad(self._loss))(self._split(theta), batch))

    def theta(self) -> np.ndarray:
        """The parameters now (P,)."""
        return self._joined(self._parts)


def make(case: Case, variant: str) -> Jax:
    """The one way there is."""
    return Jax(case)
