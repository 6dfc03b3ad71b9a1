import numpy as np
import pytest

from maml_exp.core.proof import reference

from ..helpers import complex_step_gradient, random_problem, reference_meta_loss, relative_error

LR, STEPS = 0.05, 2


@pytest.mark.parametrize("outer", ["maml", "fomaml", "", "Exact", None, 1])
def test_an_unknown_outer_gradient_is_refused_and_not_taken_for_another(outer):
    network, theta, batch = random_problem((6, 4), "tanh")
    with pytest.raises(ValueError, match="there is no reference for outer="):
        reference_meta_loss(network, outer, theta, batch, LR, STEPS, theta)


def test_the_references_of_all_outer_gradients_differ():
    network, theta, batch = random_problem((6, 4), "tanh")
    gradients = [
        complex_step_gradient(
            lambda moved, outer=outer: reference_meta_loss(network, outer, moved, batch, LR, STEPS, theta), theta
        )
        for outer in ("exact", "first_order", "reptile", "joint")
    ]
    for i, one in enumerate(gradients):
        for other in gradients[:i]:
            assert relative_error(one, other) > 0.01


def test_the_first_order_loss_at_its_base_is_the_exact_one():
    network, theta, batch = random_problem((6, 4), "tanh")
    exact, first_order = (
        reference_meta_loss(network, outer, theta, batch, LR, STEPS, theta) for outer in ("exact", "first_order")
    )
    assert first_order == pytest.approx(exact, rel=1e-14)


def test_the_complex_step_is_the_derivative_along_a_direction():
    point, direction = np.array([0.3, -1.2]), np.array([2.0, 0.5])
    found = reference.complex_step(lambda x: np.sin(x[0]) * x[1] ** 3, point, direction)
    assert found == pytest.approx(2 * np.cos(0.3) * -(1.2**3) + 0.5 * np.sin(0.3) * 3 * 1.2**2, rel=1e-14)


def test_probabilities_of_a_point_do_not_depend_on_other_points():
    z = np.array([[0.0, 1.0], [2000.0, 0.0]])
    np.testing.assert_allclose(reference.softmax(z), [[1 / (1 + np.e), np.e / (1 + np.e)], [1, 0]], rtol=1e-15)
