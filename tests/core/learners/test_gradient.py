from functools import cache

import numpy as np
import pytest

from maml_exp.core.learners.gradient import ALGORITHMS, mean_square, norm
from maml_exp.core.proof import reference

from .helpers import as_dtype, complex_step_gradient, meta_gradient_for, random_batch, random_problem, relative_error

LR = 0.05
each_algorithm = pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
each_activation = pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
each_depth = pytest.mark.parametrize("hidden", [(5,), (6, 4), (7, 5, 6)], ids=str)
each_step_count = pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
each_kind = pytest.mark.parametrize("pairs", [True, False, None], ids=["pairs", "multiplied_out", "chosen"])


@cache  # the same for every representation
def exact_gradient(algorithm, hidden, activation, steps, **sizes):
    network, theta, batch = random_problem(hidden, activation, **sizes)
    return complex_step_gradient(
        lambda moved: reference.meta_loss(network, algorithm, moved, batch, LR, steps, base=theta), theta
    )


@each_algorithm
@each_depth
@each_activation
@each_step_count
@each_kind
def test_meta_gradient_is_the_complex_step_of_the_meta_loss(algorithm, hidden, activation, steps, pairs):
    network, theta, batch = random_problem(hidden, activation)
    gradient, _ = meta_gradient_for(network, algorithm, batch, LR, steps, pairs=pairs)(theta, batch)
    assert relative_error(gradient, exact_gradient(algorithm, hidden, activation, steps)) < 1e-10


SIZES = [
    {"tasks": 1, "shots": 1, "query": 1},
    {"tasks": 1, "shots": 1, "query": 1, "inputs": 1, "outputs": 1},
    {"tasks": 2, "shots": 1, "query": 5},
    {"tasks": 2, "shots": 5, "query": 1},
    {"tasks": 2, "shots": 4, "query": 4},
    {"tasks": 3, "shots": 2, "query": 3, "inputs": 1, "outputs": 2},
]


@each_algorithm
@pytest.mark.parametrize("hidden", [(1,), (6, 4)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "softplus"])  # with one point every ReLU may be off
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("steps", [1, 3])
@each_kind
def test_meta_gradient_is_exact_at_the_smallest_sizes(algorithm, hidden, activation, sizes, steps, pairs):
    network, theta, batch = random_problem(hidden, activation, **sizes)
    gradient, _ = meta_gradient_for(network, algorithm, batch, LR, steps, pairs=pairs)(theta, batch)
    assert relative_error(gradient, exact_gradient(algorithm, hidden, activation, steps, **sizes)) < 1e-10


@each_algorithm
@each_activation
@pytest.mark.parametrize("steps", [0, 1, 3])
@each_kind
def test_metrics_are_the_references_losses(algorithm, activation, steps, pairs):
    network, theta, batch = random_problem((6, 4), activation)
    gradient, metrics = meta_gradient_for(network, algorithm, batch, LR, steps, pairs=pairs)(theta, batch)
    support = [reference.loss(network, theta, x, y) for x, y in zip(*batch[:2], strict=True)]
    expected = {
        "meta/loss": reference.meta_loss(network, algorithm, theta, batch, LR, steps, base=theta),
        "meta/support_loss": np.mean(support),
        "meta/grad_norm": np.sqrt(np.sum(gradient**2)),
    }
    assert metrics == pytest.approx(expected, rel=1e-12)
    assert {type(value) for value in metrics.values()} == {float}


@each_activation
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_both_representations_give_the_same_gradient(activation, steps):
    network, theta, batch = random_problem((7, 5, 6), activation)
    paired, multiplied_out = [
        meta_gradient_for(network, "maml", batch, LR, steps, pairs=pairs)(theta, batch)[0] for pairs in (True, False)
    ]
    assert relative_error(paired, multiplied_out) < 1e-12


def test_without_inner_steps_maml_and_fomaml_are_ordinary_regression_on_the_query_points():
    network, theta, batch = random_problem((6, 4), "tanh")
    exact = np.mean([reference.gradient(network, theta, x, y) for x, y in zip(*batch[2:], strict=True)], axis=0)
    for algorithm in ("maml", "fomaml"):
        gradient, _ = meta_gradient_for(network, algorithm, batch, LR, 0)(theta, batch)
        assert relative_error(gradient, exact) < 1e-13


def test_second_order_terms_matter():
    network, theta, batch = random_problem((6, 4), "tanh")
    maml, fomaml = [meta_gradient_for(network, name, batch, LR, 2)(theta, batch)[0] for name in ("maml", "fomaml")]
    assert relative_error(fomaml, maml) > 0.01


@each_algorithm
@each_kind
@pytest.mark.parametrize("steps", [1, 3])
def test_a_call_does_not_depend_on_the_calls_before(algorithm, pairs, steps):
    network, theta, first = random_problem((7, 5), "tanh")
    second, other_theta = random_batch(9, 3, 4, 6), theta[::-1].copy()
    poison = as_dtype(first, float)._replace(x_support=np.full_like(first.x_support, np.nan))
    reused = meta_gradient_for(network, algorithm, first, LR, steps, pairs=pairs)
    with np.errstate(invalid="ignore"):
        calls = [(theta, first), (other_theta, second), (theta, poison), (theta, second), (theta, first)]
        results = [reused(*call) for call in calls]
        fresh = [meta_gradient_for(network, algorithm, first, LR, steps, pairs=pairs)(*call) for call in calls]
    for (gradient, metrics), (expected, expected_metrics) in zip(results, fresh, strict=True):
        np.testing.assert_array_equal(gradient, expected)  # bit for bit; handed-out gradients were not overwritten
        assert list(metrics.values()) == pytest.approx(list(expected_metrics.values()), rel=0, abs=0, nan_ok=True)
    assert np.isnan(results[2][0]).any()  # the poison did reach the buffers


@each_algorithm
def test_arguments_are_left_alone(algorithm):
    network, theta, batch = random_problem((7, 5), "tanh")
    kept_theta, kept_batch = theta.copy(), as_dtype(batch, float)
    meta_gradient_for(network, algorithm, batch, LR, 2)(theta, batch)
    np.testing.assert_array_equal(theta, kept_theta)
    for part, kept in zip(batch, kept_batch, strict=True):
        np.testing.assert_array_equal(part, kept)


@each_activation
@each_kind
@pytest.mark.parametrize(("algorithm", "steps"), [("maml", 0), ("maml", 1), ("maml", 3), ("joint", 0)])
def test_the_fast_core_itself_can_be_complex_stepped(activation, pairs, algorithm, steps):
    network, theta, batch = random_problem((6, 4), activation)
    u, h = np.random.default_rng(5).standard_normal(theta.size), 1e-30
    complex_core = meta_gradient_for(network, algorithm, batch, LR, steps, dtype=np.complex128, pairs=pairs)
    gradient, metrics = complex_core(theta + 1j * h * u, as_dtype(batch, complex))
    real_gradient, _ = meta_gradient_for(network, algorithm, batch, LR, steps, pairs=pairs)(theta, batch)
    assert gradient.dtype == np.complex128
    assert relative_error(gradient.real, real_gradient) < 1e-12
    assert metrics["meta/loss"].imag / h == pytest.approx(real_gradient @ u, rel=1e-10)


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_mamls_meta_gradient_has_a_symmetric_derivative(activation, steps):
    network, theta, batch = random_problem((6, 4), activation)
    complex_core = meta_gradient_for(network, "maml", batch, LR, steps, dtype=np.complex128)
    # only the gradient of some function has a symmetric Jacobian: fomaml's, for one, has not
    jacobian = complex_step_gradient(lambda moved: complex_core(moved, as_dtype(batch, complex))[0], theta)
    assert relative_error(jacobian, jacobian.T) < 1e-11


@each_algorithm
@each_activation
@each_kind
def test_float32_is_close_to_float64_and_stays_float32(algorithm, activation, pairs):
    network, theta, batch = random_problem((7, 5, 6), activation)
    theta, batch = theta.astype(np.float32), as_dtype(batch, np.float32)
    single, metrics = meta_gradient_for(network, algorithm, batch, LR, 2, dtype=np.float32, pairs=pairs)(theta, batch)
    theta, batch = theta.astype(np.float64), as_dtype(batch, np.float64)
    double, expected = meta_gradient_for(network, algorithm, batch, LR, 2, pairs=pairs)(theta, batch)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert relative_error(single, double) < 1e-3
    assert metrics == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 2)])
def test_mean_square_is_the_mean_over_everything(shape):
    residual = np.random.default_rng(0).standard_normal(shape)
    total = sum(float(value) ** 2 for value in residual.ravel())
    assert mean_square(residual) == pytest.approx(total / np.prod(shape), rel=1e-14)


@pytest.mark.parametrize(("vector", "length"), [([3.0, -4.0], 5.0), ([0.0], 0.0), ([1e-3] * 4, 2e-3)])
def test_norm_is_euclidean(vector, length):
    assert norm(np.array(vector)) == pytest.approx(length, rel=1e-14)
