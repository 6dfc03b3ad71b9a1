"""What can be chosen about the mathematics: plain dataclasses that check their own values.

They double as the typed schema of the configuration groups of the same names, so that a choice is
declared, typed, given its default and bounded in one place. They hold names, never objects: a saved
configuration stays loadable when modules move, and can never run code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from maml_exp.core import checks as need
from maml_exp.core.activations import ACTIVATIONS
from maml_exp.core.learners.gradient import ALGORITHMS
from maml_exp.core.network import INITIALIZERS
from maml_exp.core.optimizers.updates import OPTIMIZERS
from maml_exp.core.tasks.sinusoid import TASKS


@dataclass
class ModelSettings:
    """A multilayer perceptron between the task's inputs and outputs."""

    hidden: list[int] = field(default_factory=lambda: [40, 40])  # width of every hidden layer
    activation: str = "relu"
    initializer: str = "uniform_fan_in"

    def __post_init__(self):
        ok = isinstance(self.hidden, (list, tuple)) and 1 <= len(self.hidden) <= 100
        ok = ok and all(need.is_integer(width, 1, 10**5) for width in self.hidden)
        need.require(ok, "model.hidden", self.hidden, "a list of 1 to 100 widths, each from 1 to 100000, as in [40,40]")
        need.require_name("model.activation", self.activation, ACTIVATIONS)
        need.require_name("model.initializer", self.initializer, INITIALIZERS)


@dataclass
class AlgorithmSettings:
    """How the meta-gradient is computed."""

    name: str = "maml"

    def __post_init__(self):
        need.require_name("algorithm.name", self.name, ALGORITHMS)


@dataclass
class InnerSettings:
    """The inner loop: gradient descent on a task's support set."""

    lr: float = 0.01  # alpha
    steps: int = 1  # S

    def __post_init__(self):
        need.require_number("inner.lr", self.lr)
        need.require_integer("inner.steps", self.steps, 0, 1000)


@dataclass
class TaskSettings:
    """A family of tasks; every range is [low, high], drawn uniformly, anew for every task."""

    name: str = "sinusoid"
    shots: int = 10  # K, support points a task
    query: int = 10  # Q, query points a task
    amplitude: list[float] = field(default_factory=lambda: [0.1, 5.0])
    phase: list[float] = field(default_factory=lambda: [0.0, 3.141592653589793])  # radians
    frequency: list[float] = field(default_factory=lambda: [1.0, 1.0])  # radians per unit of x
    x_range: list[float] = field(default_factory=lambda: [-5.0, 5.0])
    oracle: bool = False  # the network is told A and phi too: the best one can hope for

    def __post_init__(self):
        need.require_name("task.name", self.name, TASKS)
        need.require_integer("task.shots", self.shots, 1, 10**6)
        need.require_integer("task.query", self.query, 1, 10**6)
        for key in ("amplitude", "phase", "frequency"):
            need.require_range(f"task.{key}", getattr(self, key))
        need.require_range("task.x_range", self.x_range, strict=True)
        need.require(isinstance(self.oracle, bool), "task.oracle", self.oracle, "true or false")


@dataclass
class OptimizerSettings:
    """The outer loop's optimizer."""

    name: str = "adam"
    lr: float = 1e-3
    momentum: float = 0.0  # sgd only
    beta1: float = 0.9  # adam only, as the next two
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None  # the meta-gradient is scaled down to this norm; null: never

    def __post_init__(self):
        need.require_name("optimizer.name", self.name, OPTIMIZERS)
        need.require_number("optimizer.lr", self.lr)
        for key in ("momentum", "beta1", "beta2"):
            need.require_fraction(f"optimizer.{key}", getattr(self, key))
        need.require_number("optimizer.epsilon", self.epsilon)
        if self.clip_norm is not None:
            need.require_number("optimizer.clip_norm", self.clip_norm)
