"""Baselines against closed forms: each on tasks for which the answer is known, a row each; one without a test fails."""

import numpy as np
import pytest

from maml_exp.core.baselines import BASELINES, gaussian_process
from maml_exp.core.baselines._training.curves import MeanCurve, shared_inputs, weights_between
from maml_exp.core.baselines.base import Points, baseline_errors, best_of, episodes
from maml_exp.core.checks import SettingError
from maml_exp.core.tasks import TASKS
from maml_exp.core.tasks.table import Family, Settings

from ..tasks.tables import random_table
from .test_of_classes import NAMES as OF_CLASSES

X = np.linspace(-1, 1, 21)[:, None]
RNG = np.random.default_rng(0)


def tasks_on(curves, x=X):
    """Training tasks with these curves (T, G) or (T, G, m) at x."""
    return [Points(x, curve.reshape(len(x), -1)) for curve in np.asarray(curves, dtype=float)]


def make(name, tasks, shots=None):
    baseline = BASELINES.get(name).Baseline(tasks)
    if shots is not None:
        baseline.prepare(shots)
    return baseline


CURVES = {"mean_curve", "offset_curve", "gaussian_process", "best_linear", "nearest_curves", "ridge"}


def test_all_of_the_folder_are_tested():
    assert set(BASELINES.own_names()) == CURVES | set(OF_CLASSES)


# ------------------------------------------------------------------ mean curve


def test_the_mean_of_shared_inputs_is_the_mean_at_each():
    curves = RNG.normal(size=(7, 21, 2))
    baseline = make("mean_curve", tasks_on(curves))
    np.testing.assert_allclose(baseline.predict(X[:2], np.zeros((2, 2)), X), curves.mean(axis=0))
    between = (X[3:4] + X[4:5]) / 2
    np.testing.assert_allclose(
        baseline.predict(X[:2], np.zeros((2, 2)), between)[0], curves.mean(axis=0)[3:5].mean(axis=0)
    )


def test_the_mean_of_inputs_that_are_not_shared_follows_the_curve():
    tasks = []
    for _ in range(200):
        x = RNG.uniform(-1, 1, (15, 1))
        tasks.append(Points(x, np.sin(3 * x) + RNG.normal()))
    inside = np.linspace(-0.9, 0.9, 11)[:, None]
    assert shared_inputs(tasks) is None
    offset = np.mean([np.mean(y - np.sin(3 * x)) for x, y in tasks])
    np.testing.assert_allclose(MeanCurve(tasks)(inside), np.sin(3 * inside) + offset, atol=0.25)


def test_the_mean_of_several_inputs_is_a_quadratic():
    tasks = []
    for _ in range(50):
        x = RNG.normal(size=(20, 3))
        tasks.append(Points(x, 1 + x @ [[1.0], [-2.0], [0.5]] + (x**2) @ [[0.1], [0.0], [-0.3]]))
    x = RNG.normal(size=(5, 3))
    expected = 1 + x @ [[1.0], [-2.0], [0.5]] + (x**2) @ [[0.1], [0.0], [-0.3]]
    np.testing.assert_allclose(MeanCurve(tasks)(x), expected, rtol=1e-9)


def test_an_offset_is_the_mean_residual():
    curves = RNG.normal(size=(9, 21))
    mean = curves.mean(axis=0)[:, None]
    found = make("offset_curve", tasks_on(curves)).predict(X[[2, 5]], mean[[2, 5]] + [[1.0], [4.0]], X)
    np.testing.assert_allclose(found, mean + 2.5)


@pytest.mark.parametrize("x", [-3.0, -1.0, -0.03, 0.5, 1.0, 9.0])
def test_interpolation_between_nodes_is_numpys(x):
    curve = RNG.normal(size=21)
    found = weights_between(X, np.array([[x]])) @ curve
    np.testing.assert_allclose(found, np.interp(x, X[:, 0], curve), rtol=1e-12)


# ------------------------------------------------------------------ Gaussian process


def test_a_gaussian_process_is_its_closed_form():
    curves = np.cumsum(RNG.normal(size=(30, 21)), axis=1) / 3
    baseline = make("gaussian_process", tasks_on(curves))
    mean, support, y = curves.mean(axis=0)[:, None], [1, 8, 17], RNG.normal(size=(3, 1))

    def kernel(a, b):  # by the definition, an element at a time
        d = [[abs(p - q) * np.sqrt(5) / baseline.length for q in b[:, 0]] for p in a[:, 0]]
        return np.array([[(1 + v + v * v / 3) * np.exp(-v) for v in row] for row in d])

    gram = kernel(X[support], X[support]) + baseline.noise * np.eye(3)
    expected = mean + kernel(X, X[support]) @ np.linalg.inv(gram) @ (y - mean[support])
    np.testing.assert_allclose(baseline.predict(X[support], y, X), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("length", "noise"), [(0.3, 1e-2), (1.0, 1e-4), (0.1, 0.3)])
def test_the_likelihood_is_that_of_a_normal_distribution(length, noise):
    tasks = [(RNG.uniform(-1, 1, (k, 1)), RNG.normal(size=(k, 2))) for k in (3, 5, 4)]
    place = int(np.argmin(np.abs(np.log(gaussian_process.NOISES / noise))))
    noise = gaussian_process.NOISES[place]
    found = gaussian_process.log_likelihoods(tasks, length)[place]

    def log_density(scale):
        total = 0.0
        for x, residual in tasks:
            covariance = scale * (gaussian_process.matern(x, x, length) + noise * np.eye(len(x)))
            for column in residual.T:
                total -= 0.5 * (np.linalg.slogdet(covariance)[1] + column @ np.linalg.solve(covariance, column))
        return total

    scales = np.geomspace(1e-3, 1e3, 2001)
    count = sum(residual.size for _, residual in tasks)
    best = max(log_density(scale) for scale in scales)  # at the best s^2 the quadratic form is N
    np.testing.assert_allclose(found - 0.5 * count, best, rtol=1e-4)


def test_the_length_that_tasks_were_drawn_with_is_found():
    x = np.linspace(0, 3, 40)[:, None]
    root = np.linalg.cholesky(gaussian_process.matern(x, x, 0.5) + 1e-4 * np.eye(40))
    baseline = make("gaussian_process", tasks_on((root @ RNG.normal(size=(40, 60))).T, x))
    assert 0.3 < baseline.length < 0.8
    assert 1e-5 < baseline.noise < 1e-3


# ------------------------------------------------------------------ best linear


def test_tasks_of_one_shape_are_decided_by_one_point():
    shape = np.cos(2 * X[:, 0])
    tasks = tasks_on([3 + a * shape for a in RNG.normal(size=40)])
    found = make("best_linear", tasks, 1).predict(X[[4]], np.array([[3 + 2.5 * shape[4]]]), X)
    np.testing.assert_allclose(found[:, 0], 3 + 2.5 * shape, atol=2e-3)


def test_the_best_linear_predictor_is_the_conditional_mean():
    curves = RNG.normal(size=(60, 4, 21))[:, 0] @ np.diag(np.linspace(1, 2, 21)) + RNG.normal(size=(60, 1))
    baseline = make("best_linear", tasks_on(curves))
    support, y = [3, 12], np.array([[1.0], [-1.0]])
    mean, covariance = curves.mean(axis=0), np.cov(curves.T)
    gram = covariance[np.ix_(support, support)] + 1e-6 * np.trace(covariance) / 21 * np.eye(2)
    expected = mean + covariance[:, support] @ np.linalg.inv(gram) @ (y[:, 0] - mean[support])
    np.testing.assert_allclose(baseline.predict(X[support], y, X)[:, 0], expected, rtol=1e-8)


def test_several_outputs_tell_of_each_other():
    a = RNG.normal(size=(50, 1))
    curves = np.stack([a * np.ones(21), 2 * a + X[:, 0]], axis=2)
    found = make("best_linear", tasks_on(curves), 1).predict(X[[0]], np.array([[1.5, 3 + X[0, 0]]]), X)
    np.testing.assert_allclose(found, np.stack([1.5 * np.ones(21), 3 + X[:, 0]], axis=1), atol=5e-3)


def test_noise_makes_it_trust_two_near_points_less():
    smooth = RNG.normal(size=(100, 2)) @ np.stack([np.ones(21), X[:, 0]])
    quiet, noisy = tasks_on(smooth), tasks_on(smooth + 0.5 * RNG.normal(size=smooth.shape))
    assert make("best_linear", noisy, 2)._noise >= make("best_linear", quiet, 2)._noise


def test_tasks_that_share_no_inputs_are_refused():
    tasks = [Points(RNG.uniform(size=(9, 1)), RNG.uniform(size=(9, 1))) for _ in range(20)]
    with pytest.raises(SettingError, match="do not share inputs"):
        make("best_linear", tasks)


# ------------------------------------------------------------------ nearest curves, ridge


@pytest.mark.parametrize("shared", [True, False])
def test_nearest_curves_are_those_of_a_brute_force_search(shared):
    tasks = tasks_on(RNG.normal(size=(30, 21)))
    if not shared:
        tasks = [Points(x[place % 3 :], y[place % 3 :]) for place, (x, y) in enumerate(tasks)]
    baseline = make("nearest_curves", tasks, 3)
    support, y = X[[5, 9, 13]], RNG.normal(size=(3, 1))
    curves = [np.interp(X[:, 0], x[:, 0], values[:, 0]) for x, values in tasks]
    distances = [np.sum((curve[[5, 9, 13]] - y[:, 0]) ** 2) for curve in curves]
    nearest = np.argsort(distances)[: baseline.neighbours]
    np.testing.assert_allclose(baseline.predict(support, y, X)[:, 0], np.mean([curves[i] for i in nearest], axis=0))


def test_how_many_neighbours_is_chosen_on_training_tasks():
    level = np.repeat(np.arange(12.0), 4)[:, None]  # four of a kind: three neighbours without itself
    tasks = tasks_on(level + 0.05 * RNG.normal(size=(48, 21)))
    assert make("nearest_curves", tasks, 2).neighbours == 3
    assert make("nearest_curves", tasks_on(RNG.normal(size=(48, 21))), 2).neighbours == 20  # nothing to be told


def test_ridge_is_its_closed_form_and_as_weak_as_training_tasks_allow():
    tasks = []
    for _ in range(40):
        x = RNG.normal(size=(12, 3))
        tasks.append(Points(x, 5 + x @ RNG.normal(size=(3, 2))))
    baseline = make("ridge", tasks, 6)
    assert baseline.penalty == 1e-4
    x, y = tasks[0]
    design = np.c_[np.ones(12), x]
    penalty = np.diag([0, *[baseline.penalty] * 3])
    expected = design @ np.linalg.solve(design.T @ design + penalty, design.T @ y)
    np.testing.assert_allclose(baseline.predict(x, y, x), expected, rtol=1e-8)
    constant = [Points(x, np.full((12, 1), RNG.normal()) + RNG.normal(size=(12, 1))) for x, _ in tasks]
    assert make("ridge", constant, 6).penalty >= 10


# ------------------------------------------------------------------ all of them, on tasks


def test_episodes_part_the_points_of_each_task():
    tasks = tasks_on(RNG.normal(size=(5, 21)))
    for x_support, _, x, _ in episodes(tasks, 4):
        assert (len(x_support), len(x)) == (4, 17)
        assert sorted(np.concatenate([x_support, x])[:, 0]) == sorted(X[:, 0])
    assert list(episodes(tasks, 21)) == []


def test_the_best_of_several_is_finite():
    assert best_of([1, 2, 3], lambda value: [np.nan, 5.0, np.inf][value - 1]) == 2
    assert best_of([1, 2], lambda value: np.inf) == 1


def test_errors_are_reported_in_the_tables_unit_and_not_of_what_fills_up():
    settings = Settings(shots=4, group="g", inputs=["u", "v"], outputs=["y", "z"], file="t.csv")
    family = Family(settings, random_table())
    tasks = family.held_out("test", 0, 100, 6, 100)
    found, unusable = baseline_errors(family, family.baselines, tasks, [2, 6])
    assert set(unusable) == {"best_linear"}
    training = [Points(x, y) for x, y in family.training_tasks()]
    ridge = make("ridge", training, 6)
    for place in range(len(tasks.names)):
        real = tasks.weights[place] == 1
        made = ridge.predict(tasks.x_support[place], tasks.y_support[place], tasks.x_query[place, real])
        own = family.to_own_outputs(made) - family.to_own_outputs(tasks.y_query[place, real])
        np.testing.assert_allclose(found["ridge"][6][place], np.mean(own**2), rtol=1e-9)


def test_sinusoids_can_be_judged_by_all_of_them():
    family = TASKS.get("sinusoid").Family(TASKS.get("sinusoid").Settings())
    tasks = family.held_out("test", 1000, 60, 10, 50)
    found, unusable = baseline_errors(family, sorted(CURVES), tasks, [10])
    assert not unusable
    mean = {name: float(by_shots[10].mean()) for name, by_shots in found.items()}
    variance = float(family.loss.unadapted(tasks.y_query).mean())
    assert mean["best_linear"] < 0.02 * variance  # two points decide a curve, but for the grid
    assert mean["gaussian_process"] < 0.5 * variance
    assert family.baselines == ()
