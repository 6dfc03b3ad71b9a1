"""A head in closed form: ridge regression of a task's support targets on learned features (docs/derivation.md,
"A head in closed form"; R2-D2: Bertinetto et al. 2019; ALPaCA: Harrison et al. 2018).

With h (K, n) the network's last hidden layer on the support points, and a constant 1 beside it:

    M = h h^T + 1 + lambda I        a = M^-1 y        z = (h_Q h^T + 1) a

There is no inner step to unroll: of a task, the loss is a function of its features, and one system of K equations
gives it and its gradient. Of classes z is close to one-hot, too small for a softmax: it is taken times a learned number
(R2-D2's alpha).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.arrays import Workspace, flat, transpose
from maml_exp.core.checks import setting
from maml_exp.core.inner.trunk import Trunk
from maml_exp.core.learners._at_once import AtOnceLearner, AtOnceSettings
from maml_exp.core.learners.base import Gradient
from maml_exp.core.network import initial_parameters
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch

Array = np.ndarray
DOUBLE = np.dtype(np.float64)
FIRST_SCALE = 10.0  # of classes, with which a softmax of one-hot predictions is near 1
MOST_SIZES = 8  # of meta-batches whose buffers are kept, beside those trained with


@dataclass
class Settings(AtOnceSettings):
    """Ridge regression on learned features."""

    learner: str = "ridge"
    penalty: float = setting(1.0, "lambda, the weight of the head's squared norm; where it starts", checks.number())
    learn_penalty: bool = setting(True, "the outer loop learns log(lambda)", checks.boolean())
    learn_scale: bool | None = setting(
        None,
        "predictions are times a number that the outer loop learns; null: where outputs are classes",
        checks.optional(checks.boolean()),
    )


class Learner(AtOnceLearner):
    """Fits a linear head to the support set at once.

    The vector of meta-parameters has these parts:

        theta      the layers below the head
        penalty    log(lambda), if it is learned
        scale      the log of what predictions are multiplied by, if it is learned

    Systems are solved in float64 whatever the dtype: where lambda is small against h h^T, float32 has no digit left.
    """

    def __init__(self, problem: Problem, **options: Any):
        super().__init__(problem, **options)
        self.settings: Settings = problem.algorithm
        self.body = replace(problem.network, sizes=problem.network.sizes[:-1])
        asked, classes = self.settings.learn_scale, problem.family.loss.measure.rises
        scales = classes if asked is None else asked
        self._learned = [name for name, on in (("penalty", self.settings.learn_penalty), ("scale", scales)) if on]
        self.layout = Layout({"theta": self.body.parameter_count, **dict.fromkeys(self._learned, 1)})
        self._trunks: dict[Any, Trunk] = {}
        self._workspace = Workspace()

    def init(self, rng: np.random.Generator) -> Array:
        """The layers below the head, and logs of lambda and of the scale."""
        problem, starts = self.problem, {"penalty": self.settings.penalty, "scale": FIRST_SCALE}
        theta = initial_parameters(self.body, problem.model.initializer, rng, np.float64)
        return np.concatenate([theta, [np.log(starts[name]) for name in self._learned]]).astype(problem.dtype)

    def penalty(self, vector: Array) -> float:
        """Lambda."""
        parts = self.layout.parts(vector)
        return float(np.exp(np.float64(parts["penalty"][0]))) if "penalty" in parts else self.settings.penalty

    def scale(self, vector: Array) -> float:
        """What predictions are multiplied by."""
        parts = self.layout.parts(vector)
        return float(np.exp(np.float64(parts["scale"][0]))) if "scale" in parts else 1.0

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The derivative of the query loss; extras: lambda and the scale, where they are learned."""
        x = np.concatenate([batch.x_support, batch.x_query], axis=1)
        shots, penalty, scale = batch.x_support.shape[1], self.penalty(vector), self.scale(vector)
        trunk = self._trunk(len(x), x.shape[1], vector.dtype)
        trunk.bind(self.layout.parts(vector)["theta"])
        features = trunk.forward(x)
        precise = self._workspace.empty("features", features.shape, DOUBLE)
        np.copyto(precise, features)
        head = Head(precise[:, :shots], precise[:, shots:], batch.y_support, penalty, self._workspace)

        prediction = scale * head.prediction
        losses = self.losses(prediction, batch)
        gradient = np.empty_like(vector)
        out, errors = self.layout.parts(gradient), self._workspace.empty("errors", features.shape, features.dtype)
        errors[:, :shots], errors[:, shots:], of_penalty = head.gradient(scale * losses.d)
        trunk.gradient(errors, out["theta"])
        if "penalty" in out:
            out["penalty"][0] = penalty * of_penalty  # d/d log(lambda)
        if "scale" in out:
            out["scale"][0] = np.vdot(losses.d, prediction)  # d/d log(scale)
        told = {"penalty": penalty, "scale": scale}
        return Gradient(gradient, losses.query, losses.before, {name: told[name] for name in self._learned})

    def _trunk(self, tasks: int, points: int, dtype: np.dtype) -> Trunk:
        """The layers below the head, with the buffers of the last time for so many points."""
        key = (tasks, points, dtype)
        if key not in self._trunks:
            if len(self._trunks) >= MOST_SIZES + len(self.problem.task.all_shots):
                self._trunks.pop(next(iter(self._trunks)))
            self._trunks[key] = Trunk(self.body, (tasks,), points, dtype)
        return self._trunks[key]

    def predict(self, vector: Array, x_support: Array, y_support: Array, x: Array) -> Array:
        """Predictions of the head that is fitted to the support set."""
        theta = self.layout.parts(vector)["theta"]
        h, h_query = self._features(theta, x_support), self._features(theta, x)
        return (self.scale(vector) * fitted(h, h_query, y_support, self.penalty(vector))).astype(vector.dtype)

    def _features(self, theta: Array, x: Array) -> Array:
        """Features (T, K, n), float64, of x."""
        h = self.body.behind(self.body.predict(theta, flat(x)))
        return h.reshape(*x.shape[:2], -1).astype(np.float64)

    def reference_prediction(self, parts: Mapping[str, Array], x_support: Array, y_support: Array, x: Array) -> Array:
        """By weights W = (H^T H + lambda I)^-1 H^T y with H = [h 1]."""
        penalty = np.exp(parts["penalty"][0]) if "penalty" in parts else self.settings.penalty
        scale = np.exp(parts["scale"][0]) if "scale" in parts else 1.0
        rows, query = (self._with_one(parts["theta"], points) for points in (x_support, x))
        return scale * query @ np.linalg.solve(rows.T @ rows + penalty * np.eye(rows.shape[1]), rows.T @ y_support)

    def _with_one(self, theta: Array, x: Array) -> Array:
        """H = [h 1] (K, n + 1) of one task's x."""
        h = self.body.behind(self.body.predict(theta, x))
        return np.concatenate([h, np.ones((len(x), 1))], axis=1)

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Lambda and the scale, where they are learned."""
        return tuple(self._learned)

    @property
    def describes(self) -> str:
        """The fit in a few words."""
        return f"a head fitted to {self.body.sizes[-1]} features and a constant in closed form"


class Head:
    """Ridge regression of all tasks, forward and backward, float64.

    W = h^T a is the head's matrix. With d (T, Q, m) the derivative of a loss with respect to predictions and
    c = M^-1 (h_Q h^T + 1)^T d:

        dM = -c a^T        dh_Q = d W^T        dh = a (h_Q^T d - h^T c)^T - c W^T        dlambda = -sum c * a

    M^-1 y and M^-1 (h_Q h^T + 1)^T are found together, before d is known: one factorisation a task.

    Args:
        h, h_query: features (T, K, n) and (T, Q, n).
        y: support targets (T, K, m).
        penalty: lambda.
        workspace: holds what `gradient` returns, until the next call with it.
    """

    def __init__(self, h: Array, h_query: Array, y: Array, penalty: float, workspace: Workspace | None = None):
        self._h, self._h_query, self._workspace = h, h_query, workspace or Workspace()
        h_t = transpose(h)
        gram = h_query @ h_t + 1  # (T, Q, K)
        known = np.concatenate([y, transpose(gram)], axis=2)
        solved = _solved(h @ h_t + 1, penalty, known)
        self._a, self._solved_gram = np.split(solved, [y.shape[2]], axis=2)  # (T, K, m) and (T, K, Q)
        self.prediction = gram @ self._a  # (T, Q, m)

    def gradient(self, d: Array) -> tuple[Array, Array, float]:
        """Derivatives with respect to h, h_query and lambda."""
        a, c = self._a, self._solved_gram @ d
        w_t = transpose(a) @ self._h  # (T, m, n)
        pulled = transpose(d) @ self._h_query - transpose(c) @ self._h
        of_h = self._product("h", a, pulled)
        of_h -= self._product("c W^T", c, w_t)
        return of_h, self._product("h_Q", d, w_t), -float(np.vdot(c, a))

    def _product(self, name: str, left: Array, right: Array) -> Array:
        shape = (*left.shape[:2], right.shape[2])
        return np.matmul(left, right, out=self._workspace.empty(name, shape, DOUBLE))


def fitted(h: Array, h_query: Array, y: Array, penalty: float) -> Array:
    """Predictions (T, Q, m) from features (T, K, n), (T, Q, n) and targets (T, K, m), by the smaller system."""
    if h.shape[1] <= h.shape[2]:
        return Head(h, h_query, y, penalty).prediction
    rows, query = (np.concatenate([part, np.ones((*part.shape[:2], 1))], axis=2) for part in (h, h_query))
    return query @ _solved(transpose(rows) @ rows, penalty, transpose(rows) @ y)


def _solved(gram: Array, penalty: float, known: Array) -> Array:
    """(gram + lambda I)^-1 known, of every task; NaN where a penalty so small leaves a system singular."""
    places = np.arange(gram.shape[1])
    gram[:, places, places] += penalty
    try:
        return np.linalg.solve(gram, known)
    except np.linalg.LinAlgError:
        return np.full_like(known, np.nan)
