"""The recurrent learner: values by hand, what its state means, its derivatives row by row."""

import math

import numpy as np
import pytest

from maml_exp.core.learners import recurrent
from maml_exp.core.learners.recurrent import Reading
from maml_exp.core.network import Network

from ..helpers import complex_step_gradient, problem_of, random_batch, relative_error

TASKS, SHOTS, QUERY, UNITS = 3, 4, 6, 5
NETWORK = Network((2, 6, 3))
BATCH = random_batch(1, TASKS, SHOTS, QUERY)


def make(units=UNITS, dtype="float64"):
    return recurrent.Learner(problem_of(NETWORK, recurrent.Settings(units=units), BATCH, dtype=dtype))


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def test_one_unit_by_hand():
    """Rows [x, y, is-query]; columns i, f, o, g. One support point (2, 3), one query point at 5."""
    theta = np.array(
        [[0.1, 0.2, 0.3, 0.4], [-0.2, 0.1, 0.2, 0.3], [0.5, 0.4, -0.3, 0.2], [0.3, -0.1, 0.2, 0.5], [0, 1, 0, 0.1]]
    )
    x, y, at = (np.full((1, 1, 1), value) for value in (2.0, 3.0, 5.0))
    i, g = sigmoid(0.2 - 0.6), math.tanh(0.8 + 0.9 + 0.1)
    c, o = i * g, sigmoid(0.6 + 0.6)
    h = o * math.tanh(c)
    i, f = sigmoid(0.5 + 0.5 + 0.3 * h), sigmoid(1.0 + 0.4 - 0.1 * h + 1)
    o, g = sigmoid(1.5 - 0.3 + 0.2 * h), math.tanh(2.0 + 0.2 + 0.5 * h + 0.1)
    expected = o * math.tanh(f * c + i * g)
    assert Reading(theta, x, y, at).output.item() == pytest.approx(expected, rel=1e-14)


def test_its_derivative_is_the_complex_step_of_its_output_in_every_entry():
    """`Reading` itself keeps complex numbers: nothing of the backward pass is shared with the forward one."""
    theta = np.random.default_rng(0).standard_normal((2 + 3 + 1 + UNITS + 1, 4 * UNITS))
    wanted = np.random.default_rng(1).standard_normal((UNITS, QUERY, TASKS))

    def weighted(flat):
        points = [part.astype(complex) for part in BATCH[:3]]
        return np.sum(wanted * Reading(flat.reshape(theta.shape), *points).output)

    found = np.empty_like(theta)
    Reading(theta, *BATCH[:3]).backward(wanted, found)
    assert relative_error(found.ravel(), complex_step_gradient(weighted, theta.ravel())) < 1e-13


def test_query_points_do_not_know_of_each_other_and_tasks_do_not():
    learner = make()
    vector = learner.init(np.random.default_rng(0))
    together = learner.predict(vector, *BATCH[:3])
    for task in range(TASKS):
        for point in range(QUERY):
            one = learner.predict(
                vector, *(part[task : task + 1] for part in BATCH[:2]), BATCH.x_query[task, point][None, None]
            )
            np.testing.assert_allclose(one[0, 0], together[task, point], rtol=1e-12)


def test_a_support_point_counts_and_so_does_the_order_of_points():
    learner = make()
    vector = learner.init(np.random.default_rng(0)) * 3
    x, y, at = BATCH[:3]
    before = learner.predict(vector, x, y, at)
    assert relative_error(learner.predict(vector, x[:, ::-1], y[:, ::-1], at), before) > 1e-3
    changed = y.copy()
    changed[:, 0] += 1
    assert relative_error(learner.predict(vector, x, changed, at), before) > 1e-3


@pytest.mark.parametrize("units", [1, 7])
def test_the_forget_gate_starts_open_and_the_vector_has_its_sizes(units):
    learner = make(units)
    vector = learner.init(np.random.default_rng(0))
    assert learner.layout.sizes == {"theta": (6 + units + 1) * 4 * units, "readout": (units + 1) * 3}
    bias = vector[: learner.layout.sizes["theta"]].reshape(-1, 4 * units)[-1]
    bound = 1 / math.sqrt(6 + units)
    assert (np.abs(bias[units : 2 * units] - 1) <= bound).all()
    assert (np.abs(np.delete(bias, slice(units, 2 * units))) <= bound).all()
