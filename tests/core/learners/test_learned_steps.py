"""Learned optimizers: their gradients on every setting, what they are where they learn nothing, values by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from maml_exp.core.arrays import Workspace
from maml_exp.core.learners import gradient, learned_optimizer, lstm_meta_learner
from maml_exp.core.learners.learned_optimizer import Memories
from maml_exp.core.network import Network

from ..helpers import complex_step_gradient, problem_of, random_batch, relative_error
from .axes import batch_of, make_problem, part_errors

TASKS, SHOTS, QUERY, STEPS, LR = 3, 4, 6, 3, 0.3
NETWORK = Network((2, 6, 4, 3), "tanh")
BATCH = random_batch(1, TASKS, SHOTS, QUERY)
KINDS = {
    "learned_optimizer": (learned_optimizer, {"units": 3}),
    "drawn_start": (learned_optimizer, {"units": 2, "learn_start": False}),
    "lstm_meta_learner": (lstm_meta_learner, {}),
}


def make(kind, steps=STEPS, network=NETWORK, **settings):
    module, own = KINDS[kind]
    return module.Learner(problem_of(network, module.Settings(**own, **settings), BATCH, LR, steps))


def somewhere(learner):
    vector = learner.init(np.random.default_rng(2))
    return vector + 0.3 * np.random.default_rng(3).standard_normal(vector.size)


def call(learner, vector, progress=0.0, seed=4):
    return learner.meta_gradient(vector, BATCH, np.random.default_rng(seed), progress)


def exact(learner, vector, progress=0.0):
    def loss(moved):
        return learner.reference_loss(moved, BATCH, np.random.default_rng(4), progress, vector)

    return complex_step_gradient(loss, vector)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("step_losses", ["last", "all", "annealed"])
@pytest.mark.parametrize("network", [Network((2, 5, 3), "relu"), Network((2, 4, 3, 3), "softplus")], ids=str)
def test_every_part_of_the_gradient_is_the_complex_step_of_the_reference(kind, second_order, step_losses, network):
    learner = make(kind, network=network, second_order=second_order, step_losses=step_losses, scale=0.2)
    vector = somewhere(learner)
    found, expected = call(learner, vector, 0.03), exact(learner, vector, 0.03)
    for name, part in learner.layout.slices.items():
        assert relative_error(found.vector[part], expected[part]) <= 1e-10, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second_order", [True, False])
def test_classes_and_normalised_layers_are_learned_too(kind, second_order):
    module, own = KINDS[kind]
    algorithm = module.Settings(**own, second_order=second_order, step_losses="all", scale=0.2)
    problem = replace(make_problem(layer_norm=True, classes=True, steps=2, lr=LR), algorithm=algorithm)
    learner, batch = module.Learner(problem), batch_of(problem)
    vector = somewhere(learner)
    errors = part_errors(learner, vector, batch)
    assert max(errors.values()) <= 1e-10, errors


@pytest.mark.parametrize("kind", KINDS)
def test_what_first_order_drops_is_there(kind):
    both = [make(kind, second_order=second_order) for second_order in (True, False)]
    vector = somewhere(both[0])
    found, dropped = (call(learner, vector) for learner in both)
    assert (found.loss, found.support_loss) == (dropped.loss, dropped.support_loss)
    assert relative_error(dropped.vector, found.vector) > 1e-3


@pytest.mark.parametrize(("second_order", "outer"), [(True, "exact"), (False, "first_order")])
def test_gates_that_see_nothing_make_maml_of_it_and_first_order_maml(second_order, outer):
    learner = make("lstm_meta_learner", second_order=second_order)
    vector = somewhere(learner)
    rate = 0.15
    parts = learner.layout.parts(vector)
    parts["gates"][:] = 0
    wanted = math.log(rate / (1 - rate)), 60.0  # 1 / (1 + exp(-60)) is 1
    parts["biases"][:] = np.subtract(wanted, lstm_meta_learner.USUAL_BIASES)
    theta, problem = parts["theta"].copy(), learner.problem
    inner = replace(problem.inner, lr=LR * rate)
    descent = gradient.Learner(replace(problem, algorithm=gradient.Settings(outer=outer), inner=inner))
    found, maml = call(learner, vector), call(descent, theta)
    assert found.loss == pytest.approx(maml.loss, rel=1e-12)
    assert relative_error(found.vector[learner.layout.slices["theta"]], maml.vector) < 1e-12
    ours, theirs = (list(one.adapt(v, *BATCH[:3], 5)) for one, v in ((learner, vector), (descent, theta)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)
    assert learner.learned(vector) == pytest.approx({"rate": LR * rate, "kept": 1.0})


def test_a_memory_that_does_not_see_the_gradient_has_no_second_order():
    both = [make("learned_optimizer", second_order=second_order) for second_order in (True, False)]
    vector = somewhere(both[0])
    both[0].layout.parts(vector)["cell"].reshape(5, 12)[0] = 0
    found, dropped = (call(learner, vector).vector for learner in both)
    row = slice(both[0].layout.slices["cell"].start, both[0].layout.slices["cell"].start + 12)
    assert np.abs(found[row]).max() > 0  # it would learn to see
    others = np.delete(np.arange(vector.size), np.arange(row.start, row.stop))
    np.testing.assert_allclose(found[others], dropped[others], rtol=1e-12, atol=1e-15)


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def test_two_steps_of_one_unit_by_hand():
    """Rows u, h, 1; columns i, f, o, g. One task, one weight."""
    theta = np.array([[0.1, 0.2, 0.3, 0.4], [0.3, -0.1, 0.2, 0.5], [0, 1, -0.2, 0.1]])
    readout, alpha, scale = np.array([0.7, 0.05]), 0.3, 0.2
    settings = SimpleNamespace(scale=scale)
    learner = SimpleNamespace(settings=settings)
    learner.seen = lambda g: learned_optimizer.Learner.seen(learner, g)
    learner.slope_of_seen = lambda g: learned_optimizer.Learner.slope_of_seen(learner, g)
    memories = Memories(learner, theta, readout, (1, 1), 2, alpha, Workspace())
    at, h, c = 2.0, 0.0, 0.0
    for s, g in enumerate((0.5, -3.0)):
        u = math.asinh(g / scale)
        a = [u * theta[0, k] + h * theta[1, k] + theta[2, k] for k in range(4)]
        c = sigmoid(a[1]) * c + sigmoid(a[0]) * math.tanh(a[3])
        h = sigmoid(a[2]) * math.tanh(c)
        expected = at + alpha * (0.7 * h + 0.05)
        found = memories.step(s, np.full((1, 1), at), np.full((1, 1), g), np.zeros(1))
        assert found.item() == pytest.approx(expected, rel=1e-14)
        at = expected


@pytest.mark.parametrize("kind", KINDS)
def test_steps_beyond_the_trained_ones_go_on_by_the_same_rule(kind):
    learner, longer = make(kind, 2), make(kind, 6)
    vector = somewhere(learner)
    few, many, trained = (
        list(one.adapt(vector, *BATCH[:3], n)) for one, n in ((learner, 2), (learner, 6), (longer, 6))
    )
    np.testing.assert_array_equal(few, many[:3])
    np.testing.assert_array_equal(many, trained)


def test_a_start_that_is_not_learned_is_drawn_anew_in_training_and_the_same_where_it_adapts():
    learner = make("drawn_start")
    assert set(learner.layout.sizes) == {"cell", "readout"}
    vector = somewhere(learner)
    first, again, other = (call(learner, vector, seed=seed).support_loss for seed in (4, 4, 5))
    assert first == again != other
    before, another = (next(iter(make("drawn_start").adapt(v, *BATCH[:3], 1))) for v in (vector, -vector))
    np.testing.assert_array_equal(before, another)


def test_gates_start_as_small_steps_that_keep_the_weights():
    learner = make("lstm_meta_learner")
    vector = learner.init(np.random.default_rng(0))
    assert 0 < np.abs(learner.layout.parts(vector)["gates"]).max() <= 0.01
    told = learner.learned(vector)
    assert LR * sigmoid(-5) <= told["rate"] <= LR * sigmoid(-4)
    assert sigmoid(4) <= told["kept"] <= sigmoid(6)
