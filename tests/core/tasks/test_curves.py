"""Families of curves: their formulas and ranges, noise on what is adapted to alone, ranges beyond training."""

from dataclasses import replace

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.tasks import TASKS, harmonic, mixture, polynomial, sinusoid

MIXED = mixture.Settings(shots=5, query=5, modes=list(mixture.MODES), noise=0.0)
NOISY = {
    "sinusoid": sinusoid.Settings(noise=0.3),
    "mixture": replace(MIXED, noise=0.3),
    "polynomial": polynomial.Settings(noise=0.3),
    "harmonic": harmonic.Settings(noise=0.3),
}


def family(settings):
    return TASKS.get(settings.name).Family(settings)


@pytest.mark.parametrize("name", NOISY)
def test_noise_is_added_to_targets_and_not_to_the_curve_that_is_judged_by(name):
    noisy, clean = family(NOISY[name]), family(replace(NOISY[name], noise=0.0))
    with_noise, without = (made.held_out("test", 3, 400, 20, 30) for made in (noisy, clean))
    np.testing.assert_array_equal(with_noise.x_support, without.x_support)
    np.testing.assert_array_equal(with_noise.y_query, without.y_query)
    added = with_noise.y_support - without.y_support
    assert abs(added.mean()) < 5 * 0.3 / np.sqrt(added.size)
    assert added.std() == pytest.approx(0.3, rel=0.04)
    fewer = noisy.held_out("test", 3, 10, 5, 30)
    np.testing.assert_array_equal(fewer.y_support, with_noise.y_support[:10, :5])
    drawn = (
        noisy.sample(np.random.default_rng(0), 200, "float64"),
        clean.sample(np.random.default_rng(0), 200, "float64"),
    )
    added = drawn[0].y_query - drawn[1].y_query
    assert added.std() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("name", NOISY)
def test_noise_is_part_of_what_runs_are_compared_by(name):
    assert family(NOISY[name]).fingerprint() != family(replace(NOISY[name], noise=0.0)).fingerprint()


@pytest.mark.parametrize("degree", [0, 1, 3, 6])
def test_a_polynomial_is_decided_by_its_degree_and_one_point_more(degree):
    tasks = family(polynomial.Settings(degree=degree)).held_out("test", 1, 50, degree + 1, 9)
    for x, y, x_query, y_query in zip(*(part[..., 0] for part in tasks[:4]), strict=True):
        coefficients = np.linalg.solve(np.vander(x, degree + 1, increasing=True), y)
        assert (np.abs(coefficients) <= 1.001 / 2.0 ** np.arange(degree + 1)).all() or degree == 6  # ill-conditioned
        expected = sum(c * x_query**power for power, c in enumerate(coefficients))
        np.testing.assert_allclose(y_query, expected, atol=1e-4)


def fits(kind, x, y):
    """Whether points (K,) lie on a curve of this kind, by least squares in what it is linear in."""
    best = np.inf
    for centre in np.linspace(-3, 3, 241):
        features = {
            "sinusoid": [np.sin(x), np.cos(x)],
            "line": [x, np.ones_like(x)],
            "quadratic": [x**2, x, np.ones_like(x)],
            "tanh": [np.tanh(x - centre), np.ones_like(x)],
            "absolute": [np.abs(x - centre), np.ones_like(x)],
        }[kind]
        matrix = np.stack(features, axis=1)
        residual = y - matrix @ np.linalg.lstsq(matrix, y, rcond=None)[0]
        best = min(best, float(np.abs(residual).max()))
    return best < 0.05


def test_a_meta_batch_has_equal_shares_of_the_kinds_in_turns():
    batch = family(MIXED).sample(np.random.default_rng(2), 25, "float64")
    x, y = (np.concatenate(part, axis=1)[..., 0] for part in (batch[::2], batch[1::2]))
    kinds = list(mixture.MODES)
    first = next(start for start in range(5) if fits(kinds[start], x[0], y[0]))
    for task in range(25):
        assert fits(kinds[(first + task) % 5], x[task], y[task])


def test_which_kind_comes_first_is_random():
    one = family(replace(MIXED, modes=["sinusoid", "line"]))
    starts = [one.parameters(np.random.default_rng(seed).random((1, 4)))[0][0] for seed in range(400)]
    assert 150 < sum(starts) < 250


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("sinusoid", [0.1, 0], [5, np.pi]), ("line", [-3, -3], [3, 3]), ("tanh", [-3, -3, -3], [3, 3, 3])],
)
def test_parameters_fill_their_ranges(kind, low, high):
    _, numbers = family(replace(MIXED, modes=[kind])).parameters(np.random.default_rng(0).random((5000, 4)))
    for place, (least, most) in enumerate(zip(low, high, strict=True)):
        np.testing.assert_allclose(numbers[place].min(), least, atol=0.01 * (most - least))
        np.testing.assert_allclose(numbers[place].max(), most, atol=0.01 * (most - least))


def test_a_parabola_has_a_curvature_between_its_bounds():
    quadratic = family(replace(MIXED, modes=["quadratic"]))
    parameters = quadratic.parameters(np.random.default_rng(0).random((5000, 4)))
    x = np.broadcast_to([-1.0, 0.0, 1.0], (5000, 3))
    y = quadratic.curve(parameters, x)
    curvature = np.abs(y[:, 0] - 2 * y[:, 1] + y[:, 2]) / 2
    assert curvature.min() == pytest.approx(0.02, abs=1e-3)
    assert curvature.max() == pytest.approx(0.15, abs=1e-3)


def test_harmonics_have_the_moments_of_their_distributions():
    made = family(harmonic.Settings())
    f, a_1, a_2, b_1, b_2, _place = (p[:, 0] for p in made.parameters(np.random.default_rng(0).random((40_000, 6))))
    for amplitude in (a_1, a_2):
        assert abs(amplitude.mean()) < 0.025
        assert amplitude.std() == pytest.approx(1, rel=0.02)
    assert abs(np.corrcoef(a_1, a_2)[0, 1]) < 0.025
    assert (f.min(), f.max()) == pytest.approx((5, 7), abs=1e-3)
    assert (b_1.max(), b_2.max()) == pytest.approx((2 * np.pi, 2 * np.pi), abs=1e-2)
    x = made.sample(np.random.default_rng(1), 4000, "float64").x_support[..., 0]
    spread = x.std(axis=1, ddof=1)
    assert np.sqrt((spread**2).mean()) == pytest.approx(1, rel=0.03)
    assert abs(x.mean(axis=1)).max() < 4 + 2


def test_harmonics_are_judged_over_their_own_points():
    tasks = family(harmonic.Settings()).held_out("test", 0, 50, 5, 101)
    x = tasks.x_query[..., 0]
    middle = x[:, 50:51]
    assert (np.abs(middle) <= 4).all()
    np.testing.assert_allclose((x - middle).std(axis=1), 1, rtol=0.03)
    np.testing.assert_allclose(x - middle, -(x - middle)[:, ::-1], atol=1e-9)


BEYOND = {
    "sinusoid": sinusoid.Settings(x_range_test=[10.0, 12.0], amplitude_test=[6.0, 7.0], phase_test=[4.0, 4.5]),
    "mixture": replace(MIXED, x_range_test=[10.0, 12.0]),
    "polynomial": polynomial.Settings(x_range_test=[10.0, 12.0]),
}


@pytest.mark.parametrize("name", BEYOND)
def test_test_tasks_may_lie_beyond_training_and_others_do_not(name):
    beyond = family(BEYOND[name])
    usual = family(replace(BEYOND[name], **{key: None for key in vars(BEYOND[name]) if key.endswith("_test")}))
    test = beyond.held_out("test", 0, 20, 5, 9)
    for x in (test.x_support, test.x_query):
        assert x.min() >= 10
        assert x.max() <= 12
    for split in ("validation", "train"):
        for one, two in zip(
            beyond.held_out(split, 0, 20, 5, 9)[:4], usual.held_out(split, 0, 20, 5, 9)[:4], strict=True
        ):
            np.testing.assert_array_equal(one, two)
    drawn = [made.sample(np.random.default_rng(0), 4, "float64") for made in (beyond, usual)]
    for one, two in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, two)
    assert beyond.fingerprint() != usual.fingerprint()


def test_amplitudes_and_phases_beyond_training():
    made = family(BEYOND["sinusoid"])
    tasks = made.held_out("test", 0, 50, 2, 9)
    for x, y in zip(tasks.x_query[..., 0], tasks.y_query[..., 0], strict=True):
        a, b = np.linalg.lstsq(np.stack([np.sin(x), np.cos(x)], axis=1), y, rcond=None)[0]
        assert 6 <= np.hypot(a, b) <= 7  # a = A cos phi, b = -A sin phi
        assert 4 <= np.arctan2(-b, a) % (2 * np.pi) <= 4.5


def test_sinusoids_as_they_were_have_the_fingerprint_they_had():
    assert set(family(sinusoid.Settings()).fingerprint()) == {"name", "amplitude", "phase", "frequency", "x_range"}


@pytest.mark.parametrize("settings", [{"modes": []}, {"modes": ["line", "line"]}, {"modes": ["cube"]}, {"noise": -0.1}])
def test_settings_that_cannot_be_used_are_refused(settings):
    with pytest.raises(SettingError, match=f"task.{next(iter(settings))}="):
        replace(MIXED, **settings)


def test_the_bayes_error_is_zero_where_so_many_points_decide_a_curve():
    assert [family(sinusoid.Settings()).bayes_error(k) for k in (1, 2, 10)] == [None, 0.0, 0.0]
    assert family(sinusoid.Settings(frequency=[0.5, 2.0])).bayes_error(10) is None
    assert family(sinusoid.Settings(noise=0.1)).bayes_error(10) is None
    assert [family(polynomial.Settings(degree=3)).bayes_error(k) for k in (3, 4)] == [None, 0.0]
    assert family(MIXED).bayes_error(10) is None


def test_two_points_decide_a_sinusoid():
    tasks = family(sinusoid.Settings()).held_out("test", 0, 200, 2, 30)
    for x, y, x_query, y_query in zip(*(part[..., 0] for part in tasks[:4]), strict=True):
        matrix = np.stack([np.sin(x), np.cos(x)], axis=1)
        if np.linalg.cond(matrix) < 1e6:
            found = np.stack([np.sin(x_query), np.cos(x_query)], axis=1) @ np.linalg.solve(matrix, y)
            np.testing.assert_allclose(found, y_query, atol=1e-6)
