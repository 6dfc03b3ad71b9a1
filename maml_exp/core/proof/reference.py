"""The same mathematics a second time, the slow and obvious way: what the fast core is checked against.

One task at a time, explicit adapted weights, nothing shared with `inner`. Complex-step
derivatives through these functions are exact to machine precision (Squire and Trapp 1998).
"""

from __future__ import annotations

import numpy as np

from maml_exp.core.network import Network
from maml_exp.core.tasks.base import Batch

Array = np.ndarray


def loss(network: Network, theta: Array, x: Array, y: Array) -> Array:
    """Mean squared error of one task: x (K, n), y (K, m); a scalar of theta's dtype."""
    residual = network.predict(theta, x) - y
    return np.sum(residual * residual) / residual.size


def gradient(network: Network, theta: Array, x: Array, y: Array) -> Array:
    """d loss / d theta (P,) of one task, by textbook backpropagation."""
    matrices = network.matrices(theta)
    zs, hs = [], [x]
    for matrix in matrices:
        zs.append(hs[-1] @ matrix[:-1] + matrix[-1])
        hs.append(network.activation.value(zs[-1]))
    d = 2 * (zs[-1] - y) / y.size
    parts = []
    for index in reversed(range(len(matrices))):
        parts.append(np.vstack([hs[index].T @ d, d.sum(axis=0)]).ravel())
        if index:
            d = (d @ matrices[index][:-1].T) * network.activation.slope(zs[index - 1], hs[index])
    return np.concatenate(parts[::-1])


def adapted(network: Network, theta: Array, x: Array, y: Array, inner_lr: float, steps: int) -> Array:
    """theta_S (P,) of one task."""
    for _ in range(steps):
        theta = theta - inner_lr * gradient(network, theta, x, y)
    return theta


def meta_loss(
    network: Network, outer: str, theta: Array, batch: Batch, inner_lr: float, steps: int, base: Array
) -> Array:
    """The function of theta (P,) whose gradient at theta = `base` the outer loop descends.

    first_order: the query loss at theta + (theta_S - theta_0), with the bracket, the adaptation from `base`, held
    constant. Raises ValueError for an outer gradient that it does not know.
    """
    if outer == "joint":
        x, y = batch.pooled()
        return np.mean([loss(network, theta, x[t], y[t]) for t in range(len(x))])
    if outer not in ("exact", "first_order"):
        raise ValueError(f"there is no reference for outer={outer!r}")
    losses = []
    for x, y, x_query, y_query in zip(*batch, strict=True):
        if outer == "exact":
            moved = adapted(network, theta, x, y, inner_lr, steps)
        else:
            moved = theta + (adapted(network, base, x, y, inner_lr, steps) - base)
        losses.append(loss(network, moved, x_query, y_query))
    return np.mean(losses)


def complex_step(function, theta: Array, direction: Array, h: float = 1e-30) -> Array:
    """Im f(theta + i h u) / h: the derivative of `function` at a real theta along `direction`."""
    return np.imag(function(theta + 1j * h * direction)) / h
