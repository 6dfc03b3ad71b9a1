"""What is confused with what, by script; and the axis that accuracies have."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from maml_exp.core.losses import ACCURACY, MEAN_SQUARED_ERROR
from maml_exp.core.tasks.base import FixedTasks
from maml_exp.run.figures import of_classes
from maml_exp.run.figures.drawing import set_error_limits, set_log_limits

SCRIPTS = {"a": "Latin", "b": "Latin", "c": "Greek"}


def tasks_of(classes, true):
    """Tasks whose queries have these labels; nothing is on their images."""
    labels = np.eye(len(classes[0]))[np.array(true)]
    return FixedTasks(np.empty(0), np.empty(0), np.empty(0), labels, classes=classes)


def test_shares_are_of_a_script_s_queries_and_right_ones_are_no_confusion():
    tasks = tasks_of([["a", "b", "c"], ["c", "a", "b"]], [[0, 1, 2, 0], [0, 1, 2, 0]])
    given = np.array([[0, 0, 1, 2], [0, 0, 2, 0]])  # a->a b->a c->b a->c, c->c a->c b->b c->c
    names, shares, counts = of_classes.confusion(tasks, given, SCRIPTS)
    assert (names, counts) == (["Latin", "Greek"], [5, 3])
    np.testing.assert_allclose(shares, [[100 * 1 / 5, 100 * 2 / 5], [100 * 1 / 3, 0]])


def test_scripts_beyond_the_most_frequent_are_one(monkeypatch):
    monkeypatch.setattr(of_classes, "MOST_SCRIPTS", 2)
    scripts = {"a": "Latin", "b": "Greek", "c": "Armenian"}
    tasks = tasks_of([["a", "b", "c"]], [[0, 0, 1, 2]])
    names, shares, counts = of_classes.confusion(tasks, np.array([[0, 2, 2, 0]]), scripts)
    assert (names, counts) == (["Latin", "others"], [2, 2])
    np.testing.assert_allclose(shares, [[0, 50], [50, 50]])


@pytest.mark.parametrize(("label", "name"), [(0, "A"), (25, "Z"), (26, "26")])
def test_labels_are_letters_as_far_as_there_are_some(label, name):
    assert of_classes.label_name(label) == name


def test_accuracies_have_a_linear_axis_that_holds_them_all_and_ends_at_a_hundred():
    axis = Figure().subplots()
    low, high = set_error_limits(axis, ACCURACY, [[0.8, 0.1], [0.004, np.nan]])
    assert 0 <= low < 20
    assert high == 100
    assert (axis.get_yscale(), axis.get_ylim()) == ("linear", (low, high))


def test_squared_errors_have_the_limits_that_they_had():
    found = [[0.5, 3.0], [4.4]]
    ours, theirs = Figure().subplots(), Figure().subplots()
    assert set_error_limits(ours, MEAN_SQUARED_ERROR, found, 5.0) == set_log_limits(theirs, found, 5.0)
    assert ours.get_yscale() == "log"
