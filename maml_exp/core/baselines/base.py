"""What a baseline is: fitted to the training tasks, it predicts a new task's points from its support points alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np

from maml_exp.core.baselines import BASELINES
from maml_exp.core.checks import SettingError
from maml_exp.core.tasks.base import FixedTasks, TaskFamily

Array = np.ndarray
MOST_TASKS = 200  # training tasks on which a choice is made
EPISODE_SEED = 4000  # of the support points that are drawn of them
Value = TypeVar("Value")


class Points(NamedTuple):
    """Points of one training task, as a network sees them."""

    x: Array  # (K, n)
    y: Array  # (K, m)


class Baseline(ABC):
    """A way to predict that makes no gradient step; it is fitted when it is made, and holds no state afterwards.

    Args:
        tasks: the training tasks, all of their points.

    Raises:
        SettingError: where it cannot be used on such tasks; the message says why.
    """

    label: ClassVar[str]  # in tables, a few words

    def __init__(self, tasks: Sequence[Points]):
        self.tasks = tasks

    @abstractmethod
    def predict(self, x_support: Array, y_support: Array, x: Array) -> Array:
        """Predictions (G, m) at x (G, n) for the task with these support points (K, n), (K, m)."""

    def prepare(self, shots: int) -> None:  # noqa: B027  most have nothing to choose
        """Make the choices that depend on the number of support points; nothing where there are none."""


def episodes(tasks: Sequence[Points], shots: int) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Support and query points of training tasks, drawn by a seed of their own: x_support, y_support, x, y."""
    rng = np.random.default_rng(EPISODE_SEED)
    for x, y in tasks[:MOST_TASKS]:
        if len(x) > shots:
            order = rng.permutation(len(x))
            support, query = order[:shots], order[shots:]
            yield x[support], y[support], x[query], y[query]


def mean_square(residuals: Sequence[Array]) -> float:
    """The mean over tasks of each one's mean squared residual; infinite where there is none."""
    return float(np.mean([np.mean(residual**2) for residual in residuals])) if residuals else np.inf


def best_of(values: Sequence[Value], errors: Callable[[Value], float]) -> Value:
    """The value with the smallest error, the first of equal ones; a value whose error is not finite is none."""
    found = [(errors(value), place) for place, value in enumerate(values)]
    finite = [pair for pair in found if np.isfinite(pair[0])]
    return values[min(finite)[1]] if finite else values[0]


def baseline_errors(
    family: TaskFamily, names: Sequence[str], tasks: FixedTasks, shots: Sequence[int]
) -> tuple[dict[str, dict[int, Array]], dict[str, str]]:
    """Reported errors (N,) of held-out tasks by baseline and shots; and of those that cannot be used, why."""
    found: dict[str, dict[int, Array]] = {}
    unusable: dict[str, str] = {}
    training = [Points(x, y) for x, y in family.training_tasks()] if names else []
    for name in names:
        try:
            baseline = BASELINES.get(name).Baseline(training)
            found[name] = {k: _errors(family, baseline, tasks, k) for k in shots}
        except SettingError as error:
            unusable[name] = str(error)
    return found, unusable


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _errors(family: TaskFamily, baseline: Baseline, tasks: FixedTasks, shots: int) -> Array:
    baseline.prepare(shots)
    points = family.support_points(shots)
    parts = zip(tasks.x_support[:, :points], tasks.y_support[:, :points], tasks.x_query, strict=True)
    predictions = np.stack([baseline.predict(*part) for part in parts])
    return family.loss.by_task(predictions, tasks.y_query, tasks.weights)
