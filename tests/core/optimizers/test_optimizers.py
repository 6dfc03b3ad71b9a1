import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.optimizers.base import clipped

P = 12
MOMENTUM = {"sgd": {"momentum": 0.9}}  # so that a state has a say


def run(name, gradients, theta, **settings):
    """Parameters after every update, with the gradients given."""
    optimizer = OPTIMIZERS.get(name)
    chosen, state, path = optimizer.Settings(**settings), optimizer.init(theta), []
    for gradient in gradients:
        theta, state = optimizer.update(gradient, state, theta, chosen)
        path.append(theta)
    return np.array(path)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.0, 0.0), (0.5, 0.9)])
def test_adams_first_step_is_the_rate_times_the_sign(scale, beta1, beta2):
    gradient = scale * np.random.default_rng(0).standard_normal(P)
    (theta,) = run("adam", [gradient], np.zeros(P), lr=0.01, beta1=beta1, beta2=beta2, epsilon=1e-30)
    np.testing.assert_allclose(theta, -0.01 * np.sign(gradient), rtol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.9},
        {"beta1": 0.0},
        {"beta2": 0.0},
        {"epsilon": 0.1},  # large enough that where it stands, inside or outside the root, shows
    ],
    ids=str,
)
def test_adam_is_the_textbook_loop(settings):
    rng = np.random.default_rng(1)
    gradients, theta = rng.standard_normal((50, P)), rng.standard_normal(P)
    all_settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, **settings}
    lr, beta1, beta2, epsilon = all_settings.values()
    path = run("adam", gradients, theta, **settings)
    for p in range(P):  # Kingma and Ba 2015, algorithm 1, one number at a time
        weight, m, v = float(theta[p]), 0.0, 0.0
        for t, gradient in enumerate(gradients[:, p], start=1):
            m = beta1 * m + (1 - beta1) * gradient
            v = beta2 * v + (1 - beta2) * gradient**2
            m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
            weight -= lr * m_hat / (math.sqrt(v_hat) + epsilon)
            assert path[t - 1, p] == pytest.approx(weight, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_with_momentum_has_its_closed_form_on_a_constant_gradient(momentum):
    gradient, lr, updates = np.random.default_rng(2).standard_normal(P), 0.01, 20
    path = run("sgd", [gradient] * updates, np.ones(P), lr=lr, momentum=momentum)
    for t in range(1, updates + 1):
        # velocity_t = g (1 - mu^t) / (1 - mu); summed over t updates
        travelled = (t - momentum * (1 - momentum**t) / (1 - momentum)) / (1 - momentum)
        np.testing.assert_allclose(path[t - 1], 1 - lr * travelled * gradient, rtol=1e-12)


def test_sgd_without_momentum_contracts_a_quadratic_by_one_minus_lr_times_curvature():
    curvature, theta = np.linspace(0.5, 3, P), np.ones(P)
    sgd = OPTIMIZERS.get("sgd")
    settings, state = sgd.Settings(lr=0.2), sgd.init(theta)
    for _ in range(10):
        theta, state = sgd.update(curvature * theta, state, theta, settings)
    np.testing.assert_allclose(theta, (1 - 0.2 * curvature) ** 10, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "settings"), [("adam", {"lr": 0.05}), ("sgd", {"lr": 0.1}), ("sgd", {"lr": 0.02, "momentum": 0.9})]
)
def test_every_optimizer_finds_the_minimum_of_a_quadratic(name, settings):
    rng = np.random.default_rng(3)
    factor, minimum, theta = rng.standard_normal((P, P)), rng.standard_normal(P), np.zeros(P)
    matrix = factor @ factor.T / P + 0.5 * np.eye(P)
    optimizer = OPTIMIZERS.get(name)
    state, settings = optimizer.init(theta), optimizer.Settings(**settings)
    for _ in range(2000):
        theta, state = optimizer.update(matrix @ (theta - minimum), state, theta, settings)
    np.testing.assert_allclose(theta, minimum, atol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS.own_names())
def test_nothing_given_is_changed(name):
    rng, optimizer = np.random.default_rng(4), OPTIMIZERS.get(name)
    settings, theta = optimizer.Settings(**MOMENTUM.get(name, {})), rng.standard_normal(P)
    _, state = optimizer.update(rng.standard_normal(P), optimizer.init(theta), theta, settings)
    gradient = rng.standard_normal(P)
    given = [gradient, theta, *state.moments]
    before = [array.copy() for array in given]
    new_theta, new_state = optimizer.update(gradient, state, theta, settings)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert not any(np.shares_memory(array, new) for new in (new_theta, *new_state.moments))
    assert (state.count, new_state.count) == (1, 2)


@pytest.mark.parametrize("name", OPTIMIZERS.own_names())
def test_the_initial_state_is_no_update_and_zero_moments(name):
    state = OPTIMIZERS.get(name).init(np.ones(P))
    assert state.count == 0
    assert {float(np.abs(moment).sum()) for moment in state.moments} == {0.0}
    assert {moment.shape for moment in state.moments} == {(P,)}


@pytest.mark.parametrize("name", OPTIMIZERS.own_names())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(name, dtype):
    optimizer = OPTIMIZERS.get(name)
    theta, settings = np.ones(P, dtype), optimizer.Settings(**MOMENTUM.get(name, {}))
    theta, state = optimizer.update(np.ones(P, dtype), optimizer.init(theta), theta, settings)
    assert {array.dtype for array in (theta, *state.moments)} == {np.dtype(dtype)}


vectors = arrays(np.float64, P, elements=st.floats(-1e6, 1e6).filter(lambda g: g == 0 or abs(g) > 1e-6))


@given(vectors, st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm_and_keeps_the_direction(gradient, limit):
    norm = float(np.linalg.norm(gradient))
    result = clipped(gradient, norm, limit)
    expected_norm = min(norm, limit)
    assert np.linalg.norm(result) == pytest.approx(expected_norm, rel=1e-12)
    np.testing.assert_allclose(result * norm, gradient * expected_norm, rtol=1e-12)


@pytest.mark.parametrize("limit", [None, 5.0, 6.0])
def test_within_the_limit_clipping_leaves_a_gradient_untouched(limit):
    gradient = np.array([3.0, -4.0])
    assert clipped(gradient, 5.0, limit) is gradient


@pytest.mark.parametrize(("name", "settings"), [("adam", {}), ("sgd", {"momentum": 0.9})])
def test_a_gradient_that_stays_zero_leaves_no_denormal_numbers_behind(name, settings):
    # half of the entries are a dead unit's from update 50 on
    rng, tiny = np.random.default_rng(0), np.finfo(np.float32).tiny
    optimizer = OPTIMIZERS.get(name)
    chosen = optimizer.Settings(**settings)
    theta = np.zeros(P, np.float32)
    state, moved = optimizer.init(theta), []
    for step in range(2000):
        gradient = rng.standard_normal(P).astype(np.float32)
        gradient[P // 2 :] *= step < 50
        theta, state = optimizer.update(gradient, state, theta, chosen)
        moved.append(theta[P // 2 :].copy())
        for moment in state.moments:
            magnitude = np.abs(moment)
            assert not ((magnitude > 0) & (magnitude < tiny)).any(), step
    exact = run(name, dead_gradients(), np.zeros(P // 2), **settings)
    np.testing.assert_allclose(moved[-1], exact[-1], rtol=1e-5)


def dead_gradients():
    """The gradients of the dead half in the test above, float64."""
    rng = np.random.default_rng(0)
    for step in range(2000):
        yield rng.standard_normal(P).astype(np.float32)[P // 2 :].astype(float) * (step < 50)
