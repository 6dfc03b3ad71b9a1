"""Moments are flushed only where the parameters cannot notice, whatever the settings."""

import numpy as np
import pytest

from maml_exp.core.optimizers import OPTIMIZERS, adam, sgd
from maml_exp.core.optimizers.base import FLUSH_EVERY

UPDATES = 3 * FLUSH_EVERY


def path_of(name, settings, gradient, dtype, updates=UPDATES):
    """One parameter after every update, with a constant gradient."""
    optimizer = OPTIMIZERS.get(name)
    theta, path = np.zeros(1, dtype), []
    state = optimizer.init(theta)
    for _ in range(updates):
        theta, state = optimizer.update(np.array([gradient], dtype), state, theta, settings)
        path.append(float(theta[0]))
    return path


# Adam's step of a constant gradient g is lr g / (|g| + epsilon), whatever the moments' decay: both are exact means
@pytest.mark.parametrize(
    ("epsilon", "gradient", "dtype"),
    [
        (1e-8, 1e-16, np.float64),
        (1e-8, 1.0, np.float64),
        (1e-20, 1e-16, np.float32),
        (1e-20, 1e-16, np.float64),
        (1e-20, 1e-24, np.float64),
        (1e-30, 1e-32, np.float64),
        (1e-100, 1e-100, np.float64),
    ],
)
def test_adam_moves_by_its_formula_whatever_epsilon(epsilon, gradient, dtype):
    path = path_of("adam", adam.Settings(lr=1e-3, epsilon=epsilon), gradient, dtype)
    step = 1e-3 * gradient / (gradient + epsilon)
    # a root of the second moment that was flushed is at most 1e-7 of epsilon
    np.testing.assert_allclose(path, -step * np.arange(1, UPDATES + 1), rtol=1e-4 if dtype is np.float32 else 1e-7)


def test_adam_forgets_a_tiny_gradient_as_slowly_as_its_moments_say():
    settings = adam.Settings(lr=1.0, beta1=0.5, beta2=0.9, epsilon=1e-20)
    theta, state = np.zeros(1), adam.init(np.zeros(1))
    first = second = expected = 0.0
    for t in range(1, FLUSH_EVERY + 10):  # Kingma and Ba, algorithm 1, in plain numbers
        gradient = 1e-16 if t < FLUSH_EVERY else 0.0
        theta, state = adam.update(np.array([gradient]), state, theta, settings)
        first = 0.5 * first + 0.5 * gradient
        second = 0.9 * second + 0.1 * gradient**2
        expected -= first / (1 - 0.5**t) / ((second / (1 - 0.9**t)) ** 0.5 + 1e-20)
        assert theta[0] == pytest.approx(expected, rel=1e-9), t


@pytest.mark.parametrize("lr", [1e-3, 1.0, 1e30])
def test_gradient_descent_moves_by_its_formula_whatever_the_rate(lr):
    gradient = 1e-31  # below the bound for rates of usual size: there nothing is seen of it
    path = path_of("sgd", sgd.Settings(lr=lr, momentum=0.9), gradient, np.float64, updates=FLUSH_EVERY + 50)
    velocity = position = 0.0
    for t, found in enumerate(path):
        velocity = 0.9 * velocity + gradient
        position -= lr * velocity
        assert found == pytest.approx(position, rel=1e-9, abs=lr * 1e-30 * 10 if lr <= 1 else 0.0), t


def test_with_the_usual_epsilon_a_dead_parameter_s_moments_become_zero():
    theta = np.zeros(1, np.float32)
    state = adam.init(theta)
    for t in range(1500):
        gradient = np.full(1, t < 50, np.float32)
        theta, state = adam.update(gradient, state, theta, adam.Settings(beta2=0.9))
    assert [float(moment[0]) for moment in state.moments] == [0.0, 0.0]
