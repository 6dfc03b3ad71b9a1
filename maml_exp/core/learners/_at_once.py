"""What learners that adapt in one go share: no inner step is made, a support set gives predictions at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from maml_exp.core.learners.base import BaseLearner, LearnerSettings
from maml_exp.core.losses import mean_loss
from maml_exp.core.proof import reference
from maml_exp.core.tasks.base import Batch

Array = np.ndarray


@dataclass
class AtOnceSettings(LearnerSettings):
    """Neither inner.lr nor inner.steps has a say."""

    at_once: ClassVar[bool] = True


class Losses(NamedTuple):
    """Of one meta-batch."""

    d: Array  # (T, Q, m), the derivative of the query loss with respect to predictions
    query: float
    before: float  # the support loss of predicting 0


class AtOnceLearner(BaseLearner):
    """Step 0 is before adaptation, step 1 after, and what further steps there are repeat it.

    None of these learners is ever trained to predict without a point: what it predicts before is 0.
    """

    @abstractmethod
    def predict(self, vector: Array, x_support: Array, y_support: Array, x: Array) -> Array:
        """Predictions (T, G, m) at x (T, G, n) from a support set (T, K, n), (T, K, m), all of the vector's dtype."""

    @abstractmethod
    def reference_prediction(self, parts: Mapping[str, Array], x_support: Array, y_support: Array, x: Array) -> Array:
        """The same of one task, (G, m), slow and obvious, of any dtype, from the vector's parts."""

    def adapt(
        self, vector: Array, x_support: Array, y_support: Array, x: Array, steps: int, lr: float | None = None
    ) -> Iterator[Array]:
        """Zeros, and then as many times as there are steps the same predictions; `lr` has no say."""
        yield np.zeros((*x.shape[:2], y_support.shape[-1]), vector.dtype)
        if steps == 0:
            return
        points = (array.astype(vector.dtype, copy=False) for array in (x_support, y_support, x))
        prediction = self.predict(vector, *points)
        for _ in range(steps):
            yield prediction

    def losses(self, prediction: Array, batch: Batch) -> Losses:
        """What predictions (T, Q, m) at the query points cost."""
        loss, (tasks, points, outputs) = self.problem.family.loss, prediction.shape
        d = np.empty_like(prediction)
        found = loss.error(prediction, batch.y_query, loss.scale(1 / tasks, points, outputs), d)
        before = mean_loss(loss, np.zeros_like(batch.y_support), batch.y_support)
        return Losses(d, loss.mean(found), before)

    def reference_loss(
        self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float, base: Array
    ) -> Array:
        """The mean over tasks of the loss on query points."""
        parts, losses, loss = self.layout.parts(vector), [], reference.LOSSES[self.problem.family.loss.name]
        for x, y, x_query, y_query in zip(*batch, strict=True):
            losses.append(loss.value(self.reference_prediction(parts, x, y, x_query), y_query))
        return np.sum(losses) / len(losses)

    @property
    def trained_steps(self) -> int:
        """The one there is."""
        return 1
