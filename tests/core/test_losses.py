import numpy as np
import pytest

from maml_exp.core.losses import ACCURACY, MEAN_SQUARED_ERROR, CrossEntropy, SquaredError, mean_loss
from maml_exp.core.statistics import Estimate, Interval, statistics

from .helpers import complex_step_gradient, relative_error

LOSS = SquaredError()


def one_hot(rng, shape):
    """Targets (T, K, N) of random classes."""
    return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]


def numbers(rng, shape):
    return rng.standard_normal(shape)


def mean_square(z, y):
    return np.mean((z - y) ** 2)


def cross_entropy(z, y):
    """Of one task, class by class."""
    total = 0
    for outputs, target in zip(z, y, strict=True):
        p = np.exp(outputs) / sum(np.exp(output) for output in outputs)
        total -= np.log(p[int(np.argmax(target))])
    return total / len(z)


LOSSES = [(SquaredError(), numbers, mean_square), (CrossEntropy(), one_hot, cross_entropy)]
each_loss = pytest.mark.parametrize(("loss", "targets", "slow"), LOSSES, ids=["squared", "cross-entropy"])


@each_loss
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 2)])
def test_mean_is_the_mean_over_tasks_and_their_points(shape, loss, targets, slow):
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal(shape), targets(rng, shape)
    exact = np.mean([slow(*task) for task in zip(z, y, strict=True)])
    assert mean_loss(loss, z, y) == pytest.approx(exact, rel=1e-13)
    found = loss.error(z, y, 1.0, out=np.empty(shape))
    first = np.mean([slow(a[:1], b[:1]) for a, b in zip(z, y, strict=True)])
    assert loss.mean(found, 1) == pytest.approx(first, rel=1e-13)
    assert loss.mean(found, shape[1] + 1) == loss.mean(found)  # of more points than there are: of all
    np.testing.assert_allclose(loss.means(found), [slow(*task) for task in zip(z, y, strict=True)], rtol=1e-13)


@each_loss
@pytest.mark.parametrize("factor", [1.0, -0.05])
@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 4, 2), (2, 3, 5)])
def test_error_is_the_factor_times_the_complex_step_of_the_tasks_losses(shape, factor, loss, targets, slow):
    rng = np.random.default_rng(1)
    z, y, out = rng.standard_normal(shape), targets(rng, shape), np.full(shape, np.nan)
    loss.error(z, y, loss.scale(factor, *shape[1:]), out=out)

    def total(flat):  # the sum over tasks: d of one task's loss does not know of the others
        return sum(slow(*task) for task in zip(flat.reshape(shape), y, strict=True))

    assert relative_error(out.ravel(), factor * complex_step_gradient(total, z.ravel())) < 1e-13


@each_loss
def test_r_error_is_the_derivative_of_the_error_along_a_direction(loss, targets, slow):
    rng, shape, h = np.random.default_rng(2), (3, 4, 2), 1e-30
    z, rz = rng.standard_normal((2, *shape))
    y, moved, out, scale = targets(rng, shape), np.empty(shape, complex), np.empty(shape), loss.scale(-0.05, 4, 2)
    loss.error(z + 1j * h * rz, y, scale, out=moved)
    loss.r_error(rz, loss.error(z, y, scale, out=np.empty(shape)), scale, out=out)
    assert relative_error(out, moved.imag / h) < 1e-14


def test_a_cross_entropy_of_outputs_that_exp_cannot_take_is_finite():
    z, y = np.array([[[1000.0, 0.0, -1000.0]]], np.float32), np.array([[[0, 1, 0]]], np.float32)
    out = np.empty_like(z)
    found = CrossEntropy().error(z, y, 1.0, out=out)
    assert CrossEntropy().mean(found) == 1000
    np.testing.assert_array_equal(out, [[[1, -1, 0]]])


def test_errors_by_task_are_means_over_points_and_outputs():
    rng = np.random.default_rng(3)
    prediction, target = rng.standard_normal((2, 5, 7, 3))
    exact = [sum(float(r) ** 2 for r in (p - t).ravel()) / 21 for p, t in zip(prediction, target, strict=True)]
    np.testing.assert_allclose(LOSS.by_task(prediction, target), exact, rtol=1e-14)


def test_of_classes_the_share_of_points_in_a_wrong_one_is_reported():
    loss, target = CrossEntropy(), np.eye(3)[[[0, 1, 2, 0]] * 3]
    prediction = np.eye(3)[[[0, 1, 2, 0], [0, 1, 0, 1], [0, 1, 2, 0]]].astype(np.float32)
    prediction[2, 3] = np.inf, np.nan, 0
    np.testing.assert_array_equal(loss.by_task(prediction, target), [0, 0.5, np.nan])
    weights = np.array([[1, 1, 1, 0]] * 3)
    np.testing.assert_allclose(loss.by_task(prediction, target, weights)[:2], [0, 1 / 3])
    np.testing.assert_allclose(loss.unadapted(target), 0.5)
    np.testing.assert_allclose(loss.unadapted(target, weights), 2 / 3)


def test_an_accuracy_is_what_is_left_of_an_error_rate_and_its_ends_change_places():
    assert [ACCURACY.of(error) for error in (0.0, 0.25, 1.0)] == [100, 75, 0]
    assert ACCURACY.shown(Estimate(3, 0.25, 0.02)) == Estimate(3, 75, 2)
    assert ACCURACY.shown(Interval(0.25, 0.2, 0.5)) == Interval(75, 50, 80)
    assert ACCURACY.shown(Interval(-0.25, -0.5, 0.125), difference=True) == Interval(25, -12.5, 50)
    errors = np.array([[0.5, 0.0], [0.25, 0.25], [0.75, 0.5], [1.0, 0.25]])
    result, shown = statistics(errors, 0.8), ACCURACY.shown(statistics(errors, 0.8))
    np.testing.assert_allclose(shown.mean, 100 * (1 - errors.mean(axis=0)))
    np.testing.assert_allclose(
        (shown.iqm_low, shown.iqm_high), (100 - 100 * result.iqm_high, 100 - 100 * result.iqm_low)
    )
    np.testing.assert_array_equal(shown.diverged, result.diverged)
    assert (ACCURACY.rises, MEAN_SQUARED_ERROR.rises) == (True, False)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-30, 6.31e12, -0.0, np.inf])
def test_a_squared_error_is_shown_to_the_bit(value):
    assert MEAN_SQUARED_ERROR.shown(Estimate(3, value, value)) == Estimate(3, value, value)


def test_a_pass_without_points_has_a_scale():
    assert LOSS.scale(1.0, 0, 2) == 1.0  # an adapting loop's query pass is never run, but made
    assert CrossEntropy().scale(1.0, 0, 2) == 1.0
