"""JAX: everything in one jit-compiled program, by whichever of six routes is fastest for a case.

How it loops: `step`, one compiled call an iteration, fed with numpy's samples; or `scan`, one compiled
`lax.scan` over `Case.chunk` iterations that draws its tasks inside with `jax.random`.
How it differentiates: `reverse`, the gradient of the mean over a vmap; `per-task`, a vmap of gradients,
then the mean; `hvp`, a vmap of the pull-back through each step by forward-over-reverse products.
Parameters and moments are donated, so that XLA may update them in place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench_peers import ADAM, SEED, Case, initial_theta
from maml_exp.core.network import LAYER_NORM_EPSILON
from maml_exp.core.tasks.base import Batch

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}
Parameters = list[tuple[jax.Array, jax.Array]]  # (W (n, m), b (m)) of every layer


def squared_error(z: jax.Array, y: jax.Array) -> jax.Array:
    """The mean over points and outputs."""
    return jnp.mean((z - y) ** 2)


def cross_entropy(z: jax.Array, y: jax.Array) -> jax.Array:
    """The mean over points; targets are one-hot."""
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(z), axis=-1))


ERRORS = {"mean squared error": squared_error, "cross-entropy": cross_entropy}


def unflatten(case: Case, theta: np.ndarray) -> Parameters:
    """(W, b) of every layer from theta (P,)."""
    return [(jnp.array(matrix[:-1]), jnp.array(matrix[-1])) for matrix in case.network.matrices(theta)]


def flatten(parameters: Parameters) -> np.ndarray:
    """theta (P,)."""
    return np.concatenate([np.asarray(part).ravel() for layer in parameters for part in layer])


class Formulas:
    """The meta-gradient of one case, three ways."""

    def __init__(self, case: Case):
        self.rate, self.steps = case.problem.inner.lr, case.steps
        self.error, self.layer_norm = ERRORS[case.family.loss.name], case.network.layer_norm
        self._activation = ACTIVATIONS[case.activation]

    def activation(self, z: jax.Array) -> jax.Array:
        """What the next layer sees of a hidden layer's outputs."""
        return self._activation(jax.nn.standardize(z, epsilon=LAYER_NORM_EPSILON) if self.layer_norm else z)

    def loss(self, parameters: Parameters, x: jax.Array, y: jax.Array) -> jax.Array:
        """The loss of one task."""
        *hidden, (weight, bias) = parameters
        for w, b in hidden:
            x = self.activation(x @ w + b)
        return self.error(x @ weight + bias, y)

    def _moved(self, parameters: Parameters, direction: Parameters) -> Parameters:
        return jax.tree.map(lambda p, d: p - self.rate * d, parameters, direction)

    def _task_loss(self, parameters: Parameters, task: Batch) -> jax.Array:
        for _ in range(self.steps):
            gradient = jax.grad(self.loss)(parameters, task.x_support, task.y_support)
            parameters = self._moved(parameters, gradient)
        return self.loss(parameters, task.x_query, task.y_query)

    def _task_gradient_by_products(self, parameters: Parameters, task: Batch) -> tuple[jax.Array, Parameters]:
        inner_gradient = jax.grad(lambda p: self.loss(p, task.x_support, task.y_support))
        passed = []
        for _ in range(self.steps):
            passed.append(parameters)
            parameters = self._moved(parameters, inner_gradient(parameters))
        loss, v = jax.value_and_grad(self.loss)(parameters, task.x_query, task.y_query)
        for point in reversed(passed):
            v = self._moved(v, jax.jvp(inner_gradient, (point,), (v,))[1])
        return loss, v

    def reverse(self, parameters: Parameters, batch: Batch) -> tuple[jax.Array, Parameters]:
        """Loss and gradient of the mean over tasks, as one function."""

        def mean_loss(p: Parameters) -> jax.Array:
            return jnp.mean(jax.vmap(partial(self._task_loss, p))(batch))

        return jax.value_and_grad(mean_loss)(parameters)

    def per_task(self, parameters: Parameters, batch: Batch) -> tuple[jax.Array, Parameters]:
        """The mean of the tasks' losses and gradients."""
        values = jax.vmap(partial(jax.value_and_grad(self._task_loss), parameters))(batch)
        return jax.tree.map(lambda a: a.mean(axis=0), values)

    def hvp(self, parameters: Parameters, batch: Batch) -> tuple[jax.Array, Parameters]:
        """The same, each pulled back by Hessian-vector products."""
        values = jax.vmap(partial(self._task_gradient_by_products, parameters))(batch)
        return jax.tree.map(lambda a: a.mean(axis=0), values)


FORMULAS = {"reverse": Formulas.reverse, "per-task": Formulas.per_task, "hvp": Formulas.hvp}
VARIANTS = tuple(f"{loop}/{formula}" for loop in ("step", "scan") for formula in FORMULAS)


def adam(parameters: Parameters, state: Any, gradient: Parameters) -> tuple[Parameters, Any]:
    """The core's Adam; its state is (count, first moments, second moments)."""
    count, first, second = state
    beta1, beta2, count = ADAM.beta1, ADAM.beta2, count + 1
    first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradient)
    second = jax.tree.map(lambda m, g: beta2 * m + (1 - beta2) * g * g, second, gradient)
    correction = jnp.sqrt(1 - beta2**count)
    rate, epsilon = ADAM.lr * correction / (1 - beta1**count), ADAM.epsilon * correction
    parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + epsilon), parameters, first, second)
    return parameters, (count, first, second)


def sample(case: Case, key: jax.Array) -> Batch:
    """A meta-batch by jax.random, distributed as the core's."""
    task, shots = case.problem.task, case.shots
    low, high = np.array([task.amplitude, task.phase, task.x_range], dtype=np.float32).T
    uniform = jax.random.uniform(key, (case.tasks, 2 + shots + case.queries))
    amplitude, phase = (low[i] + (high - low)[i] * uniform[:, i : i + 1] for i in range(2))
    x = low[2] + (high - low)[2] * uniform[:, 2:]
    x, y = x[..., None], (amplitude * jnp.sin(x - phase))[..., None]  # all frequencies are 1
    return Batch(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])


class Jax:
    """A contender; parameters and optimizer state live on JAX's side."""

    def __init__(self, case: Case, loop: str, gradient: Callable[[Parameters, Batch], tuple[jax.Array, Parameters]]):
        self.case, self._family = case, case.family
        self._gradient = gradient
        self._parameters = self._unflatten(initial_theta(case))
        zeros = [jax.tree.map(jnp.zeros_like, self._parameters) for _ in range(2)]
        self._state = (jnp.array(0.0), *zeros)
        self._rng, self._key = np.random.default_rng(SEED), jax.random.key(SEED)
        self._step = jax.jit(self._one_step, donate_argnums=(0, 1))
        self._scan = jax.jit(self._many_steps, donate_argnums=(0, 1))
        self.run = {"step": self._run_steps, "scan": self._run_scan}[loop]

    def _unflatten(self, theta: np.ndarray) -> Any:
        return unflatten(self.case, theta)

    def _flatten(self, parameters: Any) -> np.ndarray:
        return flatten(parameters)

    def _one_step(self, parameters: Parameters, state: Any, batch: Batch) -> tuple[Parameters, Any, jax.Array]:
        loss, gradient = self._gradient(parameters, batch)
        return *adam(parameters, state, gradient), loss

    def _many_steps(self, parameters: Parameters, state: Any, key: jax.Array) -> tuple:
        def body(carry: tuple, index: jax.Array) -> tuple:
            *carry, loss = self._one_step(*carry, sample(self.case, jax.random.fold_in(key, index)))
            return tuple(carry), loss

        carry, losses = jax.lax.scan(body, (parameters, state), jnp.arange(self.case.chunk))
        return *carry, losses, jax.random.fold_in(key, self.case.chunk)

    def _run_steps(self, iterations: int) -> None:
        family, tasks = self._family, self.case.tasks
        parameters, state = self._parameters, self._state
        for _ in range(iterations):
            batch = family.sample(self._rng, tasks, np.float32)
            parameters, state, _ = self._step(parameters, state, batch)
        self._parameters, self._state = jax.block_until_ready((parameters, state))

    def _run_scan(self, iterations: int) -> None:
        parameters, state, key = self._parameters, self._state, self._key
        for _ in range(iterations // self.case.chunk):
            parameters, state, _, key = self._scan(parameters, state, key)
        self._parameters, self._state, self._key = jax.block_until_ready((parameters, state, key))

    def gradient(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """The meta-gradient (P,)."""
        return self._flatten(jax.jit(self._gradient)(self._unflatten(theta), batch)[1])

    def theta(self) -> np.ndarray:
        """The parameters now (P,)."""
        return self._flatten(self._parameters)


def make(case: Case, variant: str) -> Jax:
    """One of `VARIANTS`."""
    loop, formula = variant.split("/")
    return Jax(case, loop, partial(FORMULAS[formula], Formulas(case)))
