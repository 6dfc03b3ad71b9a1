"""What tests of the gradient learner's axes share: a family with several inputs and outputs, and the proof."""

from dataclasses import dataclass, replace

import numpy as np

from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.losses import CrossEntropy
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import sgd
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import TASKS
from maml_exp.core.tasks.base import Batch, TaskFamily, TaskSettings

INPUTS, OUTPUTS = 2, 3  # several of each, and different: a transposed or dropped axis cannot hide
TOLERANCE = 1e-10


@dataclass
class ScatterSettings(TaskSettings):
    name: str = "scatter"


class Scatter(TaskFamily):
    """Points without a rule."""

    inputs, outputs = INPUTS, OUTPUTS

    def sample(self, rng, tasks, dtype):
        support, query = self.settings.shots, self.settings.query
        widths = [(support, INPUTS), (support, OUTPUTS), (query, INPUTS), (query, OUTPUTS)]
        return Batch(*[rng.standard_normal((tasks, *width)).astype(dtype) for width in widths])

    def held_out(self, split, seed, tasks, shots, grid):
        raise NotImplementedError

    def fingerprint(self):
        return {}


@dataclass
class ClassesSettings(TaskSettings):
    name: str = "scattered_classes"


class ScatteredClasses(Scatter):
    """Points of classes without a rule."""

    loss = CrossEntropy()

    def sample(self, rng, tasks, dtype):
        x, y, x_query, y_query = super().sample(rng, tasks, dtype)
        return Batch(x, one_hot(y), x_query, one_hot(y_query))


def one_hot(y):
    """The class whose number is the largest."""
    return (y == y.max(axis=-1, keepdims=True)).astype(y.dtype)


for name, family, family_settings in (
    ("scatter", Scatter, ScatterSettings),
    ("scattered_classes", ScatteredClasses, ClassesSettings),
):
    if name not in TASKS.names():
        TASKS.register(name, Settings=family_settings, Family=family)


def make_problem(
    hidden=(5, 4),
    activation="tanh",
    steps=2,
    lr=0.07,
    shots=4,
    query=5,
    tasks=3,
    layer_norm=False,
    classes=False,
    **axes,
):
    task = ClassesSettings if classes else ScatterSettings
    return Problem(
        ModelSettings(hidden=list(hidden), activation=activation, layer_norm=layer_norm),
        gradient.Settings(**axes),
        InnerSettings(lr=lr, steps=steps),
        task(shots=shots, query=query),
        sgd.Settings(),
        tasks,
        dtype="float64",
    )


def with_axes(problem, **axes):
    """The same problem, learned in another way."""
    return replace(problem, algorithm=gradient.Settings(**axes))


def somewhere(learner, seed=0):
    """A vector of meta-parameters: everything that starts at zero or alike is moved away from there."""
    rng = np.random.default_rng([seed, 1])
    vector = 0.7 * rng.standard_normal(learner.layout.size)
    parts = learner.layout.parts(vector)
    if "rates" in parts:
        spread = rng.uniform(0.5, 2, parts["rates"].size)
        store = learner.settings.rates_store
        parts["rates"][:] = np.log(spread) if store == "log" else learner.problem.inner.lr * spread
    return vector


def batch_of(problem, seed=0, dtype=np.float64):
    return problem.family.sample(np.random.default_rng([seed, 2]), problem.meta_batch, dtype)


def part_errors(learner, vector, batch, progress=0.0, seed=0, directions=5):
    """The largest relative error of every part of the meta-gradient against the complex step of its reference."""
    ours = learner.meta_gradient(vector, batch, np.random.default_rng(seed), progress).vector
    rng = np.random.default_rng(seed)
    errors = {}
    for name, part in learner.layout.slices.items():
        along = np.zeros((min(directions, part.stop - part.start), vector.size))
        along[:, part] = np.linalg.qr(rng.standard_normal((part.stop - part.start, len(along))))[0].T
        exact = [derivative(learner, vector, batch, progress, seed, u) for u in along]
        found = along @ ours
        scale = np.linalg.norm(exact)
        errors[name] = np.linalg.norm(found - exact) / scale if scale else np.linalg.norm(found)
    return errors


def derivative(learner, vector, batch, progress, seed, direction, h=1e-30):
    moved = vector + 1j * h * direction
    value = learner.reference_loss(moved, batch, np.random.default_rng(seed), progress, vector)
    return np.imag(value) / h
