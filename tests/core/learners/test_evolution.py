"""Evolution as the outer loop: it is the central difference of the exact gradient, the same bits with any threads."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.learners import LEARNERS, gradient, learned_optimizer, recurrent, ridge
from maml_exp.core.learners._evolved import EvolvedLearner, estimate, shaped
from maml_exp.core.learners.base import FITNESS, EvolutionSettings
from maml_exp.core.losses import SquaredError
from maml_exp.core.network import Network
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import Trainer, make_learner

from ..helpers import complex_step_gradient, problem_of, random_batch, relative_error

NETWORK = Network((2, 6, 3), "tanh")
BATCH = random_batch(1, 3, 4, 6)
LEARNED = {
    "maml": gradient.Settings(),
    "learned rates": gradient.Settings(rates="layer_and_step", learn_rates=True),
    "two heads": gradient.Settings(support_loss="head"),
    "ridge": ridge.Settings(),
    "recurrent": recurrent.Settings(units=3),
    "learned_optimizer": learned_optimizer.Settings(units=2),
}
each_learner = pytest.mark.parametrize("algorithm", LEARNED.values(), ids=LEARNED)


def make(algorithm, threads=None, dtype="float64", **evolution):
    algorithm = replace(algorithm, evolution=EvolutionSettings(**{"population": 8, "sigma": 0.1, **evolution}))
    problem = problem_of(NETWORK, algorithm, BATCH, 0.1, 2, dtype)
    return EvolvedLearner(problem, partial(LEARNERS.get(algorithm.learner).Learner, problem), threads)


def somewhere(learner):
    vector = learner.init(np.random.default_rng(2))
    return vector + 0.2 * np.random.default_rng(3).standard_normal(vector.size).astype(vector.dtype)


def call(learner, vector, seed=4):
    return learner.meta_gradient(vector, BATCH, np.random.default_rng(seed), 0.0)


@each_learner
def test_with_unit_vectors_it_is_the_central_difference_of_the_exact_gradient(algorithm):
    learner = make(algorithm, sigma=1e-6, fitness="plain")
    vector = somewhere(learner)
    units = np.sqrt(vector.size) * np.eye(vector.size)
    losses = learner.losses(vector, units, BATCH)
    found = estimate(units, shaped(losses, "plain"), learner.settings.sigma)
    exact = learner.inner.meta_gradient(vector, BATCH, np.random.default_rng(0), 0.0).vector
    assert relative_error(found, exact) < 1e-7


def test_the_difference_s_error_falls_with_the_square_of_sigma():
    learner = make(gradient.Settings(), fitness="plain")
    vector = somewhere(learner)
    exact = learner.inner.meta_gradient(vector, BATCH, np.random.default_rng(0), 0.0).vector
    units, errors = np.sqrt(vector.size) * np.eye(vector.size), []
    for sigma in (2e-3, 1e-3):
        learner = make(gradient.Settings(), fitness="plain", sigma=sigma)
        errors.append(relative_error(estimate(units, learner.losses(vector, units, BATCH), sigma), exact))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


@each_learner
@pytest.mark.parametrize("fitness", FITNESS)
def test_the_direction_is_the_complex_step_of_its_reference(algorithm, fitness):
    learner = make(algorithm, fitness=fitness)
    vector = somewhere(learner)

    def loss(moved):
        return learner.reference_loss(moved, BATCH, np.random.default_rng(4), 0.0, vector)

    assert relative_error(call(learner, vector).vector, complex_step_gradient(loss, vector)) < 1e-10


def test_the_mean_of_many_estimates_is_the_gradient_and_one_has_the_cosine_that_it_should():
    """Cosine about 1 / sqrt(1 + (P + 1) / n)."""
    learner = make(gradient.Settings(), population=400, sigma=1e-3, fitness="plain")
    vector = somewhere(learner)
    exact = learner.inner.meta_gradient(vector, BATCH, np.random.default_rng(0), 0.0).vector
    found = [call(learner, vector, seed).vector for seed in range(4)]
    cosines = [exact @ one / np.linalg.norm(exact) / np.linalg.norm(one) for one in found]
    assert np.mean(cosines) == pytest.approx(1 / np.sqrt(1 + (vector.size + 1) / 400), rel=0.03)
    mean = np.mean(found, axis=0)
    assert exact @ mean / (exact @ exact) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_the_number_of_threads(dtype):
    vector = somewhere(make(gradient.Settings(), dtype=dtype))
    batch = Batch(*(part.astype(dtype) for part in BATCH))
    found = []
    for threads in (1, 2, 5):
        learner = make(gradient.Settings(), threads, dtype, population=23)
        found.append(learner.meta_gradient(vector, batch, np.random.default_rng(4), 0.0))
    assert found[0].vector.dtype == dtype
    assert len({one.vector.tobytes() for one in found}) == len({one[1:3] for one in found}) == 1
    assert found[0].extras == found[1].extras == found[2].extras


def test_ranks_are_centred_and_a_loss_that_is_not_finite_is_the_worst():
    losses = np.array([[3.0, 1.0], [np.nan, 2.0], [np.inf, 10.0]])
    assert shaped(losses[:1], "ranks").tolist() == [[0.5, -0.5]]
    ranked = shaped(losses, "ranks")
    assert ranked[0].tolist() == pytest.approx([2 / 5 - 0.5, -0.5])
    assert ranked[1, 0] == ranked[2, 0] == ranked[2, 1]
    normalised = shaped(losses, "normalised")
    assert (normalised.mean(), normalised.std()) == pytest.approx((0, 1), abs=1e-12)
    assert shaped(losses, "plain").tolist() == [[3, 1], [10, 2], [10, 10]]
    assert np.isnan(shaped(np.full((2, 2), np.nan), "ranks")).all()


@pytest.mark.parametrize(
    "axes",
    [{"outer": "first_order"}, {"outer": "reptile"}, {"outer": "joint"}, {"step_losses": "all"}, {"minibatch": 2}],
)
def test_settings_of_a_gradient_are_refused(axes):
    (key,) = axes
    with pytest.raises(SettingError, match=rf"algorithm\.{key}=.* with algorithm\.evolution\.population=8"):
        make(gradient.Settings(**axes))


@each_learner
def test_it_trains_and_the_whole_vector_moves(algorithm):
    problem = make(algorithm, population=6).problem
    trainer = Trainer(replace(problem, iterations=5))
    assert isinstance(trainer.learner, EvolvedLearner)
    assert "evolved by 6 pairs" in trainer.learner.describes
    state, resumed = trainer.init(0), Trainer(problem).init(0)
    first = state.vector
    for _ in range(3):
        state, _ = trainer.train_step(state)
    for _ in range(3):
        resumed, _ = Trainer(replace(problem, iterations=5)).train_step(resumed)  # nothing is kept in the trainer
    assert state.vector.tobytes() == resumed.vector.tobytes()
    assert (state.vector != first).all()  # rates, too: what is inherited learns to learn


class OneRunSquaredError(SquaredError):
    """A loss as the protocol wants it at least."""

    by_point = False

    def mean(self, found, points=None):
        assert found.ndim == 3
        return super().mean(found, points)


def test_a_loss_that_knows_no_runs_is_evolved_one_member_at_a_time():
    learner, alone = make(gradient.Settings()), make(gradient.Settings())
    alone.problem.family.loss = OneRunSquaredError()
    found, expected = (
        one.losses(v, one.perturbations(np.random.default_rng(4), v), BATCH)
        for one, v in ((alone, somewhere(learner)), (learner, somewhere(learner)))
    )
    assert found.tobytes() == expected.tobytes()


def test_a_learner_that_fails_is_not_lost():
    learner = make(gradient.Settings(), threads=1)
    vector = somewhere(learner)
    for _ in range(3):
        with pytest.raises(ValueError, match="shape"):
            learner.losses(vector, np.ones((3, vector.size + 1)), BATCH)
    assert np.isfinite(call(learner, vector).loss)


def test_without_a_population_it_is_the_learner_itself():
    problem = make(gradient.Settings(), population=0).problem
    assert type(make_learner(problem)) is gradient.Learner
