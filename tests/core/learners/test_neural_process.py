"""Learners of sets: what an aggregator makes of points, its derivatives, and what order and number of points do."""

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.learners import neural_process
from maml_exp.core.learners.blocks.attention import Attention
from maml_exp.core.learners.blocks.dense import Dense
from maml_exp.core.network import Network

from ..helpers import complex_step_gradient, problem_of, random_batch, relative_error

TASKS, SHOTS, QUERY, WIDTH, HEADS = 3, 4, 6, 6, 3
NETWORK = Network((2, 6, 3), "tanh")
BATCH = random_batch(1, TASKS, SHOTS, QUERY)
RNG = np.random.default_rng(0)
Q, K, V, WANTED = (RNG.standard_normal((TASKS, rows, WIDTH)) for rows in (QUERY, SHOTS, SHOTS, QUERY))
each_aggregate = pytest.mark.parametrize("aggregate", neural_process.AGGREGATES)


def make(aggregate, dtype="float64"):
    settings = neural_process.Settings(aggregate=aggregate, encoder=[5, WIDTH], decoder=[7], heads=HEADS)
    return neural_process.Learner(problem_of(NETWORK, settings, BATCH, dtype=dtype))


def plain_attention(q, k, v):
    """Every task, head and query point by itself; of any dtype."""
    width, rows = WIDTH // HEADS, []
    for task in range(TASKS):
        for point in range(QUERY):
            parts = []
            for head in range(HEADS):
                part = slice(head * width, (head + 1) * width)
                weights = np.exp(k[task][:, part] @ q[task, point, part] / np.sqrt(width))
                parts.append(weights @ v[task][:, part] / weights.sum())
            rows.append(np.concatenate(parts))
    return np.array(rows).reshape(TASKS, QUERY, WIDTH)


def test_attention_is_the_textbook_s():
    np.testing.assert_allclose(Attention(Q, K, V, HEADS).output, plain_attention(Q, K, V), rtol=1e-12)


def test_its_derivatives_are_the_complex_step_of_the_textbook_s():
    given = [Q, K, V]
    for number, found in enumerate(Attention(Q, K, V, HEADS).backward(WANTED)):

        def weighted(moved, number=number):
            changed = [moved.reshape(part.shape) if n == number else part for n, part in enumerate(given)]
            return np.sum(WANTED * plain_attention(*changed))

        exact = complex_step_gradient(weighted, given[number].ravel()).reshape(found.shape)
        assert relative_error(found, exact) < 1e-13


def test_attention_to_points_whose_keys_are_all_alike_is_their_mean():
    alike = np.broadcast_to(K[:, :1], K.shape)
    found = Attention(Q, alike, V, HEADS).output
    for point in range(QUERY):
        np.testing.assert_allclose(found[:, point], V.mean(axis=1), rtol=1e-12, atol=1e-15)


def test_attention_does_not_overflow():
    found = Attention((1e4 * Q).astype(np.float32), (1e4 * K).astype(np.float32), V.astype(np.float32), HEADS)
    assert np.isfinite(found.output).all()
    assert all(np.isfinite(part).all() for part in found.backward(WANTED.astype(np.float32)))


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)], ids=str)
@pytest.mark.parametrize(("shared", "pooled"), [(0, False), (3, False), (0, True), (3, True)])
def test_dense_layers_are_the_network_s_with_its_derivatives(hidden, activation, shared, pooled):
    """Of every point, its task's shared inputs and its own through the network; the mean over a task's, if pooled."""
    if pooled and shared and not hidden:
        pytest.skip("a single layer is either the first or the last")
    network, rng = Network((shared + 2, *hidden, 3), activation), np.random.default_rng(2)
    theta, x = rng.standard_normal(network.parameter_count), rng.standard_normal((TASKS, SHOTS, 2))
    common = rng.standard_normal((TASKS, shared)) if shared else None
    wanted = rng.standard_normal((TASKS, 3) if pooled else (TASKS, SHOTS, 3))

    def plain(theta, common, x):
        found = []
        for task in range(TASKS):
            rows = [x[task, k] if common is None else np.concatenate([common[task], x[task, k]]) for k in range(SHOTS)]
            outputs = [network.predict(theta, row) for row in rows]
            found.append(sum(outputs) / SHOTS if pooled else np.array(outputs))
        return np.array(found)

    passed, found = Dense(network, theta, x, common, pooled), np.empty_like(theta)
    np.testing.assert_allclose(passed.output, plain(theta, common, x), rtol=1e-12, atol=1e-14)
    of_input = passed.backward(wanted, found, to_input=not pooled)
    exact = complex_step_gradient(lambda moved: np.sum(wanted * plain(moved, common, x)), theta)
    assert relative_error(found, exact) < 1e-13
    if shared:
        exact = complex_step_gradient(
            lambda moved: np.sum(wanted * plain(theta, moved.reshape(common.shape), x)), common.ravel()
        )
        assert relative_error(of_input.ravel(), exact) < 1e-13
    elif not pooled:
        exact = complex_step_gradient(
            lambda moved: np.sum(wanted * plain(theta, None, moved.reshape(x.shape))), x.ravel()
        )
        assert relative_error(of_input.ravel(), exact) < 1e-13


@each_aggregate
def test_the_order_of_points_does_not_matter(aggregate):
    learner = make(aggregate)
    vector = learner.init(np.random.default_rng(0))
    x, y, at = BATCH[:3]
    order = np.random.default_rng(1).permutation(SHOTS)
    shuffled = learner.predict(vector, x[:, order], y[:, order], at)
    np.testing.assert_allclose(shuffled, learner.predict(vector, x, y, at), rtol=1e-12)


@each_aggregate
def test_points_that_come_twice_change_nothing_and_any_number_is_taken(aggregate):
    learner = make(aggregate)
    vector = learner.init(np.random.default_rng(0))
    x, y, at = BATCH[:3]
    twice = learner.predict(vector, np.tile(x, (1, 2, 1)), np.tile(y, (1, 2, 1)), at)
    np.testing.assert_allclose(twice, learner.predict(vector, x, y, at), rtol=1e-12)
    assert learner.predict(vector, x[:, :1], y[:, :1], at).shape == (TASKS, QUERY, 3)


@each_aggregate
def test_the_vector_holds_its_networks(aggregate):
    sizes = make(aggregate).layout.sizes
    assert list(sizes) == ["theta", "keys", "decoder"][:: 2 if aggregate == "mean" else 1]
    assert sizes["theta"] == 6 * 5 + 6 * WIDTH
    assert sizes["decoder"] == (WIDTH + 2 + 1) * 7 + 8 * 3
    assert sizes.get("keys", 3 * 5 + 6 * WIDTH) == 3 * 5 + 6 * WIDTH


def test_heads_must_divide_what_is_kept_of_a_point():
    with pytest.raises(SettingError, match=r"algorithm.heads=4 with algorithm.encoder=\[5, 6\] is not usable"):
        neural_process.Settings(aggregate="attention", encoder=[5, 6])
    neural_process.Settings(aggregate="mean", encoder=[5, 6])
