"""What every learner owes the trainer, evaluation and the proof: one test for all of them.

A learner of the project's has its row in METHODS.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from maml_exp.core.evaluation import adaptation_errors
from maml_exp.core.learners import (
    LEARNERS,
    gradient,
    learned_optimizer,
    lstm_meta_learner,
    neural_process,
    recurrent,
    ridge,
)
from maml_exp.core.learners._gradient_settings import OUTER
from maml_exp.core.losses import CrossEntropy
from maml_exp.core.network import Network
from maml_exp.core.proof.gradcheck import gradient_errors
from maml_exp.core.tasks.base import FixedTasks
from maml_exp.core.training import Trainer
from maml_exp.store import checkpoints
from maml_exp.store.checkpoints import Checkpoint

from ..helpers import as_dtype, complex_step_gradient, problem_of, random_batch, relative_error

NETWORK = Network((2, 6, 4, 3), "tanh")
TASKS, SHOTS, QUERY, STEPS, LR = 3, 4, 6, 2, 0.05
BATCH = random_batch(1, TASKS, SHOTS, QUERY)
PROGRESS = 0.25


class Method(NamedTuple):
    settings: Any
    judged_as_trained: bool  # it adapts on the whole support set in training, by `trained_steps` steps
    least_steps: int = 0  # inner steps that it needs


METHODS = {
    "gradient": {
        "exact": Method(gradient.Settings(outer="exact"), True),
        "first_order": Method(gradient.Settings(outer="first_order"), True),
        "reptile": Method(gradient.Settings(outer="reptile", minibatch=3), False, least_steps=1),
        "joint": Method(gradient.Settings(outer="joint"), False),
    },
    "ridge": {
        "learned": Method(ridge.Settings(), True),
        "fixed": Method(ridge.Settings(penalty=0.3, learn_penalty=False), True),
    },
    "learned_optimizer": {
        "second_order": Method(learned_optimizer.Settings(units=3, scale=0.3), True, least_steps=1),
        "first_order": Method(learned_optimizer.Settings(units=3, second_order=False), True, least_steps=1),
    },
    "lstm_meta_learner": {
        "second_order": Method(lstm_meta_learner.Settings(scale=0.3), True, least_steps=1),
        "first_order": Method(lstm_meta_learner.Settings(second_order=False), True, least_steps=1),
    },
    "recurrent": {"lstm": Method(recurrent.Settings(units=5), True)},
    "neural_process": {
        "mean": Method(neural_process.Settings(encoder=[5, 4], decoder=[6]), True),
        "attention": Method(
            neural_process.Settings(aggregate="attention", encoder=[5, 6], decoder=[6, 4], heads=3), True
        ),
    },
}
CASES = [
    pytest.param(method, variant, id=f"{learner}-{label}-{'-'.join(map(str, variant.values()))}")
    for learner in LEARNERS.own_names()
    for label, method in METHODS[learner].items()
    for variant in [{}, *LEARNERS.get(learner).Learner.variants]
]
each_case = pytest.mark.parametrize(("method", "variant"), CASES)
each_method = pytest.mark.parametrize(("method", "variant"), [case for case in CASES if not case.values[1]])


def make(method, variant, steps=STEPS, dtype="float64", curvature=False, lr=LR):
    problem = problem_of(NETWORK, method.settings, BATCH, lr, max(steps, method.least_steps), dtype)
    return LEARNERS.get(method.settings.learner).Learner(replace(problem, curvature=curvature), **variant)


def vector_of(learner):
    """Parameters beside the initial ones, where no part of the vector is zero."""
    vector = learner.init(np.random.default_rng(2))
    return vector + 0.3 * np.random.default_rng(3).standard_normal(vector.size).astype(vector.dtype)


def call(learner, vector, batch, seed=4):
    return learner.meta_gradient(vector, batch, np.random.default_rng(seed), PROGRESS)


def one_hot(y):
    """The class whose number is the largest."""
    return (y == y.max(axis=-1, keepdims=True)).astype(y.dtype)


def numbers(found):
    return [found.loss, found.support_loss, *found.extras.values()]


def test_every_learner_has_its_row_and_every_choice_of_outer():
    assert set(METHODS) == set(LEARNERS.own_names())
    assert [method.settings.outer for method in METHODS["gradient"].values()] == list(OUTER)


@each_case
@pytest.mark.parametrize("layer_norm", [False, True])
def test_gradients_are_those_of_classes_and_normalised_layers_too(method, variant, layer_norm):
    plain = make(method, variant).problem
    model = replace(plain.model, layer_norm=layer_norm)
    learner = LEARNERS.get(method.settings.learner).Learner(replace(plain, model=model, loss=CrossEntropy()), **variant)
    batch = BATCH._replace(y_support=one_hot(BATCH.y_support), y_query=one_hot(BATCH.y_query))
    vector = vector_of(learner)
    errors = gradient_errors(learner, vector, batch, seed=4, progress=PROGRESS)
    assert max(errors.values()) <= 1e-10, errors
    assert call(learner, vector, batch).loss > 0


@each_case
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_every_part_of_the_gradient_is_the_complex_step_of_the_reference_loss(method, variant, steps):
    learner = make(method, variant, steps)
    vector = vector_of(learner)
    found = call(learner, vector, BATCH)

    def loss(moved):
        return learner.reference_loss(moved, BATCH, np.random.default_rng(4), PROGRESS, vector)

    exact = complex_step_gradient(loss, vector)
    assert learner.layout.size == vector.size == found.vector.size
    for name, part in learner.layout.slices.items():
        assert relative_error(found.vector[part], exact[part]) <= 1e-10, name
    if method is not METHODS["gradient"]["reptile"]:  # its function has the direction for a gradient, and is no loss
        assert found.loss == pytest.approx(float(np.real(loss(vector))), rel=1e-12)


@each_case
def test_a_call_leaves_nothing_behind(method, variant):
    learner = make(method, variant)
    vector, others = vector_of(learner), random_batch(5, TASKS, SHOTS, QUERY)
    given, batch = vector.copy(), as_dtype(BATCH, float)
    first = call(learner, vector, batch)
    kept = first.vector.copy()
    call(learner, vector, random_batch(6, TASKS + 2, SHOTS - 1, QUERY + 1))  # other sizes
    call(learner, vector.astype(np.float32), as_dtype(BATCH, np.float32))  # another dtype
    call(learner, vector[::-1].copy(), others)
    list(learner.adapt(vector, *others[:3], 5, 0.1))
    next(iter(learner.adapt(vector, *BATCH[:3], STEPS)))  # one that is not taken to its end
    with np.errstate(invalid="ignore"):
        poisoned = call(learner, vector, BATCH._replace(x_support=np.full_like(BATCH.x_support, np.nan)))
    assert np.isnan(poisoned.vector).any()  # it did reach the buffers
    again = call(learner, vector, batch)
    assert again.vector.tobytes() == first.vector.tobytes() == kept.tobytes()
    assert numbers(again) == numbers(first)
    assert vector.tobytes() == given.tobytes()
    for part, untouched in zip(batch, BATCH, strict=True):
        assert part.tobytes() == untouched.tobytes()


@each_case
def test_adapting_leaves_nothing_behind(method, variant):
    learner = make(method, variant)
    vector = vector_of(learner)

    def predictions():
        return [z.copy() for z in learner.adapt(vector, BATCH.x_support, BATCH.y_support, BATCH.x_query, 3, 0.02)]

    before = predictions()
    call(learner, vector, BATCH)
    list(learner.adapt(vector[::-1].copy(), BATCH.x_query, BATCH.y_query, BATCH.x_support, 3, 0.02))
    after = predictions()
    assert len(before) == 4
    np.testing.assert_array_equal(before, after)
    assert all(relative_error(before[0], z) > 1e-4 for z in before[1:])  # the steps did something


@each_case
def test_adaptations_taken_in_turns_do_not_know_of_each_other(method, variant):
    learner = make(method, variant)
    vectors, others = [vector_of(learner), vector_of(learner)[::-1].copy()], random_batch(5, TASKS, SHOTS, QUERY)

    def both():
        return [learner.adapt(v, *b[:3], 3) for v, b in zip(vectors, (BATCH, others), strict=True)]

    alone = [[z.copy() for z in adapting] for adapting in both()]
    for _ in range(2):  # with new buffers and with those of the first time
        in_turns = [[z.copy() for z in pair] for pair in zip(*both(), strict=True)]
        np.testing.assert_array_equal(list(zip(*in_turns, strict=True)), alone)
    under_way = both()[0]
    predictions = [next(under_way).copy()]
    call(learner, vectors[1], others)
    predictions += [z.copy() for z in under_way]
    np.testing.assert_array_equal(predictions, alone[0])


@each_case
def test_float32_is_close_to_float64_and_stays_float32(method, variant):
    learner = make(method, variant, curvature=True)
    vector, batch = vector_of(learner).astype(np.float32), as_dtype(BATCH, np.float32)
    single = call(learner, vector, batch)
    double = call(learner, vector.astype(np.float64), as_dtype(batch, np.float64))
    assert (single.vector.dtype, double.vector.dtype) == (np.float32, np.float64)
    assert relative_error(single.vector, double.vector) < 1e-3
    assert numbers(single) == pytest.approx(numbers(double), rel=1e-3)
    predictions = list(learner.adapt(vector, *batch[:3], STEPS))
    assert {z.dtype for z in predictions} == {np.dtype(np.float32)}
    for first in range(STEPS + 1):
        later = learner.adapt_from(first, vector, *batch[:3], STEPS)
        assert [z.tobytes() for z in later] == [z.tobytes() for z in predictions[first:]]


@each_case
def test_initial_parameters_are_drawn_in_float64_and_rounded(method, variant):
    single, double = (
        make(method, variant, dtype=dtype).init(np.random.default_rng(7)) for dtype in ("float32", "float64")
    )
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, double.astype(np.float32))
    assert (single != double).any()


@each_case
@pytest.mark.parametrize("curvature", [False, True])
def test_a_gradient_is_a_vector_and_plain_numbers_under_the_names_announced(method, variant, curvature):
    learner = make(method, variant, curvature=curvature)
    found = call(learner, vector_of(learner), BATCH)
    assert tuple(found.extras) == learner.extra_names
    assert {type(number) for number in numbers(found)} == {float}


@each_case
def test_what_a_learner_draws_comes_from_the_generator_it_is_given(method, variant):
    learner, before = make(method, variant), np.random.get_state()  # noqa: NPY002
    vector = vector_of(learner)
    first, again = (call(learner, vector, BATCH, seed=8) for _ in range(2))
    assert first.vector.tobytes() == again.vector.tobytes()
    assert str(before) == str(np.random.get_state())  # noqa: NPY002


def same_bits(a, b):
    arrays = [(a.vector, b.vector), *zip(a.optimizer.moments, b.optimizer.moments, strict=True)]
    assert all((x.dtype, x.tobytes()) == (y.dtype, y.tobytes()) for x, y in arrays)
    assert (a.step, a.optimizer.count) == (b.step, b.optimizer.count)
    for name in ("rng", "learner_rng"):
        assert getattr(a, name).bit_generator.state == getattr(b, name).bit_generator.state


@each_method
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_checkpoint_brings_everything_back_and_training_goes_on_from_it(method, variant, dtype, tmp_path):
    problem = replace(problem_of(NETWORK, method.settings, BATCH, LR, STEPS, dtype), iterations=12)
    trainer = Trainer(problem)
    state = trainer.init(9)
    for _ in range(5):
        state, _ = trainer.train_step(state)
    parts = dict(trainer.learner.layout.sizes)
    path = checkpoints.save(tmp_path, Checkpoint(state, {"seed": 9}, {"count": 5.0}, 1.5, parts))
    loaded = checkpoints.load(path)
    same_bits(loaded.state, state)
    assert loaded.parts == parts
    assert list(loaded.parts) == list(parts)
    other, resumed = Trainer(problem), loaded.state
    for _ in range(7):
        state, expected = trainer.train_step(state)
        resumed, found = other.train_step(resumed)
        assert found == expected
    same_bits(resumed, state)


@each_case
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_evaluation_after_the_trained_steps_is_the_training_pass(method, variant, steps):
    """A learner that is not judged as it was trained is judged by the inner loop that its settings describe."""
    learner = make(method, variant, steps)
    vector = vector_of(learner)
    at_once = method.settings.at_once
    steps = 1 if at_once else max(steps, method.least_steps)
    errors = adaptation_errors(learner, vector, FixedTasks(*BATCH), SHOTS, steps)
    if method.judged_as_trained:
        found = call(learner, vector, BATCH)
        assert learner.trained_steps == steps
        assert errors[:, steps].mean() == pytest.approx(found.loss, rel=1e-12)
        further = adaptation_errors(learner, vector, FixedTasks(*BATCH), SHOTS, steps + 2)
        assert not at_once or (further[:, 1:] == errors[:, 1:]).all()
    else:
        trained = make(METHODS["gradient"]["exact"], variant, steps)
        assert learner.trained_steps == steps * (method.least_steps > 0)
        np.testing.assert_array_equal(errors, adaptation_errors(trained, vector, FixedTasks(*BATCH), SHOTS, steps))


@each_method
def test_the_rate_and_the_number_of_steps_can_be_others_than_in_training(method, variant):
    learner, other = make(method, variant, 1), make(method, variant, 4, lr=0.2)
    vector = vector_of(learner)
    ours = list(learner.adapt(vector, BATCH.x_support, BATCH.y_support, BATCH.x_query, 4, 0.2))
    theirs = list(other.adapt(vector, BATCH.x_support, BATCH.y_support, BATCH.x_query, 4))
    np.testing.assert_array_equal(ours, theirs)


@each_method
def test_options_that_a_learner_does_not_have_are_refused(method, variant):
    with pytest.raises(TypeError):
        make(method, {"nonsense": True})
