"""The meta-gradient of every algorithm: one loop with small differences.

maml     v pulled back through all S inner steps: the exact gradient of the meta-loss
fomaml   v = gradient of the query loss at theta_S, not pulled back (Finn et al. 2017, section 5.2)
joint    no inner step, support and query pooled: ordinary regression on all tasks at once
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from maml_exp.core.inner.loop import InnerLoop
from maml_exp.core.network import Network
from maml_exp.core.tasks.sinusoid import Batch

Array = np.ndarray


class Algorithm(NamedTuple):
    """How an algorithm's meta-gradient differs from the others'."""

    adapts: bool  # whether it makes inner steps; else support and query are pooled
    second_order: bool  # whether v is pulled back through them


ALGORITHMS: dict[str, Algorithm] = {
    "maml": Algorithm(adapts=True, second_order=True),
    "fomaml": Algorithm(adapts=True, second_order=False),
    "joint": Algorithm(adapts=False, second_order=False),
}


class MetaGradient:
    """Computes meta-gradients; made once for a network and sizes, its buffers are reused by every call.

    Args:
        network: sizes and activation.
        algorithm: a name in `ALGORITHMS`.
        inner_lr, inner_steps: alpha and S (not used by joint).
        tasks, shots, query: T, K and Q.
        dtype: dtype of parameters and batches.
        pairs: force one representation of the adapted weights (for tests and benchmarks).
        curvature: also measure what share of maml's meta-gradient fomaml drops.
    """

    def __init__(
        self,
        network: Network,
        algorithm: str,
        *,
        inner_lr: float,
        inner_steps: int,
        tasks: int,
        shots: int,
        query: int,
        dtype: np.dtype | type | str = np.float32,
        pairs: bool | None = None,
        curvature: bool = False,
    ):
        self.algorithm = ALGORITHMS[algorithm]
        self.curvature = curvature and self.algorithm.adapts
        points = [shots] * inner_steps + [query] if self.algorithm.adapts else [shots + query]
        self.inner_loop = InnerLoop(network, tasks, points, inner_lr, dtype, pairs)
        self.shots, self.network = shots, network

    def __call__(self, theta: Array, batch: Batch) -> tuple[Array, dict[str, float]]:
        """The gradient (P,) of the meta-loss at theta (P,), and metrics.

        Metrics: `meta/loss`, the query loss after adaptation (joint: the pooled loss);
        `meta/support_loss`, the support loss before adaptation; `meta/grad_norm`; with `curvature`
        also `meta/curvature_share` and `meta/fomaml_cosine`.
        """
        loop = self.inner_loop
        loop.bind(theta)
        if self.algorithm.adapts:
            loss, support_loss = self._adapt(batch)
        else:
            residual = loop.run_pass(0, *batch.pooled())
            loss, support_loss = mean_square(residual), mean_square(residual[:, : self.shots])
        if self.algorithm.second_order or self.curvature:
            loop.start_pull_back()
            for s in reversed(range(loop.steps)):
                loop.pull_back(s)
        gradient = loop.gradient(np.empty_like(theta), self.algorithm.second_order)
        metrics = {"meta/loss": loss, "meta/support_loss": support_loss, "meta/grad_norm": norm(gradient)}
        if self.curvature:
            other = loop.gradient(np.empty_like(theta), not self.algorithm.second_order)
            maml, fomaml = (gradient, other) if self.algorithm.second_order else (other, gradient)
            metrics |= curvature_metrics(maml, fomaml)
        return gradient, metrics

    def _adapt(self, batch: Batch) -> tuple[float, float]:
        """All support passes and the query pass; returns the query loss and the first support loss."""
        loop, support_losses = self.inner_loop, []
        for s in range(loop.steps):
            residual = loop.run_pass(s, batch.x_support, batch.y_support)
            support_losses.append(mean_square(residual) if s == 0 else None)
        loss = mean_square(loop.run_pass(loop.steps, batch.x_query, batch.y_query))
        if not support_losses:
            support_losses = [mean_square(loop.predict(batch.x_support, 0) - batch.y_support)]
        return loss, support_losses[0]


def curvature_metrics(maml: Array, fomaml: Array) -> dict[str, float]:
    """What fomaml drops of maml's meta-gradient (P,): its norm relative to the whole, and the cosine of both."""
    size = norm(maml)
    share, cosine = norm(maml - fomaml) / size, (maml @ fomaml).item() / (size * norm(fomaml))
    return {"meta/curvature_share": share, "meta/fomaml_cosine": cosine}


def mean_square(residual: Array) -> float:
    """The loss from residuals (T, K, m): the mean square, over points and outputs, then over tasks."""
    flat = residual.reshape(-1)
    return np.dot(flat, flat).item() / flat.size


def norm(vector: Array) -> float:
    """The Euclidean norm of a real vector (P,); in float64 where squares overflow float32, which the norm need not."""
    square = float(np.dot(vector, vector).real)
    return math.sqrt(square) if math.isfinite(square) else float(np.linalg.norm(vector.astype(np.float64)))
