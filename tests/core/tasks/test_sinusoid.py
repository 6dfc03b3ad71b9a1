import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maml_exp.core.tasks.base import Batch
from maml_exp.core.tasks.sinusoid import Family, Settings

from ..helpers import as_dtype, random_batch


def mean_of_product(factors, ranges, points=400):
    """Mean of factors(*grids) over a box of ranges, by the midpoint rule on a full grid."""
    axes = [low + (high - low) * (np.arange(points) + 0.5) / points for low, high in ranges]
    return float(np.mean(factors(*np.meshgrid(*axes, indexing="ij"))))


def test_the_zero_predictions_error_is_half_the_mean_squared_amplitude():
    settings = Settings(shots=5, query=5)
    mean_square_amplitude = mean_of_product(lambda a: a**2, [settings.amplitude], points=10**5)
    mean_square_sine = mean_of_product(lambda x, phi: np.sin(x - phi) ** 2, [settings.x_range, settings.phase], 1000)
    assert mean_square_amplitude == pytest.approx((5.0**3 - 0.1**3) / 3 / 4.9, rel=1e-8)
    assert mean_square_sine == pytest.approx(0.5, rel=1e-6)  # a phase range of pi is a whole period of the square
    exact = mean_square_amplitude * mean_square_sine
    assert exact == pytest.approx(4.25, rel=0.01)
    # points of a task are correlated: the spread is that of the tasks' means
    batch = Family(settings).sample(np.random.default_rng(0), 40_000, np.float64)
    errors = np.mean(np.concatenate([batch.y_support, batch.y_query], axis=1) ** 2, axis=(1, 2))
    four_sigma = 4 * errors.std(ddof=1) / math.sqrt(len(errors))
    assert four_sigma < 0.02 * exact
    assert abs(errors.mean() - exact) < four_sigma


RANGES = {"amplitude": [-1.0, 2.0], "phase": [0.5, 0.75], "frequency": [0.5, 3.0], "x_range": [-2.0, 7.0]}


@pytest.mark.parametrize("ranges", [{}, RANGES], ids=["default", "other"])
def test_everything_drawn_fills_its_range_uniformly(ranges):
    settings, count = Settings(**ranges), 20_000
    family, rng = Family(settings), np.random.default_rng(1)
    drawn = dict(zip(("amplitude", "phase", "frequency"), family.parameters(rng.random((count, 3))), strict=True))
    drawn["x_range"] = family.inputs_from(rng.random((count, 1)))
    for name, values in drawn.items():
        low, high = getattr(settings, name)
        assert values.shape == (count, 1)
        assert low <= values.min() <= values.max() <= high
        # a uniform sample: mean within 4 sigma of the middle, and both ends nearly reached
        assert abs(values.mean() - (low + high) / 2) <= 4 * (high - low) / math.sqrt(12 * count)
        assert values.min() - low <= 0.002 * (high - low)
        assert high - values.max() <= 0.002 * (high - low)


@pytest.mark.parametrize("ranges", [{}, RANGES], ids=["default", "other"])
def test_sampled_points_lie_on_a_sine_of_their_task(ranges):
    """Support and query of a task fit one A sin(f x - phi): with f fixed, y is linear in (sin f x, cos f x)."""
    settings = Settings(**{**ranges, "frequency": [1.5, 1.5]}, shots=4, query=6)
    batch = Family(settings).sample(np.random.default_rng(2), 50, np.float64)
    x, y = batch.pooled()
    assert x.min() >= settings.x_range[0]
    assert x.max() <= settings.x_range[1]
    for x_task, y_task in zip(x[..., 0], y[..., 0], strict=True):
        basis = np.stack([np.sin(1.5 * x_task), np.cos(1.5 * x_task)], axis=1)
        (a, b), *_ = np.linalg.lstsq(basis, y_task, rcond=None)
        np.testing.assert_allclose(basis @ [a, b], y_task, atol=1e-12)
        # A sin(f x - phi) = A cos(phi) sin(f x) - A sin(phi) cos(f x)
        amplitude, phase = math.hypot(a, b), math.atan2(-b, a)
        if settings.amplitude[0] < 0 and not (0 <= phase <= math.pi):
            amplitude, phase = -amplitude, phase + math.pi
        assert settings.amplitude[0] <= amplitude + 1e-9
        assert amplitude - 1e-9 <= settings.amplitude[1]
        assert settings.phase[0] - 1e-9 <= phase <= settings.phase[1] + 1e-9


@pytest.mark.parametrize(("frequency", "slope"), [(0.5, 1.0), (1.0, 2.0), (3.0, 6.0)])
def test_curve_is_the_formula(frequency, slope):
    parameters = (np.array([[2.0], [1.0]]), np.array([[0.0], [0.3]]), np.array([[frequency], [frequency]]))
    y = Family.curve(parameters, np.array([[0.0, 1e-9, 1.0], [0.0, 0.3 / frequency, 1.0]]))
    assert y[0, 0] == 0
    assert y[0, 1] / 1e-9 == pytest.approx(slope, rel=1e-9)  # A f cos(-phi): the frequency is in radians per x
    assert y[0, 2] == pytest.approx(2 * math.sin(frequency), rel=1e-14)
    assert y[1, 0] == pytest.approx(-math.sin(0.3), rel=1e-14)  # a phase is subtracted
    assert y[1, 1] == pytest.approx(0, abs=1e-15)


@given(st.floats(-10, 10), st.floats(-4, 4), st.floats(0, 5))
def test_degenerate_ranges_give_one_task(amplitude, phase, frequency):
    settings = Settings(amplitude=[amplitude] * 2, phase=[phase] * 2, frequency=[frequency] * 2, shots=3, query=2)
    x, y = Family(settings).sample(np.random.default_rng(3), 4, np.float64).pooled()
    np.testing.assert_allclose(y, amplitude * np.sin(frequency * x - phase), rtol=1e-12, atol=1e-12)


def test_the_default_is_the_papers_family():
    settings = Settings()
    assert (settings.amplitude, settings.phase) == ([0.1, 5.0], [0.0, math.pi])
    assert (settings.frequency, settings.x_range) == ([1.0, 1.0], [-5.0, 5.0])


@pytest.mark.parametrize(("shots", "query", "tasks"), [(1, 1, 1), (5, 10, 3), (10, 1, 25)])
def test_a_batch_has_the_asked_shapes(shots, query, tasks):
    family = Family(Settings(shots=shots, query=query))
    batch = family.sample(np.random.default_rng(0), tasks, np.float64)
    assert [part.shape for part in batch] == [(tasks, shots, 1)] * 2 + [(tasks, query, 1)] * 2
    assert (family.inputs, family.outputs) == (1, 1)  # what a network for it is made from


def test_the_oracle_is_told_amplitude_and_phase_of_the_same_tasks():
    plain, oracle = Family(Settings()), Family(Settings(oracle=True))
    assert (oracle.inputs, oracle.outputs) == (3, 1)
    batches = [family.sample(np.random.default_rng(7), 4, np.float64) for family in (plain, oracle)]
    for part in ("support", "query"):
        (x, y), (told, y_told) = ((getattr(b, f"x_{part}"), getattr(b, f"y_{part}")) for b in batches)
        np.testing.assert_array_equal(y, y_told)
        np.testing.assert_array_equal(x[..., 0], told[..., 0])
        np.testing.assert_allclose(told[..., 1:2] * np.sin(x - told[..., 2:3]), y, rtol=1e-12)


def test_the_same_seed_gives_the_same_batches_and_another_does_not():
    family = Family(Settings())
    runs = []
    for seed in (5, 5, 6):
        rng = np.random.default_rng(seed)
        runs.append([np.concatenate([p.ravel() for p in family.sample(rng, 3, np.float64)]) for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.isin(runs[2], runs[0]).any()
    assert not np.isin(runs[0][1], runs[0][0]).any()  # nor does the next batch repeat the one before


def test_a_float32_batch_is_the_rounded_float64_one():
    family = Family(Settings())
    single, double = [family.sample(np.random.default_rng(7), 5, dtype) for dtype in ("float32", "float64")]
    for ours, exact in zip(single, as_dtype(double, np.float32), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, exact)


def test_pooled_is_support_then_query():
    batch = random_batch(0, tasks=2, shots=3, query=4)
    x, y = batch.pooled()
    for pooled, support, query in [(x, batch.x_support, batch.x_query), (y, batch.y_support, batch.y_query)]:
        assert pooled.shape[1] == 7
        np.testing.assert_array_equal(pooled[:, :3], support)
        np.testing.assert_array_equal(pooled[:, 3:], query)
    assert Batch._fields == ("x_support", "y_support", "x_query", "y_query")  # the order that zip(*batch) relies on


def test_training_points_may_be_evenly_spaced_in_random_order():
    family = Family(Settings(shots=3, query=4, x_training="grid"))
    batch = family.sample(np.random.default_rng(0), 50, np.float64)
    x = np.concatenate([batch.x_support, batch.x_query], axis=1)[..., 0]
    np.testing.assert_allclose(np.sort(x, axis=1), np.tile(np.linspace(-5, 5, 7), (50, 1)), atol=1e-12)
    assert len({tuple(row) for row in x[:, :3].round(6)}) > 40  # every task has support points of its own


DISTORTED = {
    "shifted": lambda a, phi, x: a * np.sin(x - phi + np.pi / 3),
    "root": lambda a, phi, x: np.sign(np.sin(x - phi)) * np.sqrt(a * np.abs(np.sin(x - phi))),
    "none": lambda a, phi, x: 0 * x,
}


@pytest.mark.parametrize("kind", DISTORTED)
def test_support_targets_are_distorted_and_query_targets_are_not(kind):
    """A network that is told A and phi sees the parameters of the task that a batch is of."""
    family = Family(Settings(shots=6, query=7, support_targets=kind, oracle=True, frequency=[1.0, 1.0]))
    drawn = family.sample(np.random.default_rng(0), 50, np.float64)
    for batch in (drawn, family.held_out("test", 3, 40, 6, 9)):
        x, a, phi = np.split(batch.x_support, 3, axis=-1)
        np.testing.assert_allclose(batch.y_support, DISTORTED[kind](a, phi, x), rtol=1e-9, atol=1e-9)
        x, a, phi = np.split(batch.x_query, 3, axis=-1)
        np.testing.assert_allclose(batch.y_query, a * np.sin(x - phi), rtol=1e-9, atol=1e-12)
        assert (x >= -5).all()
        assert (x <= 5).all()


def test_without_targets_support_points_lie_within_the_amplitude_of_the_phase():
    family = Family(Settings(shots=500, query=1, support_targets="none", oracle=True))
    for batch in (family.sample(np.random.default_rng(0), 20, np.float64), family.held_out("test", 3, 20, 500, 2)):
        x, a, phi = np.split(batch.x_support, 3, axis=-1)
        away = (x - phi) / a
        assert (np.abs(away) <= 1).all()
        np.testing.assert_allclose(away.min(axis=1), -1, atol=0.05)
        np.testing.assert_allclose(away.max(axis=1), 1, atol=0.05)


@pytest.mark.parametrize("kind", ["shifted", "root", "none"])
def test_distorted_support_targets_are_other_tasks_of_the_same_curves(kind):
    plain, other = Family(Settings()), Family(Settings(support_targets=kind))
    assert "support_targets" not in plain.fingerprint()  # runs from before it keep theirs
    assert other.fingerprint() == plain.fingerprint() | {"support_targets": kind}
    ours, theirs = (family.sample(np.random.default_rng(0), 5, np.float64) for family in (other, plain))
    np.testing.assert_array_equal(ours.x_query, theirs.x_query)
    np.testing.assert_array_equal(ours.y_query, theirs.y_query)
    assert (ours.y_support != theirs.y_support).all()
    assert other.bayes_error(10) == (None if kind == "none" else 0)
