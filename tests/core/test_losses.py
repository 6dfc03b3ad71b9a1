import numpy as np
import pytest

from maml_exp.core.losses import SquaredError

from .helpers import complex_step_gradient, relative_error

LOSS = SquaredError()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 2)])
def test_mean_is_the_mean_over_everything(shape):
    residual = np.random.default_rng(0).standard_normal(shape)
    total = sum(float(value) ** 2 for value in residual.ravel())
    assert LOSS.mean(residual) == pytest.approx(total / np.prod(shape), rel=1e-14)


@pytest.mark.parametrize("factor", [1.0, -0.05])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 2)])
def test_error_is_the_factor_times_the_complex_step_of_the_tasks_losses(shape, factor):
    rng = np.random.default_rng(1)
    z, y, out = rng.standard_normal(shape), rng.standard_normal(shape), np.full(shape, np.nan)
    scale = LOSS.scale(factor, *shape[1:])
    residual = LOSS.error(z, y, scale, out)

    def loss(flat):  # the sum over tasks: d of one task's loss does not know of the others
        return sum(np.mean((task - target) ** 2) for task, target in zip(flat.reshape(shape), y, strict=True))

    assert relative_error(out.ravel(), factor * complex_step_gradient(loss, z.ravel())) < 1e-13
    np.testing.assert_array_equal(residual, z - y)


def test_r_error_is_the_derivative_of_the_error_along_a_direction():
    rng, shape, h = np.random.default_rng(2), (3, 4, 2), 1e-30
    z, y, rz = rng.standard_normal((3, *shape))
    moved, out, scale = np.empty(shape, complex), np.empty(shape), LOSS.scale(-0.05, 4, 2)
    LOSS.error(z + 1j * h * rz, y, scale, moved)
    LOSS.r_error(rz, scale, out)
    assert relative_error(out, moved.imag / h) < 1e-14


def test_errors_by_task_are_means_over_points_and_outputs():
    rng = np.random.default_rng(3)
    prediction, target = rng.standard_normal((2, 5, 7, 3))
    exact = [sum(float(r) ** 2 for r in (p - t).ravel()) / 21 for p, t in zip(prediction, target, strict=True)]
    np.testing.assert_allclose(LOSS.by_task(prediction, target), exact, rtol=1e-14)


def test_a_pass_without_points_has_a_scale():
    assert LOSS.scale(1.0, 0, 2) == 1.0  # an adapting loop's query pass is never run, but made
