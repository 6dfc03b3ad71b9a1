"""Learners that take a support set as a set: a network for every point, an aggregator, a network for every prediction.

aggregate
mean        the conditional neural process (Garnelo et al. 2018)
attention   a query point looks at the support points that are like it: the deterministic path of the attentive neural
            process (Kim et al. 2019), and what SNAIL (Mishra et al. 2018) adds to a recurrent learner. Of SNAIL its
            temporal convolutions are left out: points of a set have no order in time.

The backward pass is in docs/learners.md, "Sets".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.arrays import Workspace
from maml_exp.core.checks import SettingError, setting
from maml_exp.core.learners._at_once import AtOnceLearner, AtOnceSettings
from maml_exp.core.learners.base import Gradient
from maml_exp.core.learners.blocks.attention import Attention
from maml_exp.core.learners.blocks.dense import Dense
from maml_exp.core.network import WIDTHS, Network, initial_parameters
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch

Array = np.ndarray
AGGREGATES = ("mean", "attention")


@dataclass
class Settings(AtOnceSettings):
    """A learner of sets; of model, its activation and initializer have a say."""

    learner: str = "neural_process"
    aggregate: str = setting("mean", "how points are put together", checks.one_of(lambda: AGGREGATES))
    encoder: list[int] = setting([128, 128, 128], "widths behind a point; the last is what is kept of it", WIDTHS)
    decoder: list[int] = setting([128, 128], "widths behind what is known and x", WIDTHS)
    heads: int = setting(4, "of attention: each has its part of what is kept", checks.integer(1, 10**4))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aggregate == "attention" and self.encoder[-1] % self.heads:
            shown = f"algorithm.heads={self.heads} with algorithm.encoder={list(self.encoder)}"
            raise SettingError(f"{shown} is not usable: the last width must be divisible by heads")


class Learner(AtOnceLearner):
    """A prediction at x is decoder([what is known at x, x]), as long as any number of points is.

    The vector of meta-parameters has these parts:

        theta      the encoder of points [x, y], whose outputs are the values
        keys       with attention, the encoder of x, whose outputs are keys and queries
        decoder
    """

    def __init__(self, problem: Problem, **options: Any):
        super().__init__(problem, **options)
        settings, family = problem.algorithm, problem.family
        self.settings: Settings = settings
        n, m = family.inputs, family.outputs
        sizes = {"theta": (n + m, *settings.encoder)}
        if settings.aggregate == "attention":
            sizes["keys"] = (n, *settings.encoder)
        sizes["decoder"] = (settings.encoder[-1] + n, *settings.decoder, m)
        activation = problem.model.activation
        self.networks = {name: Network(tuple(widths), activation) for name, widths in sizes.items()}
        self.layout = Layout({name: network.parameter_count for name, network in self.networks.items()})
        self.workspaces = {name: Workspace() for name in (*self.networks, "attention")}

    def init(self, rng: np.random.Generator) -> Array:
        """Every network as model.initializer draws it."""
        model, dtype = self.problem.model, self.problem.dtype
        drawn = [initial_parameters(network, model.initializer, rng, dtype) for network in self.networks.values()]
        return np.concatenate(drawn)

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The derivative of the query loss."""
        passes = Passes(self, vector, batch.x_support, batch.y_support, batch.x_query)
        losses = self.losses(passes.output, batch)
        gradient = np.empty_like(vector)
        passes.backward(losses.d, self.layout.parts(gradient))
        return Gradient(gradient, losses.query, losses.before)

    def predict(self, vector: Array, x_support: Array, y_support: Array, x: Array) -> Array:
        """Predictions at x; the order of support points does not matter."""
        return Passes(self, vector, x_support, y_support, x).output.copy()

    def reference_prediction(self, parts: Mapping[str, Array], x_support: Array, y_support: Array, x: Array) -> Array:
        """One task, one query point at a time."""

        def network(name: str, rows: Array) -> Array:
            return self.networks[name].predict(parts[name], rows)

        values = network("theta", np.concatenate([x_support, y_support], axis=1))
        predictions = []
        for point in x:
            known = np.sum(values, axis=0) / len(values)
            if self.settings.aggregate == "attention":
                known = self._looked_up(network("keys", point), network("keys", x_support), values)
            predictions.append(network("decoder", np.concatenate([known, point])))
        return np.stack(predictions)

    def _looked_up(self, query: Array, keys: Array, values: Array) -> Array:
        """What one query point finds, head by head, of the support points."""
        width, found = len(query) // self.settings.heads, []
        for start in range(0, len(query), width):
            part = slice(start, start + width)
            alike = keys[:, part] @ query[part] / np.sqrt(width)
            weights = np.exp(alike - np.max(alike.real))
            found.append(weights / np.sum(weights) @ values[:, part])
        return np.concatenate(found)

    @property
    def describes(self) -> str:
        """The aggregator in a few words."""
        if self.settings.aggregate == "mean":
            return "the mean of encoded points"
        return f"attention of {self.settings.heads} heads to encoded points"

    @property
    def sized_by(self) -> str:
        """The wider of both networks."""
        settings = self.settings
        name = "encoder" if max(settings.encoder) >= max(settings.decoder) else "decoder"
        return f"algorithm.{name}={list(getattr(settings, name))}"

    @property
    def network_label(self) -> str:
        """Encoder and decoder."""
        shown = ["-".join(map(str, self.networks[name].sizes)) for name in ("theta", "decoder")]
        return f"{' and '.join(shown)} {self.problem.model.activation}"


class Passes:
    """Tasks taken as sets, forward and backward.

    Args:
        learner: its networks, and workspaces that hold all of this until the next pass.
        vector: (P,).
        x_support, y_support, x: (T, K, n), (T, K, m) and (T, Q, n).

    Attributes:
        output: predictions (T, Q, m).
    """

    def __init__(self, learner: Learner, vector: Array, x_support: Array, y_support: Array, x: Array):
        parts, networks = learner.layout.parts(vector), learner.networks

        def encoded(name: str, points: Array, **options: Any) -> Dense:
            return Dense(networks[name], parts[name], points, workspace=learner.workspaces[name], **options)

        points = np.concatenate([x_support, y_support], axis=2)
        self._attends, self._shots = learner.settings.aggregate == "attention", x_support.shape[1]
        self._values = encoded("theta", points, pooled=not self._attends)
        known = self._values.output  # (T, R), or with attention (T, K, R)
        if not self._attends:
            self._decoder = encoded("decoder", x, shared=known)
        else:
            self._keys = encoded("keys", np.concatenate([x_support, x], axis=1))
            keys, queries = np.split(self._keys.output, [self._shots], axis=1)
            heads, workspace = learner.settings.heads, learner.workspaces["attention"]
            self._attention = Attention(queries, keys, known, heads, workspace)
            self._decoder = encoded("decoder", np.concatenate([self._attention.output, x], axis=2))
        self.output = self._decoder.output

    def backward(self, d: Array, out: Mapping[str, Array]) -> None:
        """Write the derivative with respect to every part to out, from that of predictions (T, Q, m)."""
        of_known = self._decoder.backward(d, out["decoder"], to_input=self._attends)
        if self._attends:
            width = self._attention.output.shape[2]
            of_queries, of_keys, of_known = self._attention.backward(of_known[..., :width])
            self._keys.backward(np.concatenate([of_keys, of_queries], axis=1), out["keys"])
        self._values.backward(of_known, out["theta"])
