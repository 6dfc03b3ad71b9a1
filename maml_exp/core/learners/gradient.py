"""Learning by gradient descent on the support loss: MAML, and the methods that differ from it in settings.

outer          the direction of the outer loop
exact          v pulled back through all S inner steps: the gradient of the meta-loss (maml)
first_order    v = gradient of the query loss at theta_S, not pulled back (fomaml; Finn et al. 2017, section 5.2)
reptile        the mean over tasks of theta - theta_S (Nichol et al. 2018, algorithm 1)
joint          no inner step, support and query pooled: ordinary regression on all tasks at once

The other axes are what moves, at which rates, from which points and by which loss: see `Settings`. Every combination
is one inner loop, adapted to in training and evaluation alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from maml_exp.core.arrays import are_common, of_every_task
from maml_exp.core.inner.layers.rates import UnitRates
from maml_exp.core.inner.passes import query_passes, support_passes
from maml_exp.core.inner.points import Points, minibatches
from maml_exp.core.inner.whole import CURVATURE, WholeLoop, curvature
from maml_exp.core.learners._gradient_settings import Settings, check, moving_layers, query_weights, structure_of
from maml_exp.core.learners.base import BaseLearner, Gradient
from maml_exp.core.learners.blocks.gradient_passes import Finder
from maml_exp.core.learners.blocks.rates import LearnedRates
from maml_exp.core.network import INITIALIZERS, initial_parameters
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem
from maml_exp.core.proof import reference
from maml_exp.core.replay import Replayed
from maml_exp.core.tasks.base import Batch

__all__ = ["Learner", "Settings"]

Array = np.ndarray
MOST_VALUES = 2**20  # of a layer, in passes that are replayed: beyond, it takes memory and is no faster
MOST_LOOPS = 8  # sizes of meta-batches whose buffers are kept, beside those trained with


class Learner(BaseLearner):
    """Adapts by S steps of gradient descent.

    The vector of meta-parameters has these parts, as the settings want them:

        theta      the network that it starts from
        rates      of the inner steps (`LearnedRates`)
        context    phi_0, where the context starts
        head       [W; b] of the support passes' own last layer
        loss       the parameters of a learned support loss

    Args:
        problem: see `Problem`; its inner settings are alpha and S.
        pairs: force one representation of the adapted weights; None chooses layer by layer.
        replays: whether training is replayed (core/replay); its bits are the same.

    Raises:
        SettingError: for settings that make no sense together.
    """

    variants = ({"pairs": True}, {"pairs": False})
    adapts_several = True

    def __init__(self, problem: Problem, pairs: bool | None = None, replays: bool = True):
        super().__init__(problem)
        check(problem)
        self.settings: Settings = problem.algorithm
        self.outer = self.settings.outer
        inputs, *others = problem.network.sizes
        self.network = replace(problem.network, sizes=(inputs + self.settings.context, *others))
        self.moving = moving_layers(self.settings.moves, len(self.network.shapes))
        self.rates = self._learned_rates()
        kind = UnitRates if self.rates is None else self.rates.kind
        self._structure = structure_of(self.settings, problem.family, self.network, self.moving, kind, pairs)
        self.layout = Layout(self._part_sizes())
        self._loops: dict[Any, WholeLoop] = {}  # of adaptations
        self._replayed: dict[Any, Replayed] = {}
        self._replays = replays
        self._measures_curvature = problem.curvature and self.outer in ("exact", "first_order")
        self._finder = Finder(self.layout, self.rates, self._measures_curvature)

    def _learned_rates(self) -> LearnedRates | None:
        settings, inner = self.settings, self.problem.inner
        if not settings.learn_rates:
            return None
        layers = enumerate(zip(self.network.shapes, self.moving, strict=True))
        shapes: dict[str, tuple[int, ...]] = {f"layer_{i}": (n + 1, m) for i, ((n, m), moves) in layers if moves}
        if settings.context:
            shapes["context"] = (1, settings.context)
        return LearnedRates(settings.rates, settings.rates_store, inner.lr, inner.steps, shapes)

    def _part_sizes(self) -> dict[str, int]:
        settings, loss = self.settings, self._structure.loss_network
        n, m = self.network.shapes[-1]
        sizes = {
            "theta": self.network.parameter_count,
            "rates": 0 if self.rates is None else self.rates.size,
            "context": settings.context if settings.context_start == "learned" else 0,
            "head": (n + 1) * m if settings.support_loss == "head" else 0,
            "loss": 0 if loss is None else loss.parameter_count,
        }
        return {name: size for name, size in sizes.items() if size}

    def init(self, rng: np.random.Generator) -> Array:
        """Theta and whatever else is learned (P,); a context starts at zero."""
        initializer, dtype = self.problem.model.initializer, self.problem.dtype
        parts = {
            "theta": initial_parameters(self.network, initializer, rng, dtype),
            "context": np.zeros(self.settings.context),
        }
        if "head" in self.layout.sizes:
            parts["head"] = INITIALIZERS[initializer](rng, *self.network.shapes[-1]).ravel()
        if "loss" in self.layout.sizes:
            assert self._structure.loss_network is not None  # or it would have no part
            parts["loss"] = initial_parameters(self._structure.loss_network, initializer, rng, np.float64)
        if self.rates is not None:
            parts["rates"] = self.rates.init(self.settings.rates_start, rng)
        return np.concatenate([parts[name].astype(dtype) for name in self.layout.sizes])

    @property
    def outer_rates(self) -> Mapping[str, float]:
        """Rates of the outer loop by part, where they are not the optimizer's own."""
        rates_lr = self.settings.rates_lr
        return {} if rates_lr is None else {"rates": rates_lr}

    def inner_rates(self, vector: Array) -> dict[str, Array]:
        """The learned rates rho in `vector` (P,), by what moves: (S,) each, or of its shape if they are by weight."""
        return {} if self.rates is None else self.rates.by_name(self.layout.parts(vector)["rates"])

    def learned(self, vector: Array) -> Mapping[str, float]:
        """Learned inner rates, see `LearnedRates.told`."""
        return {} if self.rates is None else self.rates.told(self.layout.parts(vector)["rates"])

    def spreads(self, vector: Array) -> Mapping[str, Array]:
        """Learned rates by weight."""
        by_weight = self.rates is not None and self.rates.by == "weight"
        return {name: rho.ravel() for name, rho in self.inner_rates(vector).items()} if by_weight else {}

    def _taken(self, key: tuple) -> WholeLoop:
        """The passes for these numbers of points, with the buffers that were last given back, if any were.

        Args:
            key: tasks, shots and of these how many an inner step is made from, query points, weights of the query
                losses, the rate (of runs in lockstep one each), dtype.
        """
        if key in self._loops:
            return self._loops.pop(key)
        tasks, shots, size, query, omega, lr, dtype = key
        alpha = np.reshape(lr, (-1, 1, 1, 1)) if isinstance(lr, tuple) else lr
        kept = query > 0 or self.outer == "reptile"  # else nothing is pulled back, or summed over steps
        passes = (*support_passes(len(omega) - 1, size, alpha, kept), *query_passes(omega, query, tasks[-1]))
        keep = 1 - lr * self.settings.proximal if self.settings.proximal else 1.0
        return WholeLoop(self._structure, tasks, passes, shots + query, dtype, keep)

    def _shown(self, x: Array, y: Array) -> Array:
        """What a support loss is told of its points: targets, and x beside them where it is learned."""
        return y if self._structure.loss_network is None else np.concatenate([x, y], axis=-1)

    def _points(self, batch: Batch, rng: np.random.Generator) -> Points:
        """The points of a meta-batch; reptile pools them all for its inner steps, joint training for its only pass."""
        x, y, x_query, y_query = batch
        if self.outer == "reptile":
            x, y = batch.pooled()
            x_query, y_query = x[..., :0, :], y[..., :0, :]
        if self.outer == "joint":
            x_query, y_query = batch.pooled()
            x, y = x_query[..., :0, :], y_query[..., :0, :]
        size, chosen = self.settings.minibatch, None
        if size is not None:
            chosen = minibatches(rng, x.shape[:-2], x.shape[-2], size, self.problem.inner.steps)
        return Points(x, self._shown(x, y), x_query, y_query, chosen)

    def _is_first_order(self, progress: float) -> bool:
        """Whether v is not pulled back at this share of training (derivative-order annealing: Antoniou et al. 2019)."""
        return self.outer == "first_order" or progress < self.settings.first_order_until

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The outer direction; extras: `curvature_share` and `fomaml_cosine` where curvature is measured."""
        points, inner, joint = self._points(batch, rng), self.problem.inner, self.outer == "joint"
        *tasks, shots, _ = points.x.shape
        size, query = (0 if joint else self.settings.minibatch or shots), points.x_query.shape[-2]
        omega = (1.0,) if joint else query_weights(self.settings, inner.steps, progress)
        first_order = self._is_first_order(progress)
        key = (tuple(tasks), shots, size, query, omega, inner.lr, vector.dtype)
        found = self._computed(key, first_order)(vector, *points[:4], *(points.chosen or ()))
        loss, (of_query, of_support) = self._structure.loss, found.totals
        before = loss.mean(found.support, batch.x_support.shape[-2] if joint else None, of_support)
        gradient = found.gradient.copy()  # the next one is in the same memory
        if "rates" in self.layout.sizes:
            self.layout.parts(gradient)["rates"][...] = self._rates_gradient(vector, found.dots)
        extras = curvature(*found.curvature) if self._measures_curvature else {}
        return Gradient(gradient, loss.mean(found.query, total=of_query), before, extras)

    def _computed(self, key: tuple, first_order: bool) -> Replayed:
        """What makes `Found` of a vector and the arrays of `Points`."""
        computed = self._replayed.get((key, first_order))
        if computed is None:
            name = "first_order" if self.outer == "exact" and first_order else self.outer
            tasks, shots, _, query, *_ = key
            values = math.prod(tasks) * (shots + query) * max(self.network.sizes)
            watched = self._replays and values <= MOST_VALUES
            computed = Replayed(getattr(self._finder, name), self._taken(key), watched)
            _keep(self._replayed, (key, first_order), computed, MOST_LOOPS + len(self.problem.task.all_shots))
        return computed

    def _rates_gradient(self, vector: Array, dots: list[Any]) -> Array:
        assert self.rates is not None  # or they would have no part
        return self.rates.gradient(self.layout.parts(vector)["rates"], dots)

    def adapt(
        self, vector: Array, x_support: Array, y_support: Array, x: Array, steps: int, lr: float | None = None
    ) -> Iterator[Array]:
        """Predictions after 0 .. `steps` inner steps on each whole support set, by the learner's own inner loop.

        `lr` replaces alpha; a learned rate stays as many times alpha. Steps beyond S have the last one's rates.
        """
        return self.adapt_from(0, vector, x_support, y_support, x, steps, lr)

    def adapt_from(
        self,
        first: int,
        vector: Array,
        x_support: Array,
        y_support: Array,
        x: Array,
        steps: int,
        lr: float | None = None,
    ) -> Iterator[Array]:
        """Predictions from step `first` on; those before are not made."""
        tasks, shots, _ = x_support.shape
        runs = vector.shape[:-1]
        lr = self.problem.inner.lr if lr is None else lr
        key = ((*runs, tasks), shots, shots, 0, (*[0.0] * steps, 1.0), lr, vector.dtype)
        whole = self._taken(key)  # an adaptation that begins before this one has ended has buffers of its own
        self._finder.bind(whole, vector)
        x_support, y_support, x = (array.astype(whole.loop.dtype) for array in (x_support, y_support, x))
        shown = self._shown(x_support, y_support)
        if are_common(x):  # before the first step predictions are, too, and features in every step
            x = x[:1]
        x = np.broadcast_to(x, (*runs, *x.shape))
        if whole.trunk is not None:
            x_support, x = whole.trunk.forward(x_support), whole.trunk.predict(x)
        try:
            for step in range(steps + 1):
                if step >= first:
                    yield of_every_task(whole.loop.predict(x, step), tasks)
                x = of_every_task(x, tasks)
                if step < steps:
                    whole.loop.run_pass(step, x_support, shown)
        finally:
            _keep(self._loops, key, whole, MOST_LOOPS)

    def reference_loss(
        self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float, base: Array
    ) -> Array:
        """See `reference.Method`."""
        inner = self.problem.inner
        chosen = None if self.outer == "joint" else self._points(batch, rng).chosen
        omega, first_order = query_weights(self.settings, inner.steps, progress), self._is_first_order(progress)
        function = reference.LOSSES[self._structure.loss.name]
        axes = (self.settings, self.moving, inner.lr, inner.steps, omega, first_order, function)
        method = reference.Method(self.network, *axes)
        return method.meta_loss(self.layout.parts(vector), batch, chosen, self.layout.parts(base))

    @property
    def extra_names(self) -> tuple[str, ...]:
        """What `curvature` measures, where it is asked for."""
        return CURVATURE if self._measures_curvature else ()

    @property
    def trained_steps(self) -> int:
        """S; joint training makes none."""
        return 0 if self.outer == "joint" else self.problem.inner.steps

    @property
    def describes(self) -> str:
        """The inner loop in a few words."""
        steps = self.trained_steps
        if self.outer == "joint":
            return ""
        rate = "learned rates" if self.rates else f"rate {self.problem.inner.lr:g}"
        return f"{steps} inner step{'s' * (steps != 1)} of {rate}"


def _keep(kept: dict, key: Any, value: Any, most: int) -> None:
    """Keep a value, and forget the oldest one where there are too many."""
    if len(kept) >= most:
        kept.pop(next(iter(kept)))
    kept[key] = value
