from dataclasses import FrozenInstanceError, dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.evaluation import adaptation_errors
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient as gradient_learner
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import sinusoid
from maml_exp.core.training import StepMetrics, Trainer, make_learner, streams

from .helpers import complex_step_gradient, reference_meta_loss, relative_error

each_outer = pytest.mark.parametrize("outer", ["exact", "first_order", "joint"])
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.own_names())
MOMENTUM = {"sgd": {"momentum": 0.9}}


def problem(outer="exact", optimizer="adam", hidden=(8, 7), steps=2, shots=5, tasks=4, dtype="float32", **options):
    return Problem(
        ModelSettings(hidden=list(hidden), activation=options.pop("activation", "relu")),
        gradient_learner.Settings(outer=outer),
        InnerSettings(lr=0.01, steps=steps),
        sinusoid.Settings(shots=shots, query=shots + 1),
        OPTIMIZERS.get(optimizer).Settings(**MOMENTUM.get(optimizer, {}), **options),
        meta_batch=tasks,
        dtype=dtype,
    )


def trained(trainer, state, iterations):
    """The state after, and every iteration's meta-loss."""
    losses = []
    for _ in range(iterations):
        state, metrics = trainer.train_step(state)
        losses.append(metrics.loss)
    return state, losses


def copied(rng):
    """Another generator that will draw the same numbers."""
    copy = np.random.default_rng()
    copy.bit_generator.state = rng.bit_generator.state
    return copy


def assert_same_bits(first, second):
    assert (first.step, first.optimizer.count) == (second.step, second.optimizer.count)
    for a, b in zip([first.vector, *first.optimizer.moments], [second.vector, *second.optimizer.moments], strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    assert first.rng.bit_generator.state == second.rng.bit_generator.state
    assert first.learner_rng.bit_generator.state == second.learner_rng.bit_generator.state


@each_outer
@each_optimizer
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_one_iteration_is_the_optimizers_update_along_the_exact_gradient(outer, optimizer, clip_norm):
    setup = problem(outer, optimizer, activation="tanh", dtype="float64", clip_norm=clip_norm)
    trainer = Trainer(setup)
    state, _ = trained(trainer, trainer.init(0), 3)  # moments that are not zero
    batch = sinusoid.Family(setup.task).sample(copied(state.rng), setup.meta_batch, np.float64)
    after, metrics = trainer.train_step(state)

    def meta_loss(theta):
        return reference_meta_loss(setup.network, outer, theta, batch, 0.01, 2, base=state.vector)

    gradient = complex_step_gradient(meta_loss, state.vector)
    norm = np.linalg.norm(gradient)
    if clip_norm:
        assert norm > clip_norm  # or clipping would not be tested
        gradient *= clip_norm / norm
    exact, moments = OPTIMIZERS.get(optimizer).update(gradient, state.optimizer, state.vector, setup.optimizer)
    assert relative_error(after.vector - state.vector, exact - state.vector) < 1e-8
    for ours, moment in zip(after.optimizer.moments, moments.moments, strict=True):
        assert relative_error(ours, moment) < 1e-9
    assert (after.step, after.optimizer.count) == (4, 4)
    assert metrics.loss == pytest.approx(meta_loss(state.vector), rel=1e-12)  # at the state given
    assert metrics.gradient_norm == pytest.approx(norm, rel=1e-9)  # before clipping


@each_outer
@each_optimizer
def test_the_same_seed_gives_the_same_bits_and_another_does_not(outer, optimizer):
    runs = []
    for seed in (1, 1, 2):
        trainer = Trainer(problem(outer, optimizer))
        runs.append(trained(trainer, trainer.init(seed), 30))
    assert_same_bits(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not set(runs[0][1]) & set(runs[2][1])
    assert not np.isin(runs[0][0].vector, runs[2][0].vector).any()


def test_the_global_random_state_neither_matters_nor_changes():
    ends = []
    for global_seed in (0, 1):
        np.random.seed(global_seed)  # noqa: NPY002
        before = np.random.get_state()  # noqa: NPY002
        trainer = Trainer(problem())
        ends.append(trained(trainer, trainer.init(3), 30)[0])
        after = np.random.get_state()  # noqa: NPY002
        assert str(before) == str(after)
        np.testing.assert_array_equal(before[1], after[1])
    assert_same_bits(*ends)


@each_optimizer
def test_states_handed_out_are_not_changed_by_later_steps(optimizer):
    trainer = Trainer(problem(optimizer=optimizer))
    states = [trainer.init(0)]
    copies = []
    for _ in range(5):
        copies.append([array.copy() for array in (states[-1].vector, *states[-1].optimizer.moments)])
        states.append(trainer.train_step(states[-1])[0])
    for state, arrays in zip(states[:-1], copies, strict=True):
        for array, copy in zip([state.vector, *state.optimizer.moments], arrays, strict=True):
            np.testing.assert_array_equal(array, copy)
    assert [state.step for state in states] == [0, 1, 2, 3, 4, 5]
    assert all((a.vector != b.vector).any() for a, b in pairwise(states))


@each_outer
@each_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_carried_on_by_a_new_trainer_is_the_run_in_one_go(outer, optimizer, dtype):
    setup = problem(outer, optimizer, dtype=dtype)
    trainer = Trainer(setup)
    whole, losses = trained(trainer, trainer.init(4), 30)
    first_trainer = Trainer(setup)
    middle, first_losses = trained(first_trainer, first_trainer.init(4), 13)
    carried = replace(middle, rng=copied(middle.rng), learner_rng=copied(middle.learner_rng))
    trained(first_trainer, middle, 2)  # the old trainer going on elsewhere is of no consequence
    end, last_losses = trained(Trainer(setup), carried, 17)
    assert_same_bits(end, whole)
    assert first_losses + last_losses == losses
    assert whole.vector.dtype == dtype


def test_initialisation_and_training_tasks_have_streams_of_their_own():
    small, large = [Trainer(problem(hidden=hidden)).init(0) for hidden in ((3,), (40, 40))]
    assert small.rng.bit_generator.state == large.rng.bit_generator.state  # the same tasks for every network
    other_tasks = Trainer(problem(hidden=(3,), shots=9)).init(0)
    np.testing.assert_array_equal(small.vector, other_tasks.vector)
    drawn = copied(small.rng).uniform(-1, 1, small.vector.size)
    assert not np.isin(drawn.astype(np.float32), small.vector).any()  # nor are parameters the tasks' numbers


def test_the_learners_stream_is_a_third_that_leaves_the_others_as_they_were():
    first, second = np.random.SeedSequence(5).spawn(2)
    expected = [np.random.default_rng(sequence).random(4) for sequence in (first, second)]
    drawn = [rng.random(4) for rng in streams(5)]
    np.testing.assert_array_equal(drawn[:2], expected)
    assert len(drawn) == 3
    assert not np.isin(drawn[2], drawn[:2]).any()
    state = Trainer(problem()).init(5)
    assert state.learner_rng.bit_generator.state == streams(5)[2].bit_generator.state


class Drawing(gradient_learner.Learner):
    """Draws a number in every iteration, and keeps the share of iterations that it was told."""

    def __init__(self, setup):
        super().__init__(setup)
        self.told, self.drawn = [], []

    def meta_gradient(self, vector, batch, rng, progress):
        self.told.append(progress)
        self.drawn.append(rng.random())
        return super().meta_gradient(vector, batch, rng, progress)


def test_a_learner_is_told_its_progress_and_draws_from_its_own_stream():
    plain = Trainer(problem())
    expected = trained(plain, plain.init(3), 4)
    trainer = Trainer(replace(problem(), iterations=8))
    trainer.learner = Drawing(trainer.problem)
    found = trained(trainer, trainer.init(3), 4)
    assert trainer.learner.told == [0, 1 / 8, 2 / 8, 3 / 8]
    np.testing.assert_array_equal(trainer.learner.drawn, streams(3)[2].random(4))
    assert found[1] == expected[1]  # what it draws changes neither tasks nor parameters
    assert found[0].vector.tobytes() == expected[0].vector.tobytes()
    assert found[0].rng.bit_generator.state == expected[0].rng.bit_generator.state


def test_metrics_are_named_in_the_order_they_are_logged():
    assert StepMetrics._fields == ("loss", "support_loss", "gradient_norm", "extras")


@pytest.mark.parametrize("outer", ["exact", "first_order"])
def test_curvature_is_the_share_of_what_first_order_drops(outer):
    setup = problem(outer, activation="tanh", dtype="float64")
    trainer = Trainer(replace(setup, curvature=True))
    state = trainer.init(0)
    batch = sinusoid.Family(setup.task).sample(copied(state.rng), setup.meta_batch, np.float64)
    after, metrics = trainer.train_step(state)

    def along(name):
        def meta_loss(theta):
            return reference_meta_loss(setup.network, name, theta, batch, 0.01, 2, base=state.vector)

        return complex_step_gradient(meta_loss, state.vector)

    exact, first_order = along("exact"), along("first_order")
    norms = np.linalg.norm(exact), np.linalg.norm(first_order)
    expected = (np.linalg.norm(exact - first_order) / norms[0], exact @ first_order / np.prod(norms))
    assert tuple(metrics.extras) == trainer.learner.extra_names == gradient_learner.CURVATURE
    assert tuple(metrics.extras.values()) == pytest.approx(expected, rel=1e-9)
    plain = Trainer(setup)
    without, plain_metrics = plain.train_step(plain.init(0))
    assert after.vector.tobytes() == without.vector.tobytes()  # measuring it changes nothing
    assert (plain_metrics.extras, plain.learner.extra_names) == ({}, ())


def test_joint_training_has_no_curvature_to_measure():
    trainer = Trainer(replace(problem("joint"), curvature=True))
    assert trainer.train_step(trainer.init(0))[1].extras == {}
    assert trainer.learner.extra_names == ()


def test_a_learner_that_is_not_there_is_refused_with_those_that_are():
    @dataclass
    class Unknown(gradient_learner.Settings):
        learner: str = "gradent"

    with pytest.raises(SettingError, match=r"algorithm\.learner='gradent' is not usable: it must be one of .*gradient"):
        make_learner(replace(problem(), algorithm=Unknown()))


def test_states_problems_and_networks_cannot_be_assigned_to():
    setup = problem()
    for frozen, name in [(Trainer(setup).init(0), "vector"), (setup, "meta_batch"), (setup.network, "sizes")]:
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, name, None)


def test_both_dtypes_start_from_the_same_network_and_see_the_same_tasks():
    single, double = [Trainer(problem(dtype=dtype)) for dtype in ("float32", "float64")]
    np.testing.assert_array_equal(single.init(0).vector, double.init(0).vector.astype(np.float32))
    assert trained(single, single.init(0), 10)[1] == pytest.approx(trained(double, double.init(0), 10)[1], rel=1e-3)


@each_outer
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_training_lowers_the_meta_loss(outer, activation):
    trainer = Trainer(problem(outer, hidden=(20, 20), steps=1, shots=10, tasks=10, activation=activation, lr=3e-3))
    _, losses = trained(trainer, trainer.init(0), 500)
    assert np.mean(losses[-50:]) < 0.85 * np.mean(losses[:50])


def test_maml_learns_to_adapt_and_joint_training_only_the_mean_curve():
    tasks, errors = sinusoid.Family(sinusoid.Settings()).held_out("test", 0, 400, 10, 50), {}
    for outer in ("exact", "joint"):
        trainer = Trainer(problem(outer, hidden=(40, 40), steps=1, shots=10, tasks=25))
        state, _ = trained(trainer, trainer.init(0), 3000)
        errors[outer] = adaptation_errors(trainer.learner, state.vector, tasks, 10, 1, 0.01).mean(axis=0)
    # the best a function of x alone can do is E[y|x] = -E[A] 2/pi cos x: it leaves E[A^2]/2 - E[A]^2 4/pi^2 E[cos^2 x]
    mean_square, mean = (5**3 - 0.1**3) / 3 / 4.9, 2.55
    floor = mean_square / 2 - mean**2 * 4 / np.pi**2 * (0.5 + np.sin(10) / 20)
    assert errors["joint"][0] == pytest.approx(floor, rel=0.12)  # 400 tasks: their own mean is off by a few percent
    assert errors["joint"][1] > 2.0
    assert errors["exact"][1] < 0.75 * errors["joint"][1]
