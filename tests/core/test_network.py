import math

import numpy as np
import pytest

from maml_exp.core.network import INITIALIZERS, Network, initial_parameters, truncated_normal, uniform_fan_in

SIZES = [(1, 1), (1, 40, 1), (2, 5, 3), (2, 6, 4, 3), (1, 7, 5, 6, 2)]


@pytest.mark.parametrize("sizes", SIZES)
def test_layout_is_weights_row_by_row_then_bias_layer_by_layer(sizes):
    network = Network(sizes)
    theta = np.arange(network.parameter_count, dtype=float)
    start = 0
    for matrix, n, m in zip(network.matrices(theta), sizes[:-1], sizes[1:], strict=True):
        weights, bias = theta[start : start + n * m], theta[start + n * m : start + (n + 1) * m]
        for i in range(n):
            np.testing.assert_array_equal(matrix[i], weights[i * m : (i + 1) * m])
        np.testing.assert_array_equal(matrix[n], bias)
        assert matrix.shape == (n + 1, m)
        start += (n + 1) * m
    assert start == theta.size


@pytest.mark.parametrize("sizes", SIZES)
def test_matrices_are_views_that_write_through(sizes):
    network = Network(sizes)
    theta = np.zeros(network.parameter_count)
    for number, matrix in enumerate(network.matrices(theta), start=1):
        matrix[...] = number
    lengths = [(n + 1) * m for n, m in network.shapes]
    np.testing.assert_array_equal(theta, np.repeat(np.arange(1, len(lengths) + 1), lengths))


def test_shapes_pair_inputs_with_outputs():
    assert Network((1, 7, 5, 2)).shapes == ((1, 7), (7, 5), (5, 2))


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
def test_prediction_is_the_loop_over_units(activation):
    function = {
        "relu": lambda z: max(z, 0.0),
        "tanh": math.tanh,
        "softplus": lambda z: math.log1p(math.exp(z)),
        "sine": math.sin,
    }[activation]
    network = Network((2, 4, 3, 2), activation)
    rng = np.random.default_rng(0)
    theta, x = rng.standard_normal(network.parameter_count), rng.standard_normal(2)
    h, position = list(x), 0
    for layer, (n, m) in enumerate([(2, 4), (4, 3), (3, 2)]):
        z = []
        for j in range(m):
            weighted = sum(h[i] * theta[position + i * m + j] for i in range(n))
            z.append(weighted + theta[position + n * m + j])
        h = z if layer == 2 else [function(value) for value in z]
        position += (n + 1) * m
    np.testing.assert_allclose(network.predict(theta, x), h, rtol=1e-13)


def test_prediction_keeps_leading_axes():
    network = Network((2, 5, 3), "tanh")
    rng = np.random.default_rng(1)
    theta, x = rng.standard_normal(network.parameter_count), rng.standard_normal((4, 6, 2))
    each = [[network.predict(theta, point) for point in task] for task in x]
    np.testing.assert_allclose(network.predict(theta, x), each, rtol=1e-13)


@pytest.mark.parametrize("n", [1, 4, 40])
def test_uniform_fan_in_fills_its_interval_evenly(n):
    drawn = uniform_fan_in(np.random.default_rng(0), n, 20_000 // (n + 1))
    bound, count = 1 / math.sqrt(n), drawn.size
    assert np.abs(drawn).max() <= bound
    assert np.abs(drawn).max() > 0.99 * bound
    # uniform on [-b, b]: variance b^2/3, fourth moment b^4/5, so var(x^2) = 4 b^4/45; biases are drawn alike
    assert abs(np.mean(drawn**2) - bound**2 / 3) < 4 * bound**2 * math.sqrt(4 / 45 / count)
    assert abs(np.mean(drawn)) < 4 * bound / math.sqrt(3 * count)
    assert abs(np.mean(drawn[-1] ** 2) - bound**2 / 3) < 4 * bound**2 * math.sqrt(4 / 45 / drawn.shape[1])


def test_truncated_normal_stays_within_two_std_and_has_its_standard_deviation():
    drawn = truncated_normal(np.random.default_rng(0), 200, 200)
    weights = drawn[:-1]
    assert np.abs(weights).max() <= 0.02
    assert np.abs(weights).max() > 0.0199
    # a normal cut at +-2 has variance 1 - 4 phi(2) / (2 Phi(2) - 1)
    density, mass = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(2 / math.sqrt(2))
    theory = 0.01 * math.sqrt(1 - 4 * density / mass)
    assert theory == pytest.approx(0.01 * 0.8796, rel=1e-4)
    assert weights.std() == pytest.approx(theory, rel=4 / math.sqrt(2 * weights.size))  # wider than the true spread
    assert abs(weights.mean()) < 4 * theory / math.sqrt(weights.size)


def test_truncated_normal_has_zero_biases_and_the_asked_std():
    rng = np.random.default_rng
    assert not truncated_normal(rng(0), 3, 50)[-1].any()
    np.testing.assert_allclose(truncated_normal(rng(3), 6, 5, std=0.5), 50 * truncated_normal(rng(3), 6, 5), rtol=1e-15)


@pytest.mark.parametrize("initializer", sorted(INITIALIZERS))
def test_float32_initialisation_is_the_rounded_float64_one(initializer):
    network = Network((2, 30, 20, 3))
    double = initial_parameters(network, initializer, np.random.default_rng(7), np.float64)
    single = initial_parameters(network, initializer, np.random.default_rng(7), np.float32)
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(single, double.astype(np.float32))
    assert (single != double).any()  # float64 was not drawn in float32 to begin with


@pytest.mark.parametrize("initializer", sorted(INITIALIZERS))
def test_initial_parameters_follow_the_layout(initializer):
    network = Network((4, 30, 20, 3))
    theta = initial_parameters(network, initializer, np.random.default_rng(7), np.float64)
    rng = np.random.default_rng(7)
    drawn = [INITIALIZERS[initializer](rng, n, m) for n, m in network.shapes]
    for matrix, expected in zip(network.matrices(theta), drawn, strict=True):
        np.testing.assert_array_equal(matrix, expected)
