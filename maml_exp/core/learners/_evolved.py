"""A learner whose outer loop is evolution: losses of perturbed meta-parameters in place of a gradient.

    g = 1 / (2 n sigma) sum_i (F(theta + sigma e_i) - F(theta - sigma e_i)) e_i          e_i normal, (P,)

F is made of the query loss after adaptation, by the adaptation that an evaluation makes, both of a pair on the same
tasks (antithetic: Salimans et al. 2017; of MAML: Song et al. 2020). All of the vector is perturbed: what an inner loop
starts from, and what it learns at (Fernando et al. 2018). docs/learners.md, "Evolution".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import cpu_count, parent_process
from queue import SimpleQueue
from typing import Any

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.learners.base import BaseLearner, EvolutionSettings, Gradient
from maml_exp.core.losses import mean_loss
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch

Array = np.ndarray
# hidden values of a layer in all passes of members that adapt at once: until they leave the cache; those of one member
# from which threads gain: below, they wait for each other's Python
HIDDEN_AT_ONCE, WORTH_THREADS = 200_000, 100_000
MOST_PAIRS = 10  # at once, and of a learner that adapts one member at a time as many as a thread takes
# what an adaptation as an evaluation makes it knows nothing of, and what these settings must be therefore
NEEDED = {"outer": "exact", "step_losses": "last", "minibatch": None}


class EvolvedLearner(BaseLearner):
    """Another learner in all but its outer direction.

    Args:
        problem: its algorithm's evolution has a population.
        make: makes the learner; each thread has one of its own, as it holds buffers.
        threads: that evaluate members; None: one a processor, or one where that is faster. Results are the same bits
            with any number.

    Raises:
        SettingError: for settings of the learner that are about its gradient.
    """

    def __init__(self, problem: Problem, make: Callable[[], BaseLearner], threads: int | None = None):
        super().__init__(problem)
        for key, needed in NEEDED.items():
            value = getattr(problem.algorithm, key, needed)
            if value != needed:
                shown = f"algorithm.{key}={value} with algorithm.evolution.population={self.settings.population}"
                raise SettingError(f"{shown} is not usable: evolution takes no gradient; leave it {needed or 'null'}")
        self.inner = make()
        values = hidden_values(problem)
        self.layout = self.inner.layout
        self._pairs = (
            int(np.clip(HIDDEN_AT_ONCE // (2 * values), 1, MOST_PAIRS)) if adapt_together(self.inner) else MOST_PAIRS
        )
        has_cores = values >= WORTH_THREADS and parent_process() is None  # a worker's neighbours have the others
        self._make, self._threads = make, threads or (cpu_count() if has_cores else 1)
        self._idle: SimpleQueue[BaseLearner] = SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def settings(self) -> EvolutionSettings:
        """Of the evolution."""
        return self.problem.algorithm.evolution

    def init(self, rng: np.random.Generator) -> Array:
        """The learner's own."""
        return self.inner.init(rng)

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The estimate of the gradient; extras: the mean loss of the population."""
        perturbations = self.perturbations(rng, vector)
        losses = self.losses(vector, perturbations, batch)
        before, after = self._losses_of_the_mean(vector, batch)
        gradient = estimate(perturbations, shaped(losses, self.settings.fitness), self.settings.sigma)
        return Gradient(gradient, after, before, {"population_loss": float(losses.mean())})

    def perturbations(self, rng: np.random.Generator, vector: Array) -> Array:
        """e (n, P)."""
        return rng.standard_normal((self.settings.population, vector.size), dtype=vector.dtype)

    def losses(self, vector: Array, perturbations: Array, batch: Batch) -> Array:
        """The losses (n, 2) of vector + sigma e and vector - sigma e, float64."""
        found = np.empty((len(perturbations), 2))
        sigma = vector.dtype.type(self.settings.sigma)

        @np.errstate(over="ignore", invalid="ignore")  # of each thread its own
        def evaluate(start: int) -> None:
            learner, pairs = self._idle.get(), slice(start, start + self._pairs)
            try:
                steps = sigma * perturbations[pairs]
                members = np.concatenate([vector + steps, vector - steps])
                found[pairs] = np.reshape(losses_after_adaptation(learner, members, batch), (2, -1)).T
            finally:
                self._idle.put(learner)

        for _ in self._map(evaluate, range(0, len(perturbations), self._pairs)):
            pass
        return found

    def _map(self, function: Callable[[int], None], starts: range) -> Iterator[None]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads)
            for _ in range(self._threads):
                self._idle.put(self._make())
        return self._pool.map(function, starts)

    def _losses_of_the_mean(self, vector: Array, batch: Batch) -> tuple[float, float]:
        """The support loss before and the query loss after adaptation, of the vector itself."""
        x, y, *_ = batch
        before = next(iter(self.inner.adapt(vector, x, y, x, 0)))
        return mean_loss(self.problem.family.loss, before, y), loss_after_adaptation(self.inner, vector, batch)

    def adapt(
        self, vector: Array, x_support: Array, y_support: Array, x: Array, steps: int, lr: float | None = None
    ) -> Iterator[Array]:
        """The learner's own."""
        return self.inner.adapt(vector, x_support, y_support, x, steps, lr)

    def adapt_from(self, first: int, *arguments: Any, **options: Any) -> Iterator[Array]:
        """The learner's own."""
        return self.inner.adapt_from(first, *arguments, **options)

    def reference_loss(
        self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float, base: Array
    ) -> Array:
        """vector . g, g being the estimate at base, pair by pair, of the learner's own reference losses."""
        perturbations, sigma = self.perturbations(rng, base), self.settings.sigma

        def loss(member: Array) -> float:
            return float(np.real(self.inner.reference_loss(member, batch, rng, progress, member)))

        losses = [(loss(base + sigma * e), loss(base - sigma * e)) for e in perturbations]
        everyone = [one for pair in losses for one in pair]

        def fitness(one: float) -> float:
            if self.settings.fitness == "ranks":
                return sum(other < one for other in everyone) / (len(everyone) - 1)
            return one / float(np.std(everyone)) if self.settings.fitness == "normalised" else one

        total = np.zeros(len(base))
        for e, (above, below) in zip(perturbations, losses, strict=True):
            total += (fitness(above) - fitness(below)) * e
        return vector @ (total / (2 * len(losses) * sigma))

    @property
    def outer_rates(self) -> Mapping[str, float]:
        """The learner's own."""
        return self.inner.outer_rates

    @property
    def extra_names(self) -> tuple[str, ...]:
        """The population's mean loss."""
        return ("population_loss",)

    def learned(self, vector: Array) -> Mapping[str, float]:
        """The learner's own."""
        return self.inner.learned(vector)

    def spreads(self, vector: Array) -> Mapping[str, Array]:
        """The learner's own."""
        return self.inner.spreads(vector)

    @property
    def trained_steps(self) -> int:
        """The learner's own."""
        return self.inner.trained_steps

    @property
    def sized_by(self) -> str:
        """The learner's own."""
        return self.inner.sized_by

    @property
    def network_label(self) -> str:
        """The learner's own."""
        return self.inner.network_label

    @property
    def describes(self) -> str:
        """The learner's own, and the population."""
        evolved = f"evolved by {self.settings.population} pairs of perturbations of {self.settings.sigma:g}"
        return ", ".join(part for part in (self.inner.describes, evolved) if part)


def hidden_values(problem: Problem) -> int:
    """Of the widest layer, in the passes of one member."""
    family = problem.family
    points = problem.meta_batch * (family.support_points(max(problem.task.all_shots)) + family.query)
    return points * max(problem.network.sizes)


def adapt_together(learner: BaseLearner) -> bool:
    """Whether members are adapted several at once, and have a loss each."""
    return learner.adapts_several and learner.problem.family.loss.by_point


def losses_after_adaptation(learner: BaseLearner, vectors: Array, batch: Batch) -> list[float]:
    """The query loss of every vector of (R, P), after as many steps as are trained for, on the whole support set."""
    if not adapt_together(learner):
        return [loss_after_adaptation(learner, vector, batch) for vector in vectors]
    found: Any = loss_after_adaptation(learner, vectors, batch)
    return found


def loss_after_adaptation(learner: BaseLearner, vector: Array, batch: Batch) -> float:
    """The query loss of a vector (P,); of several, where the learner adapts several, a list."""
    x, y, x_query, y_query = batch
    steps = learner.trained_steps
    (prediction,) = learner.adapt_from(steps, vector, x, y, x_query, steps)
    return mean_loss(learner.problem.family.loss, prediction, y_query)


def shaped(losses: Array, fitness: str) -> Array:
    """What members of these losses (n, 2) weigh: that of a loss that is not finite is that of the largest.

    ranks: from -1/2 to 1/2, whatever the losses are; normalised: of standard deviation 1; plain: the losses.
    """
    finite = np.isfinite(losses)
    if not finite.any():
        return losses
    losses = np.where(finite, losses, losses[finite].max())
    if fitness == "ranks":
        ranks = np.searchsorted(np.sort(losses, axis=None), losses)
        return ranks / (losses.size - 1) - 0.5
    if fitness == "normalised":
        return (losses - losses.mean()) / max(losses.std(), np.finfo(float).tiny)
    return losses


def estimate(perturbations: Array, fitness: Array, sigma: float) -> Array:
    """1 / (2 n sigma) sum_i (F_i+ - F_i-) e_i (P,), from e (n, P) and F (n, 2)."""
    weights = (fitness[:, 0] - fitness[:, 1]) / (2 * len(perturbations) * sigma)
    return weights.astype(perturbations.dtype) @ perturbations
