"""Figures of single tasks: what leaves the view is named."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from maml_exp.config.composing import compose
from maml_exp.core.training import make_learner
from maml_exp.run.figures import of_tasks


def shown_texts(draw, changed):
    """What stands in the panel of a task whose predictions after given steps are changed."""
    config = compose(["evaluation.steps=2"])
    learner = make_learner(config.problem)
    predicted = of_tasks.Predicted.of(config, learner, np.zeros(learner.layout.size, np.float32), 0.01, 1)
    true = learner.problem.family.to_own_outputs(predicted.tasks.y_query)
    made = [change(true) for change in changed]
    axis = Figure().subplots()
    draw(axis, predicted._replace(made=made), 0, made[-1:])
    return [text.get_text() for text in axis.texts]


@pytest.mark.parametrize(
    ("shown", "ends", "view"),
    [
        ([0.0, 1.0], [], (-0.3, 1.3)),
        ([0.0, 1.0], [[0.5, 0.6]], (-0.3, 1.3)),
        ([0.0, 1.0], [[0.5, 2.0], [-1.0, 0.0]], (-1.05, 2.05)),
        ([0.0, 1.0], [[0.5, 2.6], [np.nan, 2.0], [-1e30, 0.0]], (-0.3, 1.3)),  # what goes far leaves the view
        ([3e-5, 4e-5], [], (2.7e-5, 4.3e-5)),
        ([3.0, 3.0], [[3.0, 4.0]], (2.1, 4.15)),
    ],
)
def test_the_view_holds_what_is_known_and_predictions_that_are_near(shown, ends, view):
    found = of_tasks.view_of(np.array(shown), [np.array(end) for end in ends])
    assert found == pytest.approx(view, rel=1e-12)


@pytest.mark.parametrize("draw", [of_tasks.draw_task, of_tasks.draw_predicted])
def test_a_prediction_that_is_not_in_the_view_is_named(draw):
    same, far, lost = (lambda y: y), (lambda y: y + 1e3), (lambda y: y * np.nan)
    by_one = lambda y: np.where(np.arange(y.shape[1])[:, None] == 3, y, 1e9)  # noqa: E731
    assert shown_texts(draw, [same, same, same]) == []
    assert shown_texts(draw, [same, by_one, by_one]) == []
    assert shown_texts(draw, [same, same, far]) == ["2 steps: beyond the view"]
    assert shown_texts(draw, [far, far, lost]) == [
        "before: beyond the view",
        "1 step (trained for): beyond the view",
        "2 steps: beyond the view",
    ]
