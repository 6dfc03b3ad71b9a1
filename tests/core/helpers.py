"""What several test files need: random problems, and derivatives that share no code with the core."""

import numpy as np

from maml_exp.core.learners.gradient import MetaGradient
from maml_exp.core.network import Network
from maml_exp.core.tasks.sinusoid import Batch

INPUTS, OUTPUTS = 2, 3  # several of each, and different: a transposed or dropped axis cannot hide


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


def meta_gradient_for(network, algorithm, batch, inner_lr=0.05, steps=1, dtype=np.float64, pairs=None):
    """A new MetaGradient of the batch's sizes."""
    tasks, shots = batch.x_support.shape[:2]
    sizes = {"tasks": tasks, "shots": shots, "query": batch.x_query.shape[1]}
    return MetaGradient(network, algorithm, inner_lr=inner_lr, inner_steps=steps, dtype=dtype, pairs=pairs, **sizes)


def complex_step_gradient(function, theta, h=1e-30):
    """All derivatives d function / d theta_p, stacked on the last axis: exact to rounding."""
    steps = 1j * h * np.eye(theta.size)
    return np.stack([np.imag(function(theta + step)) / h for step in steps], axis=-1)


def as_dtype(batch, dtype):
    return Batch(*[part.astype(dtype) for part in batch])
