"""JAX told our way: gradients of inner steps kept as pairs, everything else by its own differentiation.

Not what one would write first, and so a peer apart: it shows how much of a difference is the mathematics
and how much is the implementation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bench_peers import Case
from bench_peers.jax_peer import Formulas, Jax, Parameters
from maml_exp.core.tasks.base import Batch

VARIANTS = ("step/pairs", "scan/pairs")


class PairFormulas(Formulas):
    """Adapted weights are never formed: h W_task = h W + sum_s (h h_s^T + 1) u_s, with u_s = -alpha d_s."""

    def _forward(self, parameters: Parameters, steps: list, x: jax.Array, nudges: list) -> tuple[jax.Array, list]:
        """Predictions (T, K, m) and the inputs of every layer; `nudges` are added to every layer's z."""
        inputs = []
        for index, (w, b) in enumerate(parameters):
            inputs.append(x)
            z = x @ w + b + nudges[index]
            for step in steps:
                h, u = step[index]
                z += (x @ h.mT + 1) @ u
            x = self.activation(z) if index < len(parameters) - 1 else z
        return x, inputs

    def gradient(self, parameters: Parameters, batch: Batch) -> tuple[jax.Array, Parameters]:
        """Mean loss over tasks, and its gradient."""
        tasks, shots, _ = batch.x_support.shape
        zeros = [jnp.zeros((tasks, shots, b.size)) for _, b in parameters]

        def mean_loss(p: Parameters) -> jax.Array:
            steps: list = []

            def support_loss(nudges: list) -> tuple[jax.Array, list]:
                prediction, inputs = self._forward(p, steps, batch.x_support, nudges)
                return tasks * self.error(prediction, batch.y_support), inputs  # the sum of all tasks' losses

            for _ in range(self.steps):
                errors, inputs = jax.grad(support_loss, has_aux=True)(zeros)  # d loss / d nudge = d loss / d z
                steps.append([(h, -self.rate * d) for h, d in zip(inputs, errors, strict=True)])
            prediction, _ = self._forward(p, steps, batch.x_query, [0.0] * len(p))
            return self.error(prediction, batch.y_query)

        return jax.value_and_grad(mean_loss)(parameters)


def make(case: Case, variant: str) -> Jax:
    """One of `VARIANTS`."""
    return Jax(case, variant.split("/")[0], PairFormulas(case).gradient)
