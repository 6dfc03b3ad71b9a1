import math

import numpy as np
import pytest

from maml_exp.core.evaluation import adaptation_errors, evaluate
from maml_exp.core.inner.layers.choice import make_layer
from maml_exp.core.inner.layers.pairs import PairedLayer
from maml_exp.core.inner.passes import Pass, support_passes
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners.gradient import Learner
from maml_exp.core.learners.gradient import Settings as GradientSettings
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.proof import reference
from maml_exp.core.statistics import statistics as statistics_of
from maml_exp.core.tasks.base import FixedTasks
from maml_exp.core.tasks.sinusoid import Family, Settings

from .helpers import relative_error


def statistics(errors):
    """Statistics in which only an error that is not finite counts as diverged."""
    return statistics_of(errors, np.inf)


SETTINGS = Settings(frequency=[0.5, 2.0])
FAMILY = Family(SETTINGS)
LR = 0.05  # the learner's own rate
NARROW, WIDE = (8, 6), (40, 40)
each_activation = pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
each_width = pytest.mark.parametrize("hidden", [NARROW, WIDE], ids=["multiplied_out", "pairs"])


def problem(hidden, activation, tasks=12, shots=5, grid=30, dtype=np.float64):
    """A learner whose own rate is LR, initial parameters, and held-out tasks."""
    model, parts = ModelSettings(list(hidden), activation), (GradientSettings(), InnerSettings(LR), SETTINGS)
    learner = Learner(Problem(model, *parts, adam.Settings(), 25, dtype=np.dtype(dtype).name))
    return learner, learner.init(np.random.default_rng(0)), held_out(1, tasks, shots, grid)


def held_out(seed, tasks, shots, grid, family=FAMILY):
    return family.held_out("test", seed, tasks, shots, grid)


def reference_predictions(learner, theta, tasks, shots, lr, step):
    """(N, G, 1) after `step` gradient steps, one task at a time."""
    predictions, network = [], learner.network
    for x, y, grid in zip(tasks.x_support[:, :shots], tasks.y_support[:, :shots], tasks.x_query, strict=True):
        predictions.append(network.predict(reference.adapted(network, theta, x, y, lr, step), grid))
    return np.array(predictions)


@pytest.mark.parametrize(("hidden", "pairs"), [(NARROW, False), (WIDE, True)])
def test_the_two_widths_stand_for_the_two_representations(hidden, pairs):
    layer = make_layer(*hidden, (12,), [*support_passes(3, 5, 0.1), Pass(3, 0, 1.0)], np.float64)
    assert isinstance(layer, PairedLayer) is pairs


@each_width
@each_activation
def test_errors_and_predictions_are_the_references(hidden, activation):
    learner, theta, tasks = problem(hidden, activation)
    steps, lr = 3, 0.03
    errors = adaptation_errors(learner, theta, tasks, 5, steps, lr)
    adapting = learner.adapt(theta, tasks.x_support, tasks.y_support, tasks.x_query, steps, lr)
    predictions = [prediction.copy() for prediction in adapting]
    assert (errors.shape, len(predictions)) == ((12, steps + 1), steps + 1)
    for step in range(steps + 1):
        exact = reference_predictions(learner, theta, tasks, 5, lr, step)
        assert relative_error(predictions[step], exact) < 1e-10
        assert relative_error(errors[:, step], np.mean((exact - tasks.y_query) ** 2, axis=(1, 2))) < 1e-10
    assert relative_error(errors[:, steps], errors[:, 0]) > 0.01  # the steps did something


@each_width
def test_without_a_rate_the_learners_own_is_taken(hidden):
    learner, theta, tasks = problem(hidden, "tanh")
    for errors in (adaptation_errors, lambda *args: evaluate(*args[:3], [5], *args[4:])[5]):
        np.testing.assert_array_equal(errors(learner, theta, tasks, 5, 2), errors(learner, theta, tasks, 5, 2, LR))
        assert relative_error(errors(learner, theta, tasks, 5, 2, 0.03), errors(learner, theta, tasks, 5, 2)) > 1e-3


@each_width
def test_only_the_first_shots_are_adapted_to(hidden):
    learner, theta, tasks = problem(hidden, "tanh", shots=9)
    errors = adaptation_errors(learner, theta, tasks, 4, 2, 0.03)
    exact = reference_predictions(learner, theta, tasks, 4, 0.03, 2)
    assert relative_error(errors[:, 2], np.mean((exact - tasks.y_query) ** 2, axis=(1, 2))) < 1e-10


@each_width
def test_a_task_has_the_same_errors_in_every_chunk(hidden):
    learner, theta, tasks = problem(hidden, "tanh", tasks=150)  # chunks hold 8 to 64 tasks
    together = adaptation_errors(learner, theta, tasks, 5, 2, 0.03)
    alone = []
    for i in range(150):
        one = FixedTasks(*(part[i, None] for part in tasks[:4]))
        alone.append(adaptation_errors(learner, theta, one, 5, 2, 0.03)[0])
    np.testing.assert_allclose(together, alone, rtol=1e-11)


def test_evaluate_is_one_table_for_each_number_of_shots():
    learner, theta, tasks = problem(NARROW, "tanh", shots=10)
    results = evaluate(learner, theta, tasks, [10, 5], 2, 0.03)
    assert list(results) == [10, 5]
    fewer = held_out(1, 12, 5, 30)
    np.testing.assert_array_equal(results[5], adaptation_errors(learner, theta, fewer, 5, 2, 0.03))
    np.testing.assert_array_equal(results[10], adaptation_errors(learner, theta, tasks, 10, 2, 0.03))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_fewer_fixed_tasks_or_shots_are_the_first_of_more(seed):
    many, few = held_out(seed, 50, 20, 11), held_out(seed, 7, 5, 11)
    np.testing.assert_array_equal(few.x_support, many.x_support[:7, :5])
    np.testing.assert_array_equal(few.y_support, many.y_support[:7, :5])
    np.testing.assert_array_equal(few.y_query, many.y_query[:7])


def test_fixed_tasks_follow_their_seed_and_never_repeat_a_number():
    first, again, other = [held_out(seed, 50, 20, 11) for seed in (3, 3, 4)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    drawn = np.concatenate([first.x_support.ravel(), other.x_support.ravel()])
    assert len(np.unique(drawn)) == drawn.size


def test_fixed_tasks_support_and_grid_are_the_same_curve():
    tasks = held_out(0, 20, 6, 25, Family(Settings(frequency=[2.0, 2.0])))

    def basis(x):
        return np.concatenate([np.sin(2 * x), np.cos(2 * x)], axis=-1)

    assert (tasks.x_query == tasks.x_query[:1]).all()
    np.testing.assert_allclose(np.diff(tasks.x_query[0, :, 0]), 10 / 24, rtol=1e-12)
    assert tasks.x_query[0, [0, -1], 0].tolist() == [-5, 5]
    assert np.abs(tasks.x_support).max() <= 5
    for x, y, y_query in zip(tasks.x_support, tasks.y_support, tasks.y_query, strict=True):
        coefficients, *_ = np.linalg.lstsq(basis(x), y, rcond=None)  # A sin(2x - phi) through the support points
        np.testing.assert_allclose(basis(tasks.x_query[0]) @ coefficients, y_query, atol=1e-10)
        assert 0.1 <= np.linalg.norm(coefficients) <= 5


@each_width
@each_activation
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_huge_inner_rate_diverges_in_silence_and_is_counted(hidden, activation, dtype):
    learner, theta, tasks = problem(hidden, activation, tasks=10, dtype=dtype)
    errors = adaptation_errors(learner, theta, tasks, 5, 25, 1e30)
    result = statistics(errors)  # a warning would be an error here: see pyproject
    assert result.diverged[0] == 0
    assert np.isfinite(result.mean[0])
    assert result.diverged[-1] == 10
    assert (result.mean[-1], result.ci95[-1], result.median[-1], result.p95[-1]) == (np.inf,) * 4


@pytest.mark.parametrize("order", [1, -1])
def test_statistics_have_their_closed_forms(order):
    n = 101
    errors = np.stack([np.arange(n)[::order], np.full(n, 7.0)], axis=1)
    result = statistics(errors)
    variance = n * (n + 1) / 12  # of 0 .. n-1, divided by n - 1
    expected = {
        "mean": [50, 7],
        "ci95": [1.96 * math.sqrt(variance / n), 0],
        "median": [50, 7],
        "p95": [95, 7],
        "diverged": [0, 0],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(result, name), values, rtol=1e-14, err_msg=name)


@pytest.mark.parametrize(("values", "median"), [([4.0, 1.0, 3.0, 2.0], 2.5), ([9.0, 1.0, 2.0], 2.0)])
def test_median_is_the_middle_or_the_mean_of_both_middles(values, median):
    assert statistics(np.array(values)[:, None]).median[0] == median


@pytest.mark.parametrize("n", [1, 2, 19, 20, 21, 600])
def test_p95_is_an_error_that_at_most_a_twentieth_exceed(n):
    errors = np.random.default_rng(n).exponential(size=(n, 1))
    (p95,) = statistics(errors).p95
    assert p95 in errors
    assert (errors > p95).sum() <= n / 20 < (errors >= p95).sum() + 1


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_diverged_task_counts_as_infinite_and_leaves_the_median(bad):
    errors = np.array([[1.0, 1.0], [2.0, 2.0], [bad, 3.0], [3.0, 4.0], [4.0, 5.0]])
    result = statistics(errors)
    assert result.diverged.tolist() == [1, 0]
    assert result.mean.tolist() == [np.inf, 3]
    assert result.median.tolist() == [3, 3]
    assert result.p95.tolist() == [np.inf, 5]
    assert result.ci95[0] == np.inf
    assert result.ci95[1] == pytest.approx(1.96 * math.sqrt(2.5 / 5), rel=1e-14)
    assert np.isnan(errors[2, 0]) == np.isnan(bad)  # the errors given are left as they are


def test_one_task_has_no_confidence_interval():
    result = statistics(np.array([[2.0, 3.0]]))
    assert result.ci95.tolist() == [np.inf, np.inf]
    assert result.mean.tolist() == [2, 3]


def test_two_tasks_have_one():
    # sd = |a - b| / sqrt(2), so the half width is 1.96 |a - b| / 2
    assert statistics(np.array([[2.0], [5.0]])).ci95[0] == pytest.approx(1.96 * 3 / 2, rel=1e-14)


@pytest.mark.parametrize("tasks", [1, 31, 33, 64, 67])
def test_every_task_is_evaluated_once_whatever_the_chunks(tasks):
    learner, theta, all_tasks = problem(WIDE, "relu", tasks=67, grid=100)
    some = FixedTasks(*(part[:tasks] for part in all_tasks[:4]))
    errors = adaptation_errors(learner, theta, some, 5, 1, 0.03)
    for step in (0, 1):
        exact = reference_predictions(learner, theta, some, 5, 0.03, step)
        assert relative_error(errors[:, step], np.mean((exact - some.y_query) ** 2, axis=(1, 2))) < 1e-10
