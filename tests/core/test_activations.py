import numpy as np
import pytest

from maml_exp.core.activations import ACTIVATIONS

H = 1e-30
# away from 0, where ReLU has its kink; far enough out that a naive exp overflows
MAGNITUDES = np.concatenate([np.linspace(0.01, 6, 100), [10.0, 20.0, 40.0, 300.0, 710.0, 1000.0]])
GRID = np.concatenate([-MAGNITUDES[::-1], MAGNITUDES])

CLOSED_FORMS = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "tanh": lambda z: 1 - 2 / (np.exp(np.minimum(2 * z, 700)) + 1),
    "softplus": lambda z: np.logaddexp(0, z),
    "sine": np.sin,
}
each_activation = pytest.mark.parametrize("name", sorted(ACTIVATIONS))


def slope_of(name, z):
    return ACTIVATIONS[name].slope(z, ACTIVATIONS[name].value(z))


def curvature_of(name, z):
    curvature = ACTIVATIONS[name].curvature
    return np.zeros_like(z) if curvature is None else curvature(ACTIVATIONS[name].value(z), slope_of(name, z))


@each_activation
def test_value_is_the_closed_form(name):
    np.testing.assert_allclose(ACTIVATIONS[name].value(GRID), CLOSED_FORMS[name](GRID), rtol=1e-14, atol=1e-14)


@each_activation
def test_slope_is_the_complex_step_of_the_value(name):
    exact = ACTIVATIONS[name].value(GRID + 1j * H).imag / H
    np.testing.assert_allclose(slope_of(name, GRID), exact, rtol=1e-13, atol=1e-14)


@each_activation
def test_curvature_is_the_complex_step_of_the_slope(name):
    exact = slope_of(name, GRID + 1j * H).imag / H
    np.testing.assert_allclose(curvature_of(name, GRID), exact, rtol=1e-13, atol=1e-14)


@each_activation
def test_curvature_is_the_central_difference_of_the_slope(name):
    z, h = GRID[np.abs(GRID) > 0.02], 1e-5  # the complex step above shares the slope's code; this needs only values
    value = ACTIVATIONS[name].value
    second_difference = (value(z + h) - 2 * value(z) + value(z - h)) / h**2
    close = np.abs(z) < 7  # further out rounding of the value swamps the difference
    np.testing.assert_allclose(curvature_of(name, z)[close], second_difference[close], atol=5e-5)


@pytest.mark.parametrize(
    ("name", "exact", "h"),
    [
        ("tanh", 1, H),
        ("tanh", 1, -H),
        ("sine", 1, H),
        ("sine", 1, -H),
        ("softplus", 0.5, H),
        ("softplus", 0.5, -H),
        ("relu", 0, -H),  # the kink: f'(0) = 0 by convention, in the complex step as in the slope
        ("relu", 0, H),
    ],
)
def test_the_branch_at_zero_is_chosen_by_the_real_part(name, exact, h):
    zero = np.zeros(1)
    assert slope_of(name, zero) == pytest.approx(exact, rel=1e-15)
    assert slope_of(name, zero + 1j * h).real == pytest.approx(exact, rel=1e-15)
    assert ACTIVATIONS[name].value(zero + 1j * h).imag / h == pytest.approx(exact, rel=1e-15)


@each_activation
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_out_receives_the_same_numbers_in_the_same_dtype(name, dtype):
    activation, z = ACTIVATIONS[name], GRID.astype(dtype)
    value, slope = activation.value(z), slope_of(name, z)
    value_out, slope_out = np.full_like(z, np.nan), np.full_like(z, np.nan)
    assert activation.value(z, out=value_out) is value_out
    assert activation.slope(z, value, out=slope_out) is slope_out
    np.testing.assert_array_equal(value_out, value)
    np.testing.assert_array_equal(slope_out, slope)
    assert value.dtype == slope.dtype == curvature_of(name, z).dtype == dtype


@each_activation
def test_value_may_overwrite_its_argument(name):
    z = GRID.copy()
    ACTIVATIONS[name].value(z, out=z)
    np.testing.assert_array_equal(z, ACTIVATIONS[name].value(GRID))


@each_activation
def test_complex_arguments_give_the_real_results_as_real_parts(name):
    z = GRID + 1j * H
    np.testing.assert_allclose(ACTIVATIONS[name].value(z).real, ACTIVATIONS[name].value(GRID), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(slope_of(name, z).real, slope_of(name, GRID), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(curvature_of(name, z).real, curvature_of(name, GRID), rtol=1e-13, atol=1e-14)
