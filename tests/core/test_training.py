from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import numpy as np
import pytest
from maml_exp.core.optimizers.updates import OPTIMIZERS
from maml_exp.core.settings import AlgorithmSettings, InnerSettings, ModelSettings, OptimizerSettings, TaskSettings

from maml_exp.core.evaluation import adaptation_errors, fixed_tasks
from maml_exp.core.learners.gradient import ALGORITHMS
from maml_exp.core.proof import reference
from maml_exp.core.tasks.sinusoid import Sinusoids
from maml_exp.core.training import Problem, Trainer

from .helpers import complex_step_gradient, relative_error

each_algorithm = pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
each_optimizer = pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))


def problem(algorithm="maml", optimizer="adam", hidden=(8, 7), steps=2, shots=5, tasks=4, dtype="float32", **options):
    return Problem(
        ModelSettings(hidden=list(hidden), activation=options.pop("activation", "relu")),
        AlgorithmSettings(algorithm),
        InnerSettings(lr=0.01, steps=steps),
        TaskSettings(shots=shots, query=shots + 1),
        OptimizerSettings(optimizer, momentum=0.9, **options),
        meta_batch=tasks,
        dtype=dtype,
    )


def trained(trainer, state, iterations):
    """The state after, and every iteration's meta-loss."""
    losses = []
    for _ in range(iterations):
        state, metrics = trainer.train_step(state)
        losses.append(metrics["meta/loss"])
    return state, losses


def copied(rng):
    """Another generator that will draw the same numbers."""
    copy = np.random.default_rng()
    copy.bit_generator.state = rng.bit_generator.state
    return copy


def assert_same_bits(first, second):
    assert (first.step, first.optimizer.count) == (second.step, second.optimizer.count)
    for a, b in zip([first.theta, *first.optimizer.moments], [second.theta, *second.optimizer.moments], strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    assert first.rng.bit_generator.state == second.rng.bit_generator.state


@each_algorithm
@each_optimizer
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_one_iteration_is_the_optimizers_update_along_the_exact_gradient(algorithm, optimizer, clip_norm):
    setup = problem(algorithm, optimizer, activation="tanh", dtype="float64", clip_norm=clip_norm)
    trainer = Trainer(setup)
    state, _ = trained(trainer, trainer.init(0), 3)  # moments that are not zero
    batch = Sinusoids(setup.task).sample(copied(state.rng), setup.meta_batch, np.float64)
    after, metrics = trainer.train_step(state)

    def meta_loss(theta):
        return reference.meta_loss(setup.network, algorithm, theta, batch, 0.01, 2, base=state.theta)

    gradient = complex_step_gradient(meta_loss, state.theta)
    norm = np.linalg.norm(gradient)
    if clip_norm:
        assert norm > clip_norm  # or clipping would not be tested
        gradient *= clip_norm / norm
    exact, moments = OPTIMIZERS[optimizer].update(gradient, state.optimizer, state.theta, setup.optimizer)
    assert relative_error(after.theta - state.theta, exact - state.theta) < 1e-8
    for ours, moment in zip(after.optimizer.moments, moments.moments, strict=True):
        assert relative_error(ours, moment) < 1e-9
    assert (after.step, after.optimizer.count) == (4, 4)
    assert metrics["meta/loss"] == pytest.approx(meta_loss(state.theta), rel=1e-12)  # at the state given
    assert metrics["meta/grad_norm"] == pytest.approx(norm, rel=1e-9)  # before clipping


@each_algorithm
@each_optimizer
def test_the_same_seed_gives_the_same_bits_and_another_does_not(algorithm, optimizer):
    runs = []
    for seed in (1, 1, 2):
        trainer = Trainer(problem(algorithm, optimizer))
        runs.append(trained(trainer, trainer.init(seed), 30))
    assert_same_bits(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not set(runs[0][1]) & set(runs[2][1])
    assert not np.isin(runs[0][0].theta, runs[2][0].theta).any()


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
        copies.append([array.copy() for array in (states[-1].theta, *states[-1].optimizer.moments)])
        states.append(trainer.train_step(states[-1])[0])
    for state, arrays in zip(states[:-1], copies, strict=True):
        for array, copy in zip([state.theta, *state.optimizer.moments], arrays, strict=True):
            np.testing.assert_array_equal(array, copy)
    assert [state.step for state in states] == [0, 1, 2, 3, 4, 5]
    assert all((a.theta != b.theta).any() for a, b in pairwise(states))


@each_algorithm
@each_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_carried_on_by_a_new_trainer_is_the_run_in_one_go(algorithm, optimizer, dtype):
    setup = problem(algorithm, optimizer, dtype=dtype)
    trainer = Trainer(setup)
    whole, losses = trained(trainer, trainer.init(4), 30)
    first_trainer = Trainer(setup)
    middle, first_losses = trained(first_trainer, first_trainer.init(4), 13)
    carried = replace(middle, rng=copied(middle.rng))
    trained(first_trainer, middle, 2)  # the old trainer going on elsewhere is of no consequence
    end, last_losses = trained(Trainer(setup), carried, 17)
    assert_same_bits(end, whole)
    assert first_losses + last_losses == losses
    assert whole.theta.dtype == dtype


def test_initialisation_and_training_tasks_have_streams_of_their_own():
    small, large = [Trainer(problem(hidden=hidden)).init(0) for hidden in ((3,), (40, 40))]
    assert small.rng.bit_generator.state == large.rng.bit_generator.state  # the same tasks for every network
    other_tasks = Trainer(problem(hidden=(3,), shots=9)).init(0)
    np.testing.assert_array_equal(small.theta, other_tasks.theta)
    drawn = copied(small.rng).uniform(-1, 1, small.theta.size)
    assert not np.isin(drawn.astype(np.float32), small.theta).any()  # nor are parameters the tasks' numbers


def test_states_problems_and_networks_cannot_be_assigned_to():
    setup = problem()
    for frozen, name in [(Trainer(setup).init(0), "theta"), (setup, "meta_batch"), (setup.network, "sizes")]:
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, name, None)


def test_both_dtypes_start_from_the_same_network_and_see_the_same_tasks():
    single, double = [Trainer(problem(dtype=dtype)) for dtype in ("float32", "float64")]
    np.testing.assert_array_equal(single.init(0).theta, double.init(0).theta.astype(np.float32))
    assert trained(single, single.init(0), 10)[1] == pytest.approx(trained(double, double.init(0), 10)[1], rel=1e-3)


@each_algorithm
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_training_lowers_the_meta_loss(algorithm, activation):
    trainer = Trainer(problem(algorithm, hidden=(20, 20), steps=1, shots=10, tasks=10, activation=activation, lr=3e-3))
    _, losses = trained(trainer, trainer.init(0), 500)
    assert np.mean(losses[-50:]) < 0.85 * np.mean(losses[:50])


def test_maml_learns_to_adapt_and_joint_training_only_the_mean_curve():
    tasks, errors = fixed_tasks(Sinusoids(TaskSettings()), 0, 400, 10, 50), {}
    for algorithm in ("maml", "joint"):
        setup = problem(algorithm, hidden=(40, 40), steps=1, shots=10, tasks=25)
        trainer = Trainer(setup)
        state, _ = trained(trainer, trainer.init(0), 3000)
        errors[algorithm] = adaptation_errors(setup.network, state.theta, tasks, 10, 0.01, 1).mean(axis=0)
    # the best a function of x alone can do is E[y|x] = -E[A] 2/pi cos x: it leaves E[A^2]/2 - E[A]^2 4/pi^2 E[cos^2 x]
    mean_square, mean = (5**3 - 0.1**3) / 3 / 4.9, 2.55
    floor = mean_square / 2 - mean**2 * 4 / np.pi**2 * (0.5 + np.sin(10) / 20)
    assert errors["joint"][0] == pytest.approx(floor, rel=0.12)  # 400 tasks: their own mean is off by a few percent
    assert errors["joint"][1] > 2.0
    assert errors["maml"][1] < 0.75 * errors["joint"][1]
