"""Evaluation: adapt to held-out tasks, the way a learner was trained to, and measure the error after every step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.tasks.base import FixedTasks

Array = np.ndarray
# hidden values and tasks adapted at a time: many, as every call of numpy costs, but memory is bounded
NUMBERS_AT_ONCE, FEWEST_TASKS, MOST_TASKS = 2**20, 8, 150


def adaptation_errors(
    learner: BaseLearner,
    vector: Array,
    tasks: FixedTasks,
    shots: int,
    steps: int,
    lr: float | None = None,
    first: int = 0,
) -> Array:
    """The reported error (N, steps + 1 - first) of every task on its query points, after `first` .. `steps` steps.

    Adapts to the support points of the first `shots`, with rate `lr` (None: the learner's own). A task whose weights
    overflow has a non-finite error. Runs in chunks of tasks, so memory does not grow with their number.
    """
    count, family = len(tasks.x_support), learner.problem.family
    network, loss, points = learner.problem.network, family.loss, family.support_points(shots)
    fitting = NUMBERS_AT_ONCE // (tasks.x_query.shape[1] * max(network.sizes))
    most = int(np.clip(fitting, FEWEST_TASKS, MOST_TASKS))
    chunk = -(-count // max(1, -(-count // most)))  # as large as `most` allows, and all about as large
    errors, weights = np.empty((count, steps + 1 - first)), tasks.weights
    with np.errstate(over="ignore", invalid="ignore"):
        for end in range(chunk, count + chunk, max(1, chunk)):
            end = min(end, count)
            part = slice(end - chunk, end)  # the last one as large as the others: it repeats some of their tasks
            x_support, y_support = tasks.x_support[part, :points], tasks.y_support[part, :points]
            predictions = learner.adapt_from(first, vector, x_support, y_support, tasks.x_query[part], steps, lr)
            for step, prediction in enumerate(predictions):
                errors[part, step] = loss.by_task(
                    prediction, tasks.y_query[part], None if weights is None else weights[part]
                )
    return errors


def evaluate(
    learner: BaseLearner, vector: Array, tasks: FixedTasks, shots: Sequence[int], steps: int, lr: float | None = None
) -> dict[int, Array]:
    """`adaptation_errors` for every number of shots."""
    return {k: adaptation_errors(learner, vector, tasks, k, steps, lr) for k in shots}
