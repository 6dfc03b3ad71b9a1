"""The head in closed form: values that are known, both forms of the same system, and its limits."""

import math

import numpy as np
import pytest

from maml_exp.core.evaluation import adaptation_errors
from maml_exp.core.learners import ridge
from maml_exp.core.learners.ridge import Head, fitted
from maml_exp.core.network import Network
from maml_exp.core.tasks.base import FixedTasks

from ..helpers import as_dtype, problem_of, random_batch, relative_error

TASKS, SHOTS, QUERY, FEATURES, OUTPUTS = 3, 4, 6, 5, 2
RNG = np.random.default_rng(0)
H, H_QUERY, Y = (
    RNG.standard_normal((TASKS, *shape)) for shape in [(SHOTS, FEATURES), (QUERY, FEATURES), (SHOTS, OUTPUTS)]
)
D = RNG.standard_normal((TASKS, QUERY, OUTPUTS))
NETWORK = Network((2, 6, 4, 3), "tanh")


def with_one(h):
    return np.concatenate([h, np.ones((*h.shape[:-1], 1))], axis=-1)


def make(settings=None, dtype="float64", shots=SHOTS):
    batch = random_batch(1, TASKS, shots, QUERY)
    return ridge.Learner(problem_of(NETWORK, settings or ridge.Settings(), batch, dtype=dtype)), batch


def test_one_point_and_one_feature_by_hand():
    """h = 2 and a constant 1, y = 5, lambda = 5: M = 4 + 1 + 5, a = 1/2, W = 1, b = 1/2; at h = 3: 3 + 1/2."""
    h, query, y = np.full((1, 1, 1), 2.0), np.full((1, 1, 1), 3.0), np.full((1, 1, 1), 5.0)
    head = Head(h, query, y, 5.0)
    assert head.prediction.item() == pytest.approx(3.5, rel=1e-15)
    # z = 5 (h_Q h + 1) / (h^2 + 1 + lambda): its derivatives by h, h_Q and lambda
    of_h, of_query, of_penalty = head.gradient(np.ones((1, 1, 1)))
    assert of_h.item() == pytest.approx(5 * (3 * 10 - 7 * 4) / 100, rel=1e-14)
    assert of_query.item() == pytest.approx(1.0, rel=1e-14)
    assert of_penalty == pytest.approx(-5 * 7 / 100, rel=1e-14)


def test_it_minimises_squared_errors_plus_the_penalty_of_weights_and_constant():
    """The gradient of |H W - y|^2 + lambda |W|^2, with H = [h 1], is zero at the head's matrix."""
    query = np.broadcast_to(np.eye(FEATURES + 1)[:, :-1], (TASKS, FEATURES + 1, FEATURES))
    z = Head(H, query, Y, 0.7).prediction  # W + b, and b alone in the last row
    weights = np.concatenate([z[:, :-1] - z[:, -1:], z[:, -1:]], axis=1)
    rows = with_one(H)
    slope = rows.swapaxes(1, 2) @ (rows @ weights - Y) + 0.7 * weights
    assert np.abs(slope).max() < 1e-13


@pytest.mark.parametrize("shots", [1, 4, 5, 6, 12, 40])
def test_the_smaller_of_both_systems_gives_the_same(shots):
    rng = np.random.default_rng(1)
    h, y = rng.standard_normal((TASKS, shots, FEATURES)), rng.standard_normal((TASKS, shots, OUTPUTS))
    expected = Head(h, H_QUERY, y, 0.3).prediction
    np.testing.assert_allclose(fitted(h, H_QUERY, y, 0.3), expected, rtol=1e-9, atol=1e-12)


def test_a_penalty_that_vanishes_interpolates_and_one_without_end_predicts_zero():
    assert relative_error(Head(H, H, Y, 1e-9).prediction, Y) < 1e-7
    assert np.abs(Head(H, H, Y, 1e9).prediction).max() < 1e-7


def test_its_derivatives_are_those_of_the_textbook_formulas():
    """The forms that need K x K and Q x K matrices, term by term."""
    head = Head(H, H_QUERY, Y, 0.4)
    t = (0, 2, 1)
    m = H @ H.transpose(t) + 1 + 0.4 * np.eye(SHOTS)
    gram = H_QUERY @ H.transpose(t) + 1
    a, c = np.linalg.solve(m, Y), np.linalg.solve(m, gram.transpose(t) @ D)
    of_h, of_query, of_penalty = head.gradient(D)
    expected = a @ D.transpose(t) @ H_QUERY - (c @ a.transpose(t) + a @ c.transpose(t)) @ H
    np.testing.assert_allclose(of_h, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(of_query, D @ a.transpose(t) @ H, rtol=1e-10, atol=1e-13)
    assert of_penalty == pytest.approx(-np.sum(c * a), rel=1e-12)


def test_lambda_starts_where_it_is_told_and_is_learned_as_its_logarithm():
    learner, batch = make(ridge.Settings(penalty=0.25))
    vector = learner.init(np.random.default_rng(0))
    assert learner.layout.sizes == {"theta": 6 * 3 + 4 * 7, "penalty": 1}
    assert vector[-1] == pytest.approx(math.log(0.25), rel=1e-15)
    found = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.0)
    assert found.extras == {"penalty": pytest.approx(0.25, rel=1e-15)}
    fixed, _ = make(ridge.Settings(penalty=0.25, learn_penalty=False))
    assert fixed.layout.sizes == {"theta": 6 * 3 + 4 * 7}
    alone = fixed.meta_gradient(vector[:-1], batch, np.random.default_rng(0), 0.0)
    np.testing.assert_array_equal(alone.vector, found.vector[:-1])
    assert (alone.loss, alone.extras) == (found.loss, {})


def test_before_it_has_seen_a_point_it_predicts_zero():
    learner, batch = make()
    vector = learner.init(np.random.default_rng(0))
    before, after, again = learner.adapt(vector, *batch[:3], 2)
    assert not before.any()
    assert after.any()
    assert again is after
    assert [z.shape for z in learner.adapt(vector, *batch[:3], 0)] == [(TASKS, QUERY, 3)]
    found = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.0)
    assert found.support_loss == pytest.approx(np.mean(batch.y_support**2), rel=1e-14)


def test_float32_keeps_its_digits_where_the_penalty_is_small():
    single, batch = make(ridge.Settings(penalty=1e-6), "float32", shots=20)
    double, _ = make(ridge.Settings(penalty=1e-6), "float64", shots=20)
    vector, batch = single.init(np.random.default_rng(0)), as_dtype(batch, np.float32)
    ours = single.meta_gradient(vector, batch, np.random.default_rng(0), 0.0)
    exact = double.meta_gradient(vector.astype(float), as_dtype(batch, float), np.random.default_rng(0), 0.0)
    assert relative_error(ours.vector, exact.vector) < 1e-2
    assert ours.loss == pytest.approx(exact.loss, rel=1e-3)


@pytest.mark.parametrize("shots", [3, 9])
def test_a_system_that_is_singular_gives_nan_and_no_error(shots):
    learner, batch = make(ridge.Settings(penalty=1e-300), shots=shots)
    batch = batch._replace(x_support=np.zeros_like(batch.x_support))  # every point alike
    vector = np.zeros(learner.layout.size)
    vector[-1] = -2000.0  # exp of it is 0
    errors = adaptation_errors(learner, vector, FixedTasks(*batch), shots, 1)
    assert np.isnan(errors[:, 1]).all()
    assert np.isfinite(errors[:, 0]).all()
    if shots == 3:
        assert math.isnan(learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.0).loss)
