"""What a learner is: whatever adapts to a support set, and how it is trained to.

Trainer, evaluation, figures and the proof of gradients talk to this and to nothing else, so a learner is judged by
the adaptation that it was trained for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch

Array = np.ndarray
USUAL_STEPS = 10  # of an evaluation
FITNESS = ("ranks", "normalised", "plain")


@dataclass
class EvolutionSettings(checks.Settings):
    """An outer loop that tries perturbations of the meta-parameters and takes no gradient; see `_evolved`."""

    section: ClassVar[str] = "algorithm.evolution"
    population: int = setting(
        0, "pairs of opposite perturbations an iteration; 0: the gradient instead", checks.integer(0, 10**6)
    )
    sigma: float = setting(0.1, "standard deviation of a perturbation, of every meta-parameter", checks.number())
    fitness: str = setting("ranks", "what is made of the losses of all members", checks.one_of(lambda: FITNESS))


@dataclass
class LearnerSettings(checks.Settings):
    """What every learner has."""

    section: ClassVar[str] = "algorithm"
    at_once: ClassVar[bool] = False  # it adapts in one go: step 0 is before, step 1 after, and steps have no rate
    learned_steps: ClassVar[bool] = False  # what makes steps of gradients is learned; inner.lr is the unit of steps
    learner: str = "?"  # the file in core/learners
    preset: str | None = None  # a label: the file in conf/algorithm that the settings were taken from
    evolution: EvolutionSettings = field(default_factory=EvolutionSettings)

    @property
    def rates_in_lockstep(self) -> tuple[str, ...] | None:
        """The rates in which runs in lockstep may differ; None: `meta_gradient` takes one run alone.

        Else it takes R of them as well (core/training/lockstep.py): vectors (R, P), batches (R, T, ...), generators as
        one, and inner.lr as a tuple where it differs. Their losses are then R numbers each.
        """
        return None

    def steps_to_judge(self, trained: int) -> int:
        """Steps that an evaluation makes where it is not told how many, of a learner trained with inner.steps."""
        return 1 if self.at_once else max(USUAL_STEPS, trained)


class Gradient(NamedTuple):
    """What one meta-batch says about the meta-parameters."""

    vector: Array  # (P,), the direction that the outer loop descends against
    loss: float  # the query loss after adaptation, the mean over tasks
    support_loss: float  # the support loss before adaptation
    extras: Mapping[str, float] = {}  # further numbers by name, to be logged


class BaseLearner(ABC):
    """A way to learn from a support set; holds settings and buffers, never state.

    Args:
        problem: everything that decides what is computed.
        options: for tests and proofs alone: see `variants`.

    Attributes:
        layout: the named parts of the flat vector (P,) of meta-parameters.
        variants: options of different implementations of the same mathematics; each is proven.
        adapts_several: whether `adapt` takes vectors (R, P) too, of which each adapts to the same tasks by itself, with
            the bits that it has alone; predictions are then (R, T, G, m).
    """

    layout: Layout
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    adapts_several: ClassVar[bool] = False

    def __init__(self, problem: Problem, **options: Any):
        if options:
            raise TypeError(f"unknown options: {', '.join(options)}")
        self.problem = problem

    @abstractmethod
    def init(self, rng: np.random.Generator) -> Array:
        """The meta-parameters (P,) before training, drawn in float64 and rounded to the problem's dtype."""

    @abstractmethod
    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The outer loop's direction at `vector` (P,), from one meta-batch.

        Args:
            vector: (P,); not changed.
            batch: its dtype is that of `vector`.
            rng: the learner's own stream; whatever it draws while training comes from here.
            progress: the share of iterations made, from 0 to below 1.
        """

    @abstractmethod
    def adapt(
        self, vector: Array, x_support: Array, y_support: Array, x: Array, steps: int, lr: float | None = None
    ) -> Iterator[Array]:
        """Predictions (T, G, m) at x (T, G, n) after 0, 1 .. `steps` inner steps, each computed as it is asked for.

        Args:
            vector: (P,).
            x_support, y_support: (T, K, n) and (T, K, m).
            x: (T, G, n).
            steps: as many as wanted, also more than in training; one that adapts at once repeats step 1.
            lr: rate of the steps; None: the one it was trained with. One that adapts at once has none.
        """

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
        """What `adapt` yields from step `first` on; a learner may spare itself predictions that nobody looks at."""
        return islice(self.adapt(vector, x_support, y_support, x, steps, lr), first, None)

    @abstractmethod
    def reference_loss(
        self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float, base: Array
    ) -> Array:
        """A scalar function of `vector` whose gradient at vector = base is `meta_gradient`'s direction at base.

        Slow and obvious, of any dtype, complex too, and sharing no pass with `meta_gradient`: that is what proves it.
        `base` (P,) is what a first-order method holds constant.
        """

    @property
    def outer_rates(self) -> Mapping[str, float]:
        """Rates of the outer loop of named parts of the vector, where they are not the optimizer's own."""
        return {}

    @property
    def extra_names(self) -> tuple[str, ...]:
        """The names of `Gradient.extras`, known before training."""
        return ()

    def learned(self, vector: Array) -> Mapping[str, float]:
        """What a reader wants to see of the meta-parameters (P,) while they are learned, by name, to be logged.

        The names are the same for every vector.
        """
        return {}

    def spreads(self, vector: Array) -> Mapping[str, Array]:
        """Inner rates in the meta-parameters (P,) that are too many to be told one by one, by name: for a figure."""
        return {}

    @property
    def trained_steps(self) -> int:
        """Inner steps made in training before the query loss is taken: 0 for a learner that makes none."""
        return 0

    @property
    def sized_by(self) -> str:
        """The setting, with its value, that the number of its parameters comes from."""
        return f"model.hidden={self.problem.model.hidden}"

    @property
    def network_label(self) -> str:
        """The network it learns, for a run's first line of log."""
        return self.problem.network.label

    @property
    def describes(self) -> str:
        """What it does inside, in a few words, for a run's first line of log."""
        return ""
