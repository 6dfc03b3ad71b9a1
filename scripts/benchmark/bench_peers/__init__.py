"""Who is compared by `scripts/benchmark`, and what each must be able to do.

A peer is a module with `VARIANTS`, names "<how it loops, or is called>/<how it differentiates>", and
`make(case, variant)`, which returns a contender:

    gradient(theta, batch) -> (P,)    the meta-gradient, float32, in the layout of the core's learner
    run(iterations)                   whole training iterations: draw tasks, meta-gradient, Adam; returns when done;
                                      only multiples of case.chunk are asked for
    theta() -> (P,)                   its parameters now

Every contender starts from `initial_theta(case)`. A peer is imported only in a process of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient, neural_process, recurrent, ridge
from maml_exp.core.network import ModelSettings, Network
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import sinusoid
from maml_exp.core.tasks.base import Batch, TaskFamily
from maml_exp.core.training import make_learner

PEERS = {  # name -> module
    "ours": "bench_peers.ours",
    "jax": "bench_peers.jax_peer",
    "jax-pairs": "bench_peers.jax_pairs_peer",
    "torch": "bench_peers.torch_peer",
    "floor": "bench_peers.floor",
    "jax-learners": "bench_peers.jax_learners_peer",
    "jax-methods": "bench_peers.jax_methods_peer",
    "ours-lockstep": "bench_peers.ours_lockstep",
    "jax-lockstep": "bench_peers.jax_lockstep_peer",
}
ADAM = adam.Settings(lr=1e-3)
RAW_RATES = {"learn_rates": True, "rates_store": "raw"}
MAML = {"maml": gradient.Settings(), "fomaml": gradient.Settings(outer="first_order")}
METHODS = {  # by the names of their presets, as all that follow
    "anil": gradient.Settings(moves="head"),
    "lslr": gradient.Settings(rates="layer_and_step", **RAW_RATES),
    # from a fifth of the preset's rates, with which five steps at H = 256 diverge before any training
    "meta_sgd": gradient.Settings(rates="weight", rates_start=[0.001, 0.02], **RAW_RATES),
}
LEARNERS = {
    "ridge": ridge.Settings(),
    "recurrent": recurrent.Settings(),
    "neural_process": neural_process.Settings(),
    "attention": neural_process.Settings(aggregate="attention", encoder=[64, 64], decoder=[64, 64]),
}
ALGORITHMS = MAML | METHODS | LEARNERS
SEED = 1


@dataclass(frozen=True)
class Case:
    """One training problem: sinusoids, inner rate 0.01, Adam with rate 1e-3.

    Attributes:
        scans: whether JAX can draw its tasks in a compiled loop.
    """

    scans: ClassVar[bool] = True
    width: int = 40  # H
    steps: int = 1  # S
    shots: int = 10  # K
    tasks: int = 25  # T
    layers: int = 2  # hidden layers
    activation: str = "relu"
    algorithm: str = "maml"
    query: int | None = None  # Q; None: K
    runs: int = 1  # R, of contenders that train several together: seeds of the same problem

    @property
    def queries(self) -> int:
        """Q, query points of a task."""
        return self.shots if self.query is None else self.query

    @property
    def problem(self) -> Problem:
        """The same as the core's object."""
        return Problem(
            model=ModelSettings(hidden=[self.width] * self.layers, activation=self.activation),
            algorithm=ALGORITHMS[self.algorithm],
            inner=InnerSettings(lr=0.01, steps=self.steps),
            task=sinusoid.Settings(shots=self.shots, query=self.queries),
            optimizer=ADAM,
            meta_batch=self.tasks,
        )

    @property
    def network(self) -> Network:
        """Sizes, activation and the layout of theta."""
        return self.problem.network

    @property
    def family(self) -> TaskFamily:
        """The task distribution."""
        return self.problem.family

    @property
    def products(self) -> int:
        """(T K, H) x (H, H) products that exact MAML cannot do without, per iteration.

        Forward and backward in S support passes and the query pass, R forward and backward in S, and
        S pairs of two plus one in the sum over tasks: 6 S + 3 for every matrix between hidden layers.
        """
        return (6 * self.steps + 3) * (self.layers - 1)

    @property
    def flops(self) -> int:
        """Floating-point operations of `products`: 18 T K H^2 with two hidden layers and S = 1."""
        return self.products * 2 * self.tasks * self.shots * self.width**2

    @property
    def chunk(self) -> int:
        """Iterations that a contender may be asked for come in multiples of this: long enough to be timed."""
        return int(np.clip(1e9 / max(self.flops, 1), 2, 64))


def initial_theta(case: Case) -> np.ndarray:
    """The meta-parameters (P,), float32, that every contender starts from."""
    return make_learner(case.problem).init(np.random.default_rng(SEED))


def test_batch(case: Case) -> Batch:
    """A meta-batch on which all sides must agree."""
    return case.family.sample(np.random.default_rng(SEED + 1), case.tasks, "float32")
