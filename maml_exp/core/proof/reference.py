"""The same mathematics a second time, the slow and obvious way: what the fast core is checked against.

One task at a time, explicit adapted weights, nothing shared with `inner`. Complex-step derivatives through these
functions are exact to machine precision (Squire and Trapp 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.activations import ACTIVATIONS
from maml_exp.core.network import LAYER_NORM_EPSILON, Network, normalised
from maml_exp.core.tasks.base import Batch

Array = np.ndarray


class LossFunction(NamedTuple):
    """A loss of one task, and its derivative with respect to the outputs z (K, m), of targets y (K, m)."""

    value: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]


def mean_square(residual: Array) -> Array:
    """The mean over points and outputs; analytic, so without an absolute value."""
    return np.sum(residual * residual) / residual.size


def softmax(z: Array) -> Array:
    """Probabilities of the classes."""
    e = np.exp(z - np.max(z.real, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


SQUARED = LossFunction(lambda z, y: mean_square(z - y), lambda z, y: 2 * (z - y) / y.size)
CROSS_ENTROPY = LossFunction(
    lambda z, y: -np.sum(y * np.log(softmax(z))) / len(y),
    lambda z, y: (softmax(z) - y) / len(y),
)
LOSSES = {"mean squared error": SQUARED, "cross-entropy": CROSS_ENTROPY}


def loss(network: Network, theta: Array, x: Array, y: Array, function: LossFunction = SQUARED) -> Array:
    """The loss of one task: x (K, n), y (K, m); a scalar of theta's dtype."""
    return function.value(network.predict(theta, x), y)


def backpropagated(
    matrices: Sequence[Array], activation: Any, x: Array, error: Any, layer_norm: bool = False
) -> tuple[list[Array], Array]:
    """Derivatives with respect to every [W; b] and to the inputs x (K, n), by textbook backpropagation.

    `error` gives dL/dz (K, m) of the outputs z.
    """
    raw, zs, hs = [], [], [x]
    for matrix in matrices:
        raw.append(hs[-1] @ matrix[:-1] + matrix[-1])
        zs.append(normalised(raw[-1]) if layer_norm else raw[-1])
        hs.append(activation.value(zs[-1]))
    d = error(raw[-1])
    gradients = []
    for index in reversed(range(len(matrices))):
        gradients.append(np.vstack([hs[index].T @ d, d.sum(axis=0)]))
        d = d @ matrices[index][:-1].T
        if index:
            d = d * activation.slope(zs[index - 1], hs[index])
            if layer_norm:
                d = normalisation_pulled_back(raw[index - 1], d)
    return gradients[::-1], d


def normalisation_pulled_back(z: Array, d: Array) -> Array:
    """d (K, m) times the Jacobian of the normalisation at z, a whole matrix a point."""
    rows = []
    for numbers, slope in zip(z, d, strict=True):
        size = len(numbers)
        centring = np.eye(size) - np.ones((size, size)) / size
        c = centring @ numbers
        variance = c @ c / size + LAYER_NORM_EPSILON
        jacobian = centring / np.sqrt(variance) - np.outer(c, c) / size / variance**1.5
        rows.append(slope @ jacobian)
    return np.stack(rows)


def gradient(network: Network, theta: Array, x: Array, y: Array, function: LossFunction = SQUARED) -> Array:
    """d loss / d theta (P,) of one task."""
    matrices = network.matrices(theta)
    gradients, _ = backpropagated(matrices, network.activation, x, lambda z: function.slope(z, y), network.layer_norm)
    return np.concatenate([matrix.ravel() for matrix in gradients])


def adapted(network: Network, theta: Array, x: Array, y: Array, inner_lr: float, steps: int) -> Array:
    """theta_S (P,) of one task, by the mean squared error."""
    for _ in range(steps):
        theta = theta - inner_lr * gradient(network, theta, x, y)
    return theta


@dataclass
class Method:
    """Learning by gradient descent, as its settings say it.

    What inner steps may move is a list: [W; b] of every layer, then, if there is one, the support passes' own last
    layer, then, if there is one, the context.

    Args:
        network: sizes and activation; its inputs are x and the context.
        settings: of the gradient learner.
        moving: of every layer, whether it moves.
        alpha: inner.lr.
        steps: S.
        omega: weights of the query losses at theta_0 .. theta_S.
        first_order: whether inner gradients are held constant.
        function: the loss of a task.
    """

    network: Network
    settings: Any
    moving: Sequence[bool]
    alpha: float
    steps: int
    omega: Sequence[float]
    first_order: bool
    function: LossFunction = SQUARED

    def meta_loss(
        self, parts: Mapping[str, Array], batch: Batch, chosen: Sequence[Array] | None, base: Mapping[str, Array]
    ) -> Array:
        """The function of the meta-parameters whose gradient at `base` the outer loop descends.

        first_order: the adaptation with its gradients, from `base`, held constant. reptile: the mean of
        theta . (base - theta_S(base)). Raises ValueError for an outer gradient that it does not know.

        Args:
            parts: the meta-parameters, by name.
            batch: of real numbers.
            chosen: of every inner step, which points it is made from (T, B); None: all.
            base: parts, real.
        """
        outer = self.settings.outer
        if outer not in ("exact", "first_order", "reptile", "joint"):
            raise ValueError(f"there is no reference for outer={outer!r}")
        x, y = batch.pooled() if outer in ("reptile", "joint") else (batch.x_support, batch.y_support)
        losses = []
        for t in range(len(x)):
            if outer == "joint":
                losses.append(loss(self.network, parts["theta"], x[t], y[t], self.function))
                continue
            data = [(x[t], y[t])] * self.steps
            if chosen is not None:
                data = [(x[t][index[t]], y[t][index[t]]) for index in chosen]
            if outer == "reptile":
                adapted = self.path(base, data, None)[-1][: len(self.moving)]
                way = base["theta"] - np.concatenate([matrix.ravel() for matrix in adapted])
                losses.append(parts["theta"] @ way)
                continue
            frozen = None
            if self.first_order:
                there = self.path(base, data, None)[: self.steps]
                frozen = [self.support_gradient(base, at, points) for at, points in zip(there, data, strict=True)]
            weighted = zip(self.omega, self.path(parts, data, frozen), strict=True)
            query = (batch.x_query[t], batch.y_query[t])
            losses.append(np.sum([omega * self.query_loss(at, *query) for omega, at in weighted if omega]))
        return np.mean(losses)

    def start(self, parts: Mapping[str, Array]) -> list[Array]:
        """Where what moves starts."""
        found = self.network.matrices(parts["theta"])
        if self.settings.support_loss == "head":
            found = [*found, parts["head"].reshape(found[-1].shape)]
        if self.settings.context:
            found = [*found, parts.get("context", np.zeros(self.settings.context))]
        return found

    def path(
        self, parts: Mapping[str, Array], data: Sequence[tuple[Array, Array]], gradients: Sequence[list[Array]] | None
    ) -> list[list[Array]]:
        """What moves after 0 .. S steps on a task's `data`, a pair (x, y) a step; with gradients given, with those."""
        first = self.start(parts)
        path = [first]
        for s in range(self.steps):
            here = path[-1]
            slopes = self.support_gradient(parts, here, data[s]) if gradients is None else gradients[s]
            rates = self.rates(parts, s)
            pull = self.settings.proximal
            together = zip(here, rates, slopes, first, strict=True)
            path.append([w - rho * (g + pull * (w - w0)) for w, rho, g, w0 in together])
        return path

    def rates(self, parts: Mapping[str, Array], s: int) -> list[Array]:
        """rho of everything that may move, in step s: a number, or of its shape; 0 where it does not move."""
        settings, first = self.settings, self.start(parts)
        moving = list(self.moving)
        if settings.support_loss == "head":
            moving = [*moving[:-1], False, moving[-1]]  # the query passes' head does not move
        if settings.context:
            moving.append(True)
        if not settings.learn_rates:
            return [np.array(self.alpha * moves) for moves in moving]
        stored = parts["rates"]
        rho = self.alpha * np.exp(stored) if settings.rates_store == "log" else stored
        units = [index for index, moves in enumerate(moving) if moves]
        found = [np.zeros(()) for _ in moving]
        taken = 0
        for number, index in enumerate(units):
            size = first[index].size
            if settings.rates == "one":
                found[index] = rho[0]
            elif settings.rates == "layer":
                found[index] = rho[number]
            elif settings.rates == "layer_and_step":
                found[index] = rho[s * len(units) + number]
            else:
                found[index] = rho[taken : taken + size].reshape(first[index].shape)
            taken += size
        return found

    def inputs(self, at: list[Array], x: Array) -> Array:
        """The first layer's inputs: x (K, n), and the context in every row."""
        if not self.settings.context:
            return x
        return np.concatenate([x, np.tile(at[-1], (len(x), 1))], axis=1)

    def matrices(self, at: list[Array], support: bool) -> list[Array]:
        """[W; b] of every layer that a support or query point goes through."""
        layers = len(self.moving)
        if support and self.settings.support_loss == "head":
            return [*at[: layers - 1], at[layers]]
        return at[:layers]

    def query_loss(self, at: list[Array], x: Array, y: Array) -> Array:
        """The loss on query points x (Q, n), y (Q, m)."""
        theta = np.concatenate([matrix.ravel() for matrix in self.matrices(at, support=False)])
        return loss(self.network, theta, self.inputs(at, x), y, self.function)

    def support_loss(self, parts: Mapping[str, Array], at: list[Array], x: Array, y: Array) -> Array:
        """What an inner step descends, of points x (K, n), y (K, m)."""
        theta = np.concatenate([matrix.ravel() for matrix in self.matrices(at, support=True)])
        z = self.network.predict(theta, self.inputs(at, x))
        if self.settings.support_loss != "learned":
            return self.function.value(z, y)
        h = self.seen(z, x, y)
        *hidden, last = self.loss_matrices(parts, h)
        for matrix in hidden:
            h = np.tanh(h @ matrix[:-1] + matrix[-1])
        return mean_square(h @ last[:-1] + last[-1])

    def seen(self, z: Array, x: Array, y: Array) -> Array:
        """What a learned loss sees of predictions z (K, m) and their points."""
        return np.concatenate([z, x, y] if self.settings.loss_sees_targets else [z, x], axis=1)

    def loss_matrices(self, parts: Mapping[str, Array], seen: Array) -> list[Array]:
        """[W; b] of every layer of a learned loss."""
        outputs = self.network.sizes[-1]
        return Network((seen.shape[1], *self.settings.loss_hidden, outputs), "tanh").matrices(parts["loss"])

    def support_gradient(self, parts: Mapping[str, Array], at: list[Array], data: tuple[Array, Array]) -> list[Array]:
        """The derivative of `support_loss` with respect to everything that may move, each of its shape."""
        x, y = data

        def error(z: Array) -> Array:
            if self.settings.support_loss != "learned":
                return self.function.slope(z, y)
            seen = self.seen(z, x, y)
            matrices = self.loss_matrices(parts, seen)
            _, d = backpropagated(matrices, ACTIVATIONS["tanh"], seen, lambda out: 2 * out / out.size)
            return d[:, : z.shape[1]]

        matrices = self.matrices(at, support=True)
        inputs, layer_norm = self.inputs(at, x), self.network.layer_norm
        gradients, d = backpropagated(matrices, self.network.activation, inputs, error, layer_norm)
        if self.settings.support_loss == "head":
            gradients = [*gradients[:-1], np.zeros_like(at[len(self.moving) - 1]), gradients[-1]]
        if self.settings.context:
            gradients.append(d[:, x.shape[1] :].sum(axis=0))
        return gradients


def complex_step(function, theta: Array, direction: Array, h: float = 1e-30) -> Array:
    """Im f(theta + i h u) / h: the derivative of `function` at a real theta along `direction`."""
    return np.imag(function(theta + 1j * h * direction)) / h
