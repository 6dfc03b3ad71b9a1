"""Baselines of classification against slow and obvious versions, and on points for which the answer is known."""

import numpy as np
import pytest

from maml_exp.core.baselines import BASELINES
from maml_exp.core.baselines._training.classes import class_means, few_shot, squared_distances
from maml_exp.core.baselines.base import Points, baseline_errors
from maml_exp.core.baselines.discriminants import Scatter
from maml_exp.core.baselines.logistic import regression
from maml_exp.core.checks import SettingError
from maml_exp.core.tasks import TASKS, families, images

from ..tasks.galleries import random_gallery

RNG = np.random.default_rng(8)
NAMES = ("nearest_point", "nearest_mean", "discriminants", "logistic")


def labels(points, ways):
    """One-hot labels (K N, N) of K points of each class, shot by shot."""
    return np.tile(np.eye(ways), (points, 1))


def task_of(centres, points, spread=1.0):
    """A task of `points` points about each of the centres (N, n)."""
    ways, inputs = centres.shape
    return Points(
        np.tile(centres, (points, 1)) + spread * RNG.normal(size=(points * ways, inputs)), labels(points, ways)
    )


def some_tasks(count=20, ways=3, inputs=6, points=10):
    return [task_of(RNG.normal(size=(ways, inputs)), points) for _ in range(count)]


def make(name, tasks, shots=None):
    baseline = BASELINES.get(name).Baseline(tasks)
    if shots is not None:
        baseline.prepare(shots)
    return baseline


# ------------------------------------------------------------------ tasks as classes


def test_tasks_of_few_points_have_the_first_of_every_class():
    x = np.arange(8.0)[:, None]
    y = np.eye(2)[[0, 0, 1, 0, 1, 1, 0, 1]]
    ((x_support, y_support, queries, y_query),) = few_shot([Points(x, y)], 2)
    assert x_support[:, 0].tolist() == [0, 1, 2, 4]
    assert y_support.argmax(axis=1).tolist() == [0, 0, 1, 1]
    assert queries[:, 0].tolist() == [3, 5, 6, 7]
    assert y_query.argmax(axis=1).tolist() == [0, 1, 0, 1]
    assert list(few_shot([Points(x, y)], 4)) == []


def test_distances_are_those_of_all_pairs():
    x, nodes = 1e3 + RNG.normal(size=(7, 4)), 1e3 + RNG.normal(size=(5, 4))
    expected = [[np.sum((a - b) ** 2) for b in nodes] for a in x]
    np.testing.assert_allclose(squared_distances(x, nodes), expected, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_tasks_that_are_no_classes_are_refused(name):
    for y in (RNG.normal(size=(6, 3)), np.ones((6, 1)), labels(2, 3) * 2):
        with pytest.raises(SettingError, match="no classes"):
            make(name, [Points(RNG.normal(size=(6, 2)), y)] * 10)


# ------------------------------------------------------------------ nearest point, nearest mean


def test_the_nearest_point_and_the_nearest_mean_are_those_of_a_loop():
    tasks = some_tasks()
    x, y = tasks[0]
    queries = RNG.normal(size=(50, 6))
    by_point, by_mean = (make(name, tasks).predict(x, y, queries) for name in ("nearest_point", "nearest_mean"))
    for query, points, means in zip(queries, by_point, by_mean, strict=True):
        for label in range(3):
            own = x[y[:, label] == 1]
            assert points[label] == pytest.approx(-min(np.sum((query - point) ** 2) for point in own))
            assert means[label] == pytest.approx(-np.sum((query - sum(own) / len(own)) ** 2))


# ------------------------------------------------------------------ discriminant directions


def test_directions_solve_their_eigenproblem_by_the_covariances_of_a_loop():
    tasks = some_tasks(inputs=4)
    within, means, count = np.zeros((4, 4)), [], 0
    for x, y in tasks:
        for label in range(3):
            own = x[y[:, label] == 1]
            means.append(own.mean(axis=0))
            for point in own:
                within += np.outer(point - means[-1], point - means[-1])
                count += 1
    within /= count
    between = np.cov(np.array(means).T, bias=True)
    ridge = 0.3 * np.trace(within) / 4 * np.eye(4)
    found = Scatter(tasks).directions(0.3)
    np.testing.assert_allclose(found.T @ (within + ridge) @ found, np.eye(4), atol=1e-10)
    projected = found.T @ between @ found
    np.testing.assert_allclose(projected, np.diag(np.diag(projected)), atol=1e-10)
    assert (np.diff(np.diag(projected)) <= 0).all()


def test_what_varies_within_classes_alone_is_not_looked_at():
    """Classes differ in the first three of twenty inputs, and the others are loud."""

    def task():
        centres = np.concatenate([3 * RNG.normal(size=(4, 3)), np.zeros((4, 17))], axis=1)
        x, y = task_of(centres, 12)
        return Points(x * np.where(np.arange(20) < 3, 1, 6), y)

    tasks, tested = [task() for _ in range(40)], [task() for _ in range(30)]
    baseline, mean = make("discriminants", tasks, 1), make("nearest_mean", tasks)
    assert baseline.directions.shape == (20, 5)
    seen = (baseline.directions[:, :3] ** 2).sum(axis=1) * np.where(np.arange(20) < 3, 1, 36)
    assert seen[:3].sum() > 10 * seen[3:].sum()
    right = {}
    for name, one in (("directions", baseline), ("mean", mean)):
        made = [(one.predict(xs, ys, x).argmax(axis=1), y.argmax(axis=1)) for xs, ys, x, y in few_shot(tested, 1)]
        right[name] = np.mean([np.mean(a == b) for a, b in made])
    assert right["directions"] > 0.8
    assert right["mean"] < 0.4


def test_directions_along_all_inputs_of_round_classes_change_nothing():
    """Where points scatter alike to all sides and all directions are used, distances are those in the inputs."""
    tasks = [task_of(RNG.normal(size=(3, 2)), 2000) for _ in range(30)]
    baseline = make("discriminants", tasks, 5)
    assert baseline.directions.shape == (2, 2)
    scale = baseline.directions.T @ baseline.directions
    np.testing.assert_allclose(scale / scale[0, 0], np.eye(2), atol=0.03)


# ------------------------------------------------------------------ logistic regression


@pytest.mark.parametrize(("inputs", "points"), [(3, 20), (40, 2), (40, 1)])
@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_logistic_regression_is_at_its_minimum(inputs, points, penalty):
    """In all weights, not in the span alone: its gradient by the weights of the inputs and by the constants is 0."""
    x, y = task_of(RNG.normal(size=(4, inputs)) + 5, points)
    mean = x.mean(axis=0)
    outputs = regression(x, y, np.concatenate([x, mean + np.eye(inputs), mean[None]]), penalty)
    constant = outputs[-1]
    weights = outputs[len(x) : -1] - constant
    np.testing.assert_allclose(outputs[: len(x)], (x - mean) @ weights + constant, atol=1e-9)
    p = np.exp(outputs[: len(x)]) / np.exp(outputs[: len(x)]).sum(axis=1, keepdims=True)
    mu = penalty * np.mean(np.sum((x - mean) ** 2, axis=1))
    start = np.abs((x - mean).T @ (1 / 4 - y)).max()
    assert np.abs((x - mean).T @ (p - y) + mu * weights).max() < 1e-4 * start
    assert np.abs((p - y).sum(axis=0)).max() < 1e-4 * start


def test_two_points_on_a_line_are_parted_in_the_middle():
    x, y = np.array([[1.0], [3.0]]), np.eye(2)
    outputs = regression(x, y, np.array([[2.0], [1.9], [2.1]]), 0.1)
    assert outputs[0, 0] == pytest.approx(outputs[0, 1])
    assert outputs[1].argmax() == 0
    assert outputs[2].argmax() == 1
    # by symmetry w = (-a, a) and a: p = 1 / (1 + e^(-2 a)), 2 (1 - p) = mu a with mu = 0.1 * 1
    slope = (outputs[2, 1] - outputs[1, 1]) / 0.2
    assert 2 * (1 - 1 / (1 + np.exp(-2 * slope))) == pytest.approx(0.1 * slope, rel=1e-4)


def test_equal_points_of_two_classes_are_as_likely():
    x = np.ones((4, 3))
    np.testing.assert_allclose(regression(x, labels(2, 2), x, 0.1), np.zeros((4, 2)), atol=1e-9)


def test_the_penalty_is_chosen_on_training_tasks():
    baseline = make("logistic", some_tasks(12), 1)
    errors = {}
    for penalty in (1e-3, 1.0):
        made = [(regression(xs, ys, x, penalty), y) for xs, ys, x, y in few_shot(baseline.tasks, 1)]
        errors[penalty] = np.mean([np.mean(z.argmax(axis=1) != y.argmax(axis=1)) for z, y in made])
    made = [(regression(xs, ys, x, baseline.penalty), y) for xs, ys, x, y in few_shot(baseline.tasks, 1)]
    assert np.mean([np.mean(z.argmax(axis=1) != y.argmax(axis=1)) for z, y in made]) <= min(errors.values())


# ------------------------------------------------------------------ all of them, on a family


def test_all_are_judged_by_error_rates_on_a_familys_tasks():
    settings = images.Settings(shots=1, query=3, ways=4, size=6, file="x")
    family = families(settings, random_gallery())[0]
    training = family.training_tasks()
    assert len(training) == len(family._parts["train"].names) // 4
    for x, y in training:
        assert (x.shape[1], len(x) % 4) == (36, 0)
        np.testing.assert_array_equal(y, labels(len(x) // 4, 4))
    tasks = family.held_out("test", 0, 20, 3, 40)
    found, unusable = baseline_errors(family, family.baselines, tasks, [1, 3])
    assert not unusable
    assert family.baselines == NAMES
    for shots in (1, 3):
        support = slice(None, 4 * shots)
        for task in range(20):
            x, y = tasks.x_support[task, support], tasks.y_support[task, support]
            made = class_means(x, y)
            nearest = np.array([np.sum((made - query) ** 2, axis=1).argmin() for query in tasks.x_query[task]])
            wrong = np.mean(nearest != tasks.y_query[task].argmax(axis=1))
            assert found["nearest_mean"][shots][task] == pytest.approx(wrong)
    for errors in found.values():
        assert abs(np.mean(errors[3]) - 3 / 4) < 0.15  # random images: nothing is to be learned of them


def test_tasks_that_are_no_classes_say_so():
    family = TASKS.get("sinusoid").Family(TASKS.get("sinusoid").Settings())
    tasks = family.held_out("test", 0, 3, 5, 10)
    found, unusable = baseline_errors(family, NAMES, tasks, [5])
    assert not found
    assert set(unusable.values()) == {"its tasks are no classes"}
