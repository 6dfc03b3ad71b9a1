"""Tasks as points of classes: which class a point is of, and tasks of few points made of the training tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from maml_exp.core.baselines import base
from maml_exp.core.checks import SettingError

Array = np.ndarray


def require_classes(tasks: Sequence[base.Points]) -> None:
    """Raise `SettingError` for tasks whose outputs are no one-hot labels."""
    for _, y in tasks:
        if y.shape[1] < 2 or not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
            raise SettingError("its tasks are no classes")


class ClassBaseline(base.Baseline):
    """A baseline of classes; raises `SettingError` for tasks that have none."""

    def __init__(self, tasks: Sequence[base.Points]):
        super().__init__(tasks)
        require_classes(tasks)


def labels_of(y: Array) -> Array:
    """The label (K,) of one-hot outputs (K, N)."""
    return y.argmax(axis=1)


def class_means(x: Array, y: Array) -> Array:
    """The mean (N, n) of every class's points (K, n)."""
    return y.T @ x / y.sum(axis=0)[:, None]


def squared_distances(x: Array, nodes: Array) -> Array:
    """Squared distances (G, K) of points (G, n) from nodes (K, n), but for rounding: a product takes no differences."""
    middle = nodes.mean(axis=0)
    x, nodes = x - middle, nodes - middle
    return np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", nodes, nodes) - 2 * x @ nodes.T


def few_shot(tasks: Sequence[base.Points], shots: int) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Tasks adapted to the first `shots` points of every class, the others to be told: x_support, y_support, x, y."""
    for x, y in tasks[: base.MOST_TASKS]:
        labels = labels_of(y)
        place = np.empty(len(labels), np.int64)  # of a point among those of its class
        for label in range(y.shape[1]):
            own = labels == label
            place[own] = np.arange(own.sum())
        support = place < shots
        if not support.all():
            yield x[support], y[support], x[~support], y[~support]


def error_rate(tasks: Sequence[base.Points], shots: int, predict: Callable[[Array, Array, Array], Array]) -> float:
    """The share of queries of `few_shot` tasks that are taken for another class; infinite where there are none."""
    wrong = [
        np.mean(labels_of(predict(x_support, y_support, x)) != labels_of(y))
        for x_support, y_support, x, y in few_shot(tasks, shots)
    ]
    return float(np.mean(wrong)) if wrong else np.inf
