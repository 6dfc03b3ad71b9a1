"""The norm of a vector whose squares leave the range of its dtype."""

import math

import numpy as np
import pytest

from maml_exp.core.arrays import norm

ROWS = [  # dtype, vector, norm
    (np.float32, [3.0, 4.0], 5.0),
    (np.float32, [3e30, 4e30], 5e30),  # squares beyond 3.4e38
    (np.float32, [3e-30, 4e-30], 5e-30),  # squares below 1.4e-45
    (np.float64, [3e200, -4e200], 5e200),
    (np.float64, [3e-200, -4e-200], 5e-200),
    (np.float32, [0.0, 0.0], 0.0),
    (np.float64, [], 0.0),
]


@pytest.mark.parametrize(("dtype", "vector", "expected"), ROWS)
def test_the_norm_is_finite_where_the_vector_is(dtype, vector, expected):
    with np.errstate(over="ignore"):
        found = norm(np.array(vector, dtype))
    assert found == pytest.approx(expected, rel=1e-6)
    assert type(found) is float


@pytest.mark.parametrize("entry", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_of_what_is_not_finite_is_not(dtype, entry):
    assert not math.isfinite(norm(np.array([1.0, entry], dtype)))
