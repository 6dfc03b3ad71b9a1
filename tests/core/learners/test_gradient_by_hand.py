"""MAML's gradient once more, on paper: one input, one hidden layer, one output, one inner step.

Nothing here but the call under test uses the core. y(x) = sum_j w2_j f(w1_j x + b1_j) + b2 and
L = 1/K sum_k (y(x_k) - t_k)^2. With theta' = theta - alpha dL_s/dtheta, the meta-gradient is
(I - alpha H_s(theta)) dL_q/dtheta'(theta'), H_s written out block by block.
"""

import numpy as np
import pytest

from maml_exp.core.network import Network
from maml_exp.core.tasks.base import Batch

from ..helpers import learner_for, meta_gradient, relative_error

FUNCTIONS = {  # f, f', f''
    "relu": (lambda z: z * (z > 0), lambda z: 1.0 * (z > 0), lambda z: 0.0 * z),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2, lambda z: -2 * np.sinh(z) / np.cosh(z) ** 3),
}
ALPHA = 0.1


def sinusoid_points(rng, points):
    amplitude, phase = rng.uniform(0.1, 5), rng.uniform(0, np.pi)
    x = rng.uniform(-5, 5, points)
    return x, amplitude * np.sin(x - phase)


def unpack(theta):
    width = (theta.size - 1) // 3
    return theta[:width], theta[width : 2 * width], theta[2 * width : 3 * width], theta[-1]


def outputs(theta, x, f):
    w1, b1, w2, b2 = unpack(theta)
    return f(np.outer(x, w1) + b1) @ w2 + b2


def loss(theta, x, target, f):
    return np.mean((outputs(theta, x, f) - target) ** 2)


def gradient(theta, x, target, activation):
    """[dw1, db1, dw2, db2], point by point and unit by unit."""
    f, df, _ = FUNCTIONS[activation]
    w1, b1, w2, _ = unpack(theta)
    error = 2 / len(x) * (outputs(theta, x, f) - target)
    dw1, db1, dw2 = np.zeros_like(w1), np.zeros_like(w1), np.zeros_like(w1)
    for k in range(len(x)):
        for j in range(len(w1)):
            z = w1[j] * x[k] + b1[j]
            dw1[j] += error[k] * w2[j] * df(z) * x[k]
            db1[j] += error[k] * w2[j] * df(z)
            dw2[j] += error[k] * f(z)
    return np.concatenate([dw1, db1, dw2, [error.sum()]])


def hessian(theta, x, target, activation):
    """H = 2/K sum_k ( grad y grad y^T + (y - t) Hess y ), the blocks of Hess y being diagonal in the units."""
    f, df, ddf = FUNCTIONS[activation]
    w1, b1, w2, _ = unpack(theta)
    residual = outputs(theta, x, f) - target
    width = len(w1)
    i_w1, i_b1, i_w2 = np.arange(width), np.arange(width) + width, np.arange(width) + 2 * width
    total = np.zeros((theta.size, theta.size))
    for k, xk in enumerate(x):
        z = w1 * xk + b1
        dy = np.concatenate([w2 * df(z) * xk, w2 * df(z), f(z), [1.0]])
        ddy = np.zeros_like(total)
        ddy[i_w1, i_w1] = w2 * ddf(z) * xk * xk
        ddy[i_w1, i_b1] = ddy[i_b1, i_w1] = w2 * ddf(z) * xk
        ddy[i_b1, i_b1] = w2 * ddf(z)
        ddy[i_w1, i_w2] = ddy[i_w2, i_w1] = df(z) * xk
        ddy[i_b1, i_w2] = ddy[i_w2, i_b1] = df(z)
        total += 2 / len(x) * (np.outer(dy, dy) + residual[k] * ddy)
    return total


def problem(activation, tasks, width, shots, query):
    rng = np.random.default_rng([tasks, width, shots])
    # moderate weights, so that the curvature of tanh is not lost in its flat ends
    theta = rng.uniform(-0.8, 0.8, 3 * width + 1)
    support = [sinusoid_points(rng, shots + query) for _ in range(tasks)]
    tables = [([x[:shots], y[:shots]], [x[shots:], y[shots:]]) for x, y in support]
    stacked = [np.stack([table[part][axis] for table in tables])[..., None] for part in (0, 1) for axis in (0, 1)]
    return Network((1, width, 1), activation), theta, tables, Batch(*stacked)


sizes = pytest.mark.parametrize(
    ("tasks", "width", "shots", "query"), [(1, 1, 1, 1), (1, 8, 5, 7), (1, 40, 10, 10), (4, 8, 5, 7), (25, 12, 10, 10)]
)
each_activation = pytest.mark.parametrize("activation", sorted(FUNCTIONS))


@sizes
@each_activation
@pytest.mark.parametrize("pairs", [True, False, None])
@pytest.mark.parametrize("outer", ["exact", "first_order"])
def test_meta_gradient_is_the_one_derived_on_paper(activation, tasks, width, shots, query, pairs, outer):
    network, theta, tables, batch = problem(activation, tasks, width, shots, query)
    exact, losses = np.zeros_like(theta), []
    for support, queries in tables:
        adapted = theta - ALPHA * gradient(theta, *support, activation)
        v = gradient(adapted, *queries, activation)
        pulled_back = v - ALPHA * hessian(theta, *support, activation) @ v
        exact += (pulled_back if outer == "exact" else v) / tasks
        losses.append(loss(adapted, *queries, FUNCTIONS[activation][0]))
    found = meta_gradient(learner_for(network, outer, batch, ALPHA, 1, pairs), theta, batch)
    ours = found.vector
    assert relative_error(ours, exact) < 1e-12
    for name, part, part_exact in zip(("dW1", "db1", "dW2", "db2"), unpack(ours), unpack(exact), strict=True):
        # each by itself, or a wrong small part could hide behind a large one
        assert np.linalg.norm(part - part_exact) <= 1e-11 * np.linalg.norm(part_exact), name
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-12)


@sizes
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_meta_gradient_is_the_central_difference_of_the_meta_loss(tasks, width, shots, query, steps):
    network, theta, tables, batch = problem("tanh", tasks, width, shots, query)  # smooth: no kink to step across
    h, alpha = 1e-5, 0.02

    def meta_loss(theta):
        losses = []
        for support, queries in tables:
            moved = theta
            for _ in range(steps):
                moved = moved - alpha * gradient(moved, *support, "tanh")
            losses.append(loss(moved, *queries, np.tanh))
        return np.mean(losses)

    ours = meta_gradient(learner_for(network, "exact", batch, alpha, steps), theta, batch).vector
    for direction in np.random.default_rng(3).standard_normal((3, theta.size)):
        u = direction / np.linalg.norm(direction)
        difference = (meta_loss(theta + h * u) - meta_loss(theta - h * u)) / (2 * h)
        assert difference == pytest.approx(ours @ u, abs=1e-6 * np.linalg.norm(ours))
