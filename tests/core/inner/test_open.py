"""The open inner loop: gradients and Hessian products at weights of every task's own."""

import numpy as np
import pytest

from maml_exp.core.inner.open import OpenLoop
from maml_exp.core.inner.passes import query_passes, support_passes
from maml_exp.core.losses import SquaredError
from maml_exp.core.proof import reference

from ..helpers import random_problem, relative_error

TASKS, STEPS = 3, 2


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
@pytest.mark.parametrize("hidden", [(5,), (4, 3)])
def test_gradients_and_hessian_products_are_those_of_every_task_alone(hidden, activation):
    network, theta, batch = random_problem(hidden, activation, tasks=TASKS)
    x, y, x_query, y_query = batch
    passes = (*support_passes(STEPS, x.shape[1], -1.0), *query_passes((0.0, 0.25, 0.75), x_query.shape[1], TASKS))
    loop = OpenLoop(network, SquaredError(), TASKS, passes, np.float64)
    rng = np.random.default_rng(0)
    path = [np.tile(theta, (TASKS, 1)), *(rng.standard_normal((TASKS, theta.size)) for _ in range(STEPS))]
    along = rng.standard_normal((TASKS, theta.size))
    loop.bind(theta)
    np.testing.assert_array_equal(loop.start(), path[0])
    for r in (1, 2):
        loop.write(r, path[r])
    for s in range(STEPS):
        loop.run_pass(s, x, y)
        found, products = loop.gradients(s), loop.hessian_products(s, along)
        for task in range(TASKS):

            def gradient(at, task=task):
                return reference.gradient(network, at, x[task], y[task])

            assert relative_error(found[task], gradient(path[s][task])) < 1e-13
            exact = reference.complex_step(gradient, path[s][task], along[task])
            assert relative_error(products[task], exact) < 1e-12
    for q, weight in ((2, 0.25), (3, 0.75)):
        residual = loop.run_pass(q, x_query, y_query)
        found = loop.gradients(q)
        for task in range(TASKS):
            at = path[q - 1][task]
            exact = weight / TASKS * reference.gradient(network, at, x_query[task], y_query[task])
            assert relative_error(found[task], exact) < 1e-13
            np.testing.assert_allclose(residual[task], network.predict(at, x_query[task]) - y_query[task], rtol=1e-12)


def test_a_product_does_not_depend_on_the_ones_before_it():
    network, theta, batch = random_problem((4, 3), "tanh", tasks=TASKS)
    loop = OpenLoop(
        network, SquaredError(), TASKS, (*support_passes(1, 4, -1.0), *query_passes((0, 1), 6, TASKS)), float
    )
    loop.bind(theta)
    loop.run_pass(0, batch.x_support, batch.y_support)
    first, second = np.random.default_rng(0).standard_normal((2, TASKS, theta.size))
    expected = loop.hessian_products(0, first)
    loop.hessian_products(0, second)
    np.testing.assert_array_equal(loop.hessian_products(0, first), expected)
