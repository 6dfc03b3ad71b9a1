"""What several test files need: random problems, and derivatives that share no code with the core."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.losses import Loss, SquaredError
from maml_exp.core.network import ModelSettings, Network
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.proof import reference
from maml_exp.core.tasks.base import Batch, FixedTasks, TaskFamily, TaskSettings

INPUTS, OUTPUTS = 2, 3  # several of each, and different: a transposed or dropped axis cannot hide
SQUARED = SquaredError()


def relative_error(ours, exact):
    """Norm of the difference over the norm of `exact`; a NaN anywhere gives NaN, which passes no comparison."""
    return np.linalg.norm(np.subtract(ours, exact)) / np.linalg.norm(exact)


def random_batch(seed, tasks, shots, query, inputs=INPUTS, outputs=OUTPUTS):
    rng = np.random.default_rng(seed)
    shapes = [(tasks, shots, inputs), (tasks, shots, outputs), (tasks, query, inputs), (tasks, query, outputs)]
    return Batch(*[rng.standard_normal(shape) for shape in shapes])


def random_problem(hidden, activation, seed=0, tasks=3, shots=4, query=6, inputs=INPUTS, outputs=OUTPUTS):
    """A network, a point in its parameter space and a meta-batch, all float64."""
    network = Network((inputs, *hidden, outputs), activation)
    theta = 0.7 * np.random.default_rng([seed, 1]).standard_normal(network.parameter_count)
    return network, theta, random_batch([seed, 2], tasks, shots, query, inputs, outputs)


class RandomPoints(TaskFamily):
    """Tasks without any structure, of as many inputs and outputs as a test wants."""

    def __init__(self, settings, inputs, outputs):
        super().__init__(settings)
        self.inputs, self.outputs = inputs, outputs

    def sample(self, rng, tasks, dtype):
        return as_dtype(self._drawn(rng, tasks, self.settings.shots, self.settings.query), dtype)

    def held_out(self, split, seed, tasks, shots, grid):
        return FixedTasks(*self._drawn([seed, split == "test"], tasks, shots, grid))

    def fingerprint(self):
        return {"name": "random points", "inputs": self.inputs, "outputs": self.outputs}

    def _drawn(self, seed, tasks, shots, query):
        return random_batch(seed, tasks, shots, query, self.inputs, self.outputs)


@dataclass(frozen=True)
class AnyProblem(Problem):
    """A problem of random points: its network has any number of inputs and outputs."""

    inputs: int = INPUTS
    outputs: int = OUTPUTS
    loss: Loss = SQUARED

    @cached_property
    def family(self):
        family = RandomPoints(self.task, self.inputs, self.outputs)
        family.loss = self.loss
        return family


def problem_of(network, algorithm, batch, inner_lr=0.05, steps=1, dtype="float64"):
    """The problem of a network, a learner's settings and a meta-batch's sizes."""
    inputs, *hidden, outputs = network.sizes
    tasks, shots = batch.x_support.shape[:2]
    return AnyProblem(
        model=ModelSettings(hidden, network.activation_name),
        algorithm=algorithm,
        inner=InnerSettings(inner_lr, steps),
        task=TaskSettings("random points", shots, batch.x_query.shape[1]),
        optimizer=adam.Settings(),
        meta_batch=tasks,
        dtype=dtype,
        inputs=inputs,
        outputs=outputs,
    )


def learner_for(network, outer, batch, inner_lr=0.05, steps=1, pairs=None):
    """A new gradient learner of the batch's sizes."""
    return gradient.Learner(problem_of(network, gradient.Settings(outer=outer), batch, inner_lr, steps), pairs=pairs)


def meta_gradient(learner, vector, batch):
    """What a learner that draws nothing says about a meta-batch."""
    return learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.0)


def reference_meta_loss(network, outer, theta, batch, inner_lr, steps, base):
    """The reference of a method that differs from maml in its outer gradient alone."""
    settings = gradient.Settings()
    settings.outer = outer  # also one that settings refuse
    omega, every = (*[0.0] * steps, 1.0), [True] * len(network.shapes)
    method = reference.Method(network, settings, every, inner_lr, steps, omega, outer == "first_order")
    return method.meta_loss({"theta": theta}, batch, None, {"theta": base})


def complex_step_gradient(function, theta, h=1e-30):
    """All derivatives d function / d theta_p, stacked on the last axis: exact to rounding."""
    steps = 1j * h * np.eye(theta.size)
    return np.stack([np.imag(function(theta + step)) / h for step in steps], axis=-1)


def as_dtype(batch, dtype):
    return Batch(*[part.astype(dtype) for part in batch])
