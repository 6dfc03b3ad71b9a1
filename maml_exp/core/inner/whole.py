"""All passes of a whole network: a trunk, where layers below the first that moves make one, and the inner loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_exp.core.arrays import norm
from maml_exp.core.inner.loop import FROM_ZERO, InnerLoop
from maml_exp.core.inner.passes import Pass
from maml_exp.core.inner.points import Points
from maml_exp.core.inner.structure import Structure
from maml_exp.core.inner.trunk import Trunk

Array = np.ndarray
CURVATURE = ("curvature_share", "fomaml_cosine")


class WholeLoop:
    """The passes of a meta-batch, in the order bind, features, support, query, then a pull-back and the gradients.

    Args:
        structure: of the whole network.
        tasks: (T,), or (R, T) of R runs in lockstep.
        passes: see `InnerLoop`.
        points: of a task, support and query together: what a trunk runs on.
        dtype: of everything.
        keep: see `InnerLoop`.
    """

    def __init__(
        self,
        structure: Structure,
        tasks: tuple[int, ...],
        passes: Sequence[Pass],
        points: int,
        dtype: np.dtype,
        keep: float = 1.0,
    ):
        self.loop = InnerLoop(structure.above, tasks, passes, dtype, keep)
        self.trunk = None if structure.trunk is None else Trunk(structure.trunk, tasks, points, dtype)
        self._cut = 0
        if structure.trunk is not None:
            self._cut = structure.trunk.parameter_count
            self._errors = np.empty((*tasks, points, structure.trunk.sizes[-1]), dtype)  # of the features

    def bind(self, parts: dict[str, Array], kappas: Sequence[Any] = ()) -> None:
        """Start from theta and whatever else of context, head and loss is there, with rates kappa of all that moves."""
        theta = parts["theta"]
        if self.trunk is not None:
            self.trunk.bind(theta[..., : self._cut])
        self.loop.bind(theta[..., self._cut :], parts.get("context", FROM_ZERO), parts.get("head"), parts.get("loss"))
        if kappas:
            for rates, kappa in zip(self.loop.rates, kappas, strict=True):
                rates.kappa = kappa

    def features(self, points: Points) -> Points:
        """What the inner loop sees of points: the trunk's outputs."""
        if self.trunk is None:
            return points
        shots = points.x.shape[-2]
        features = self.trunk.forward(np.concatenate([points.x, points.x_query], axis=-2))
        return points._replace(x=features[..., :shots, :], x_query=features[..., shots:, :])

    def support(self, points: Points) -> list[Any]:
        """All support passes with their steps; returns of each what `Loss.mean` takes."""
        return [self.loop.run_pass(s, *points.of_step(s)) for s in range(self.loop.steps)]

    def query(self, points: Points) -> Any:
        """All query passes; returns what `Loss.mean` takes of the last one, at theta_S."""
        for r in range(self.loop.steps, self.loop.pass_count):
            found = self.loop.run_pass(r, points.x_query, points.y_query)
        return found

    def pull_back(self) -> None:
        """V, from the last query loss back to theta_0."""
        self.loop.start_pull_back()
        for s in reversed(range(self.loop.steps)):
            self.loop.pull_back(s)

    def follow(self) -> None:
        """The rates' gradients by a v that is not pulled back."""
        self.loop.start_pull_back()
        for s in reversed(range(self.loop.steps)):
            self.loop.follow(s)

    def theta_gradient(self, points: Points, out: Array, second_order: bool) -> Array:
        """Write v, summed over tasks, to out (P,), the part theta; points are features."""
        self.loop.gradient(out[..., self._cut :], second_order)
        if self.trunk is not None:
            self.trunk.gradient(self._feature_errors(points, second_order), out[..., : self._cut])
        return out

    def _feature_errors(self, points: Points, second_order: bool) -> Array:
        """The derivative with respect to the features of all points, summed over passes: (T, K + Q, n)."""
        loop, shots, errors = self.loop, points.x.shape[-2], self._errors
        errors[...] = 0
        for q in range(loop.steps, loop.pass_count):
            errors[..., shots:, :] += loop.below.errors[q]
        if not second_order:
            return errors
        for s in range(loop.steps):
            if points.chosen is None:
                errors[..., :shots, :] += loop.below.errors[s]
            else:  # the end of one shuffled order and the start of the next may share a point
                np.add.at(errors, points.places(s), loop.below.errors[s])
        return errors


def curvature(exact: Array, first_order: Array) -> dict[str, float]:
    """What first order drops of the exact meta-gradient (P,): its norm relative to the whole; the cosine of both.

    NaN where one of them is zero.
    """
    size, other = norm(exact), norm(first_order)
    share = norm(exact - first_order) / size if size else np.nan
    cosine = (exact @ first_order).item() / (size * other) if size * other else np.nan
    return dict(zip(CURVATURE, (share, cosine), strict=True))
