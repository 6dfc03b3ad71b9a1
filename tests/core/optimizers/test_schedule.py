"""The rate of the outer loop while training: closed forms, every optimizer, and parts with a rate of their own."""

import math
from dataclasses import replace

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import OPTIMIZERS, sgd
from maml_exp.core.optimizers.base import SCHEDULES, scheduled
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import sinusoid
from maml_exp.core.training import Trainer

ITERATIONS = 8
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.own_names())
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def problem(optimizer="sgd", algorithm=None, **settings):
    return Problem(
        ModelSettings(hidden=[6, 5]),
        algorithm or gradient.Settings(),
        InnerSettings(),
        sinusoid.Settings(),
        OPTIMIZERS.get(optimizer).Settings(**settings),
        meta_batch=3,
        iterations=ITERATIONS,
    )


def rates(schedule, lr=0.5, lr_end=0.0):
    settings = sgd.Settings(lr=lr, schedule=schedule, lr_end=lr_end)
    return [scheduled(settings, step / ITERATIONS).lr for step in range(ITERATIONS + 1)]


def test_the_cosine_falls_from_lr_to_lr_end_as_its_formula_says():
    found = rates("cosine", 0.5, 0.1)
    expected = [0.1 + (0.5 - 0.1) * (1 + math.cos(math.pi * t / ITERATIONS)) / 2 for t in range(ITERATIONS + 1)]
    assert found == pytest.approx(expected, rel=1e-14)
    assert (found[0], found[ITERATIONS // 2], found[-1]) == pytest.approx((0.5, 0.3, 0.1), rel=1e-14)


def test_the_line_falls_by_the_same_amount_every_iteration():
    assert rates("linear", 0.5, 0.1) == pytest.approx(list(np.linspace(0.5, 0.1, ITERATIONS + 1)), rel=1e-14)


def test_a_constant_rate_makes_no_settings_of_its_own():
    settings = sgd.Settings(lr=0.5)
    assert scheduled(settings, 0.3) is settings


@each_schedule
def test_the_settings_given_stay_as_they_are(schedule):
    settings = sgd.Settings(lr=0.5, schedule=schedule)
    before = replace(settings)
    scheduled(settings, 0.7)
    assert settings == before


@each_optimizer
@each_schedule
def test_every_iteration_is_an_update_with_its_own_rate(optimizer, schedule):
    setup = problem(optimizer, lr=0.01, schedule=schedule, clip_norm=0.5)
    trainer, learner, module = Trainer(setup), Trainer(setup).learner, OPTIMIZERS.get(optimizer)
    state, seen = trainer.init(0), trainer.init(0)
    for step, rate in enumerate(rates(schedule, 0.01)[:-1]):
        batch = setup.family.sample(seen.rng, 3, "float32")
        found = learner.meta_gradient(state.vector, batch, seen.learner_rng, step / ITERATIONS).vector
        size = math.sqrt(found @ found)  # of all parts together
        found = found * (0.5 / size) if size > 0.5 else found
        expected, _ = module.update(found, state.optimizer, state.vector, module.Settings(lr=rate))
        state, _ = trainer.train_step(state)
        np.testing.assert_allclose(state.vector, expected, rtol=1e-6, atol=1e-8)


@each_optimizer
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_training_goes_on_from_any_state_to_the_same_bits(optimizer, schedule):
    setup = problem(optimizer, schedule=schedule)
    trainer, other, state = Trainer(setup), Trainer(setup), Trainer(setup).init(1)
    for _ in range(3):
        state, _ = trainer.train_step(state)
    streams = [np.random.default_rng(), np.random.default_rng()]
    for stream, rng in zip(streams, (state.rng, state.learner_rng), strict=True):
        stream.bit_generator.state = rng.bit_generator.state
    resumed = replace(state, rng=streams[0], learner_rng=streams[1])
    for _ in range(ITERATIONS - 3):
        state, _ = trainer.train_step(state)
        resumed, _ = other.train_step(resumed)
    assert state.vector.tobytes() == resumed.vector.tobytes()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_part_with_a_rate_of_its_own_follows_the_same_schedule(schedule):
    learned = gradient.Settings(rates="layer", learn_rates=True)
    shared, own = (
        Trainer(problem(algorithm=replace(learned, rates_lr=rates_lr), lr=0.01, schedule=schedule, clip_norm=None))
        for rates_lr in (None, 0.03)
    )
    moved = []
    for trainer in (shared, own):
        before = replace(trainer.init(0), step=ITERATIONS - 2)
        after, _ = trainer.train_step(before)
        moved.append(trainer.learner.layout.parts(after.vector - before.vector))
    np.testing.assert_array_equal(moved[0]["theta"], moved[1]["theta"])
    np.testing.assert_allclose(moved[1]["rates"], 3 * moved[0]["rates"], rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr_end": 0.1}, "optimizer.lr_end=0.1 with optimizer.schedule=constant"),
        ({"lr": 0.1, "lr_end": 0.2, "schedule": "cosine"}, "at most optimizer.lr=0.1"),
    ],
    ids=["constant", "rises"],
)
def test_an_end_that_no_schedule_leads_to_is_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        sgd.Settings(**{"lr": 1.0, **settings})
