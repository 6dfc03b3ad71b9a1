"""Numbers in tables: an interval is shown where there is one."""

import math

import pytest

from maml_exp.data.text_table import with_margin


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [
        (20.0, 0.512, "20.0 ± 0.51"),
        (20.0, 6.2e-14, "20.0 ± 0.0"),  # rounding, of values that are all alike
        (0.0, 0.0, "0.00 ± 0.0"),
        (3.88, math.inf, "3.88"),  # of one task
        (3.88, math.nan, "3.88"),
        (math.inf, math.inf, "inf ± inf"),
    ],
)
def test_a_mean_and_its_margin(mean, half_width, text):
    assert with_margin(mean, half_width) == text
