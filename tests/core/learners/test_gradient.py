from functools import cache

import numpy as np
import pytest

from maml_exp.core.arrays import norm
from maml_exp.core.proof import reference

from ..helpers import (
    as_dtype,
    complex_step_gradient,
    learner_for,
    meta_gradient,
    random_batch,
    random_problem,
    reference_meta_loss,
    relative_error,
)

LR = 0.05
each_outer = pytest.mark.parametrize("outer", ["exact", "first_order", "joint"])
each_activation = pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
each_depth = pytest.mark.parametrize("hidden", [(5,), (6, 4), (7, 5, 6)], ids=str)
each_step_count = pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
each_kind = pytest.mark.parametrize("pairs", [True, False, None], ids=["pairs", "multiplied_out", "chosen"])


@cache  # the same for every representation
def exact_gradient(outer, hidden, activation, steps, **sizes):
    network, theta, batch = random_problem(hidden, activation, **sizes)
    return complex_step_gradient(
        lambda moved: reference_meta_loss(network, outer, moved, batch, LR, steps, base=theta), theta
    )


@each_outer
@each_depth
@each_activation
@each_step_count
@each_kind
def test_meta_gradient_is_the_complex_step_of_the_meta_loss(outer, hidden, activation, steps, pairs):
    network, theta, batch = random_problem(hidden, activation)
    found = meta_gradient(learner_for(network, outer, batch, LR, steps, pairs), theta, batch)
    assert relative_error(found.vector, exact_gradient(outer, hidden, activation, steps)) < 1e-10


SIZES = [
    {"tasks": 1, "shots": 1, "query": 1},
    {"tasks": 1, "shots": 1, "query": 1, "inputs": 1, "outputs": 1},
    {"tasks": 2, "shots": 1, "query": 5},
    {"tasks": 2, "shots": 5, "query": 1},
    {"tasks": 2, "shots": 4, "query": 4},
    {"tasks": 3, "shots": 2, "query": 3, "inputs": 1, "outputs": 2},
]


@each_outer
@pytest.mark.parametrize("hidden", [(1,), (6, 4)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "softplus"])  # with one point every ReLU may be off
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("steps", [1, 3])
@each_kind
def test_meta_gradient_is_exact_at_the_smallest_sizes(outer, hidden, activation, sizes, steps, pairs):
    network, theta, batch = random_problem(hidden, activation, **sizes)
    found = meta_gradient(learner_for(network, outer, batch, LR, steps, pairs), theta, batch)
    assert relative_error(found.vector, exact_gradient(outer, hidden, activation, steps, **sizes)) < 1e-10


@each_outer
@each_activation
@pytest.mark.parametrize("steps", [0, 1, 3])
@each_kind
def test_losses_are_the_references(outer, activation, steps, pairs):
    network, theta, batch = random_problem((6, 4), activation)
    found = meta_gradient(learner_for(network, outer, batch, LR, steps, pairs), theta, batch)
    support = [reference.loss(network, theta, x, y) for x, y in zip(*batch[:2], strict=True)]
    loss = reference_meta_loss(network, outer, theta, batch, LR, steps, base=theta)
    expected = [loss, np.mean(support), np.sqrt(np.sum(found.vector**2))]
    numbers = [found.loss, found.support_loss, norm(found.vector)]
    assert numbers == pytest.approx(expected, rel=1e-12)
    assert {type(value) for value in numbers} == {float}
    assert found.extras == {}


@each_activation
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_both_representations_give_the_same_gradient(activation, steps):
    network, theta, batch = random_problem((7, 5, 6), activation)
    paired, multiplied_out = [
        meta_gradient(learner_for(network, "exact", batch, LR, steps, pairs), theta, batch).vector
        for pairs in (True, False)
    ]
    assert relative_error(paired, multiplied_out) < 1e-12


def test_without_inner_steps_exact_and_first_order_are_ordinary_regression_on_the_query_points():
    network, theta, batch = random_problem((6, 4), "tanh")
    exact = np.mean([reference.gradient(network, theta, x, y) for x, y in zip(*batch[2:], strict=True)], axis=0)
    for outer in ("exact", "first_order"):
        found = meta_gradient(learner_for(network, outer, batch, LR, 0), theta, batch)
        assert relative_error(found.vector, exact) < 1e-13


def test_second_order_terms_matter():
    network, theta, batch = random_problem((6, 4), "tanh")
    learners = [learner_for(network, outer, batch, LR, 2) for outer in ("exact", "first_order")]
    exact, first_order = [meta_gradient(learner, theta, batch).vector for learner in learners]
    assert relative_error(first_order, exact) > 0.01


@each_outer
@each_kind
@pytest.mark.parametrize("steps", [1, 3])
def test_a_call_does_not_depend_on_the_calls_before(outer, pairs, steps):
    network, theta, first = random_problem((7, 5), "tanh")
    second, other_theta = random_batch(9, 3, 4, 6), theta[::-1].copy()
    poison = as_dtype(first, float)._replace(x_support=np.full_like(first.x_support, np.nan))
    reused = learner_for(network, outer, first, LR, steps, pairs)
    with np.errstate(invalid="ignore"):
        calls = [(theta, first), (other_theta, second), (theta, poison), (theta, second), (theta, first)]
        results = [meta_gradient(reused, *call) for call in calls]
        fresh = [meta_gradient(learner_for(network, outer, first, LR, steps, pairs), *call) for call in calls]
    for found, expected in zip(results, fresh, strict=True):
        np.testing.assert_array_equal(found.vector, expected.vector)  # bit for bit; none handed out was overwritten
        losses = (expected.loss, expected.support_loss)
        assert (found.loss, found.support_loss) == pytest.approx(losses, rel=0, abs=0, nan_ok=True)
    assert np.isnan(results[2].vector).any()  # the poison did reach the buffers


@each_outer
def test_arguments_are_left_alone(outer):
    network, theta, batch = random_problem((7, 5), "tanh")
    kept_theta, kept_batch = theta.copy(), as_dtype(batch, float)
    meta_gradient(learner_for(network, outer, batch, LR, 2), theta, batch)
    np.testing.assert_array_equal(theta, kept_theta)
    for part, kept in zip(batch, kept_batch, strict=True):
        np.testing.assert_array_equal(part, kept)


@each_activation
@each_kind
@pytest.mark.parametrize(("outer", "steps"), [("exact", 0), ("exact", 1), ("exact", 3), ("joint", 0)])
def test_the_fast_core_itself_can_be_complex_stepped(activation, pairs, outer, steps):
    network, theta, batch = random_problem((6, 4), activation)
    u, h = np.random.default_rng(5).standard_normal(theta.size), 1e-30
    learner = learner_for(network, outer, batch, LR, steps, pairs)
    found = meta_gradient(learner, theta + 1j * h * u, as_dtype(batch, complex))
    real = meta_gradient(learner, theta, batch).vector
    assert found.vector.dtype == np.complex128
    assert relative_error(found.vector.real, real) < 1e-12
    assert found.loss.imag / h == pytest.approx(real @ u, rel=1e-10)


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_exact_meta_gradient_has_a_symmetric_derivative(activation, steps):
    network, theta, batch = random_problem((6, 4), activation)
    learner, points = learner_for(network, "exact", batch, LR, steps), as_dtype(batch, complex)
    # only the gradient of some function has a symmetric Jacobian: the first-order one, for one, has not
    jacobian = complex_step_gradient(lambda moved: meta_gradient(learner, moved, points).vector, theta)
    assert relative_error(jacobian, jacobian.T) < 1e-11


@each_outer
@each_activation
@each_kind
def test_float32_is_close_to_float64_and_stays_float32(outer, activation, pairs):
    network, theta, batch = random_problem((7, 5, 6), activation)
    theta, batch = theta.astype(np.float32), as_dtype(batch, np.float32)
    learner = learner_for(network, outer, batch, LR, 2, pairs)
    single = meta_gradient(learner, theta, batch)
    double = meta_gradient(learner, theta.astype(np.float64), as_dtype(batch, np.float64))
    assert (single.vector.dtype, double.vector.dtype) == (np.float32, np.float64)
    assert relative_error(single.vector, double.vector) < 1e-3
    for ours, exact in [(single.loss, double.loss), (single.support_loss, double.support_loss)]:
        assert ours == pytest.approx(exact, rel=1e-3)
    assert norm(single.vector) == pytest.approx(norm(double.vector), rel=1e-3)
