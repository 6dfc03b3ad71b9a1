"""task.shots may be a list: one K an iteration for the whole meta-batch, drawn from the learner's stream."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import sinusoid
from maml_exp.core.training import Trainer

SHOTS, QUERY, TASKS = [2, 5, 7], 4, 3
METHODS = {
    "exact": gradient.Settings(),
    "joint": gradient.Settings(outer="joint"),
    "minibatch": gradient.Settings(minibatch=2),  # it draws from the learner's stream, too
    "lslr": gradient.Settings(rates="layer_and_step", learn_rates=True),
}
each_method = pytest.mark.parametrize("settings", METHODS.values(), ids=list(METHODS))


def problem(settings, shots=None):
    return Problem(
        ModelSettings(hidden=[6, 5]),
        settings,
        InnerSettings(),
        sinusoid.Settings(shots=copy.copy(shots or SHOTS), query=QUERY),
        adam.Settings(),
        meta_batch=TASKS,
    )


class Watched:
    """A learner that notes the sizes of what it is given."""

    def __init__(self, learner):
        self.learner, self.seen = learner, []

    def meta_gradient(self, vector, batch, rng, progress):
        self.seen.append((batch.x_support.shape, batch.x_query.shape))
        return self.learner.meta_gradient(vector, batch, rng, progress)

    def __getattr__(self, name):
        return getattr(self.learner, name)


def trained(trainer, state, iterations):
    for _ in range(iterations):
        state, _ = trainer.train_step(state)
    return state


def again(rng):
    copied = np.random.default_rng()
    copied.bit_generator.state = rng.bit_generator.state
    return copied


@each_method
def test_every_meta_batch_has_one_of_the_numbers_for_all_its_tasks_and_all_of_them_come(settings):
    trainer = Trainer(problem(settings))
    trainer.learner = Watched(trainer.learner)
    trained(trainer, trainer.init(0), 60)
    counts = {shots: trainer.learner.seen.count(((TASKS, shots, 1), (TASKS, QUERY, 1))) for shots in SHOTS}
    assert sum(counts.values()) == 60
    assert min(counts.values()) >= 8


@each_method
def test_one_number_in_a_list_is_that_number_and_draws_nothing(settings):
    ends = [trained(t, t.init(3), 5) for t in (Trainer(problem(settings, 5)), Trainer(problem(settings, [5])))]
    assert ends[0].vector.tobytes() == ends[1].vector.tobytes()
    assert ends[0].learner_rng.bit_generator.state == ends[1].learner_rng.bit_generator.state
    assert sinusoid.Settings(shots=[5]) == sinusoid.Settings(shots=5)


@each_method
def test_an_iteration_is_that_of_the_number_drawn(settings):
    """The K comes from the learner's stream; tasks and direction are then those of a problem with that K alone."""
    trainer = Trainer(problem(settings))
    state = trainer.init(1)
    for _ in range(10):
        rng, learner_rng = again(state.rng), again(state.learner_rng)
        shots = SHOTS[learner_rng.integers(len(SHOTS))]
        alone = Trainer(problem(settings, shots))
        expected, values = alone.train_step(replace(state, rng=rng, learner_rng=learner_rng))
        state, found = trainer.train_step(state)
        assert state.vector.tobytes() == expected.vector.tobytes()
        assert found == values
        assert state.rng.bit_generator.state == expected.rng.bit_generator.state
        assert state.learner_rng.bit_generator.state == expected.learner_rng.bit_generator.state


@each_method
def test_the_next_loss_is_that_of_the_next_iteration_and_training_goes_on_to_the_same_bits(settings):
    trainer = Trainer(problem(settings))
    state = trained(trainer, trainer.init(2), 4)
    resumed = replace(state, rng=again(state.rng), learner_rng=again(state.learner_rng))
    before = trainer.next_loss(state)
    _, values = trainer.train_step(state)
    assert before == values.loss
    resumed = trained(Trainer(problem(settings)), resumed, 7)
    assert resumed.vector.tobytes() == trained(trainer, trainer.init(2), 11).vector.tobytes()


def test_buffers_are_kept_for_every_number():
    many = list(range(1, 13))
    trainer = Trainer(problem(gradient.Settings(), many))
    state = trained(trainer, trainer.init(0), 200)
    loops = dict(trainer.learner._replayed)
    assert len(loops) == len(many)
    trained(trainer, state, 50)
    assert all(trainer.learner._replayed[key] is loop for key, loop in loops.items())


def test_held_out_tasks_and_fingerprint_do_not_know_of_it():
    several, one = problem(gradient.Settings()).family, problem(gradient.Settings(), 5).family
    assert several.fingerprint() == one.fingerprint()
    for ours, theirs in zip(*(f.held_out("test", 0, 3, 9, 11) for f in (several, one)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
