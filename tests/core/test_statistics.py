import math

import numpy as np
import pytest

from maml_exp.core import bootstrap
from maml_exp.core.bootstrap import RESAMPLES
from maml_exp.core.statistics import (
    DIVERGED_FACTOR,
    OVER,
    Estimate,
    Interval,
    diverged,
    estimate,
    paired_difference,
    statistics,
    student_quantile,
    trimmed_mean,
    trimmed_mean_interval,
)

REFERENCE = 4.0
PLAIN = OVER[1:]  # percentile intervals; the first is made of one of them
each_over = pytest.mark.parametrize("over", OVER)


def lognormal(shape, seed=0):
    return np.random.default_rng(seed).lognormal(sigma=1.5, size=shape)


def model_errors(rng, seeds, tasks, seed_effect, task_effect=1.0, noise=0.5):
    """Heavy-tailed errors (S, N): the logarithm is an effect of the seed, one of the task and noise."""
    log = seed_effect * rng.normal(size=(seeds, 1)) + task_effect * rng.normal(size=tasks)
    return np.exp(log + noise * rng.normal(size=(seeds, tasks)))


def lognormal_iqm(sigma):
    """exp(sigma^2 / 2) (Phi(q - sigma) - Phi(-q - sigma)) / 0.5, q the upper quartile of the normal distribution."""
    q = 0.6744897501960817
    phi = [0.5 * (1 + math.erf((x - sigma) / math.sqrt(2))) for x in (q, -q)]
    return math.exp(sigma**2 / 2) * (phi[0] - phi[1]) / 0.5


def published_iqm(scores):
    """rliable's aggregate_iqm, which is scipy.stats.trim_mean(scores, proportiontocut=0.25, axis=None)."""
    scores = np.ravel(scores)
    lowercut = int(0.25 * scores.size)
    uppercut = scores.size - lowercut
    return np.mean(np.partition(scores, (lowercut, uppercut - 1))[lowercut:uppercut])


def plain_bootstrap(errors, over, resamples, mean=published_iqm, seed=1):
    """Sorted means of resamples that are drawn and written out one by one."""
    rng = np.random.default_rng(seed)
    seeds, tasks = errors.shape
    means = []
    for _ in range(resamples):
        chosen_tasks = rng.integers(tasks, size=tasks)
        chosen_seeds = rng.integers(seeds, size=seeds)
        if over == "tasks":
            sample = errors[:, chosen_tasks]
        elif over == "crossed":
            sample = errors[chosen_seeds][:, chosen_tasks]
        else:  # as rliable's StratifiedBootstrap with task_bootstrap=False: for each task, runs of that task
            sample = np.stack([errors[rng.integers(seeds, size=seeds), task] for task in range(tasks)], axis=1)
        means.append(mean(sample))
    return np.sort(means)


# ---------------------------------------------------------------- one run


def test_the_numbers_of_a_run_are_numpys():
    errors = lognormal((600, 11))
    result = statistics(errors, REFERENCE)
    np.testing.assert_array_equal(result.mean, errors.mean(axis=0))
    np.testing.assert_array_equal(result.ci95, 1.96 * np.std(errors, axis=0, ddof=1) / np.sqrt(600))
    np.testing.assert_array_equal(result.median, np.median(errors, axis=0))
    np.testing.assert_array_equal(result.p95, np.percentile(errors, 95, axis=0, method="higher"))
    np.testing.assert_allclose(result.iqm, [published_iqm(column) for column in errors.T], rtol=1e-14)
    np.testing.assert_array_equal(result.diverged, (errors > 100 * REFERENCE).sum(axis=0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 5),
        ([1, 3], 2),
        ([1, 2, 6], 3),
        ([1, 2, 4, 100], 3),
        ([1, 2, 3, 4, 100], 3),
        ([0, 0, 3, 4, 5, 6, 99, 99], 4.5),
        ([1, 2, 4, math.inf], 3),
        ([1, 2, math.inf, math.inf], math.inf),
    ],
)
def test_the_interquartile_mean_of_a_few_numbers(values, expected):
    for order in (1, -1):
        assert trimmed_mean(np.array(values)[::order]) == expected


@pytest.mark.parametrize("n", [*range(1, 13), 599, 600])
def test_the_interquartile_mean_is_the_published_one(n):
    values = lognormal(n, seed=n)
    assert trimmed_mean(values) == pytest.approx(published_iqm(values), rel=1e-14)
    assert trimmed_mean(values, 0.0) == pytest.approx(values.mean(), rel=1e-14)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_task_that_is_not_finite_counts_as_infinite(bad):
    errors = np.arange(1.0, 101)[:, None].repeat(2, axis=1)
    errors[3, 0] = bad
    result = statistics(errors, REFERENCE)
    assert result.diverged.tolist() == [1, 0]
    assert (result.mean[0], result.ci95[0]) == (math.inf, math.inf)
    assert (result.median[0], result.p95[0]) == (51.5, 97)  # 4 became the largest
    assert result.iqm[0] == np.r_[1:4, 5:101][25:75].mean()
    assert np.isfinite([result.iqm_low[0], result.iqm_high[0]]).all()
    assert np.isnan(errors[3, 0]) == math.isnan(bad)  # the errors given are left as they are


@pytest.mark.parametrize(
    ("infinite", "finite"),  # of 600; whether low end, value and high end are finite
    [(0, [1, 1, 1]), (60, [1, 1, 1]), (144, [1, 1, 0]), (156, [1, 0, 0]), (300, [0, 0, 0])],
)
def test_infinite_errors_reach_an_interval_when_they_reach_the_middle_half(infinite, finite):
    errors = lognormal((600, 1))
    errors[:infinite] = math.inf
    result = statistics(errors, REFERENCE)
    assert np.isfinite([result.iqm_low[0], result.iqm[0], result.iqm_high[0]]).tolist() == finite


@pytest.mark.parametrize(
    ("reference", "limit"),
    [(4.0, 400), (np.array([2.0, 6.0]), 400), (0.0, math.inf), (np.zeros(2), math.inf), (math.inf, math.inf)],
)
def test_diverged_is_beyond_a_hundred_mean_predictions_or_not_finite(reference, limit):
    assert DIVERGED_FACTOR == 100
    errors = np.array([[0.0, 400, 400.1, 1e300], [-math.inf, math.nan, math.inf, 1.0]])
    expected = [[False, False, limit < 400.1, limit < 1e300], [True, True, True, False]]
    assert diverged(errors, reference).tolist() == expected


def test_one_task_has_infinite_intervals():
    result = statistics(np.array([[2.0, 3.0]]), REFERENCE)
    assert result.mean.tolist() == result.median.tolist() == result.p95.tolist() == result.iqm.tolist() == [2, 3]
    assert result.ci95.tolist() == result.iqm_high.tolist() == [math.inf] * 2
    assert result.iqm_low.tolist() == [-math.inf] * 2


def test_no_task_is_refused():
    with pytest.raises(ValueError, match=r"no errors: their shape is \(0, 11\)"):
        statistics(np.empty((0, 11)), REFERENCE)
    with pytest.raises(ValueError, match=r"no errors: their shape is \(3, 0\)"):
        trimmed_mean_interval(np.empty((3, 0)))


def test_huge_errors_overflow_in_silence():
    errors = np.full((8, 1), 1.7e308)
    result = statistics(errors, REFERENCE)
    assert (result.mean[0], result.median[0], result.diverged[0]) == (math.inf, math.inf, 8)
    assert trimmed_mean_interval(errors.T).value == math.inf


# ---------------------------------------------------------------- Student's t


@pytest.mark.parametrize(
    ("freedom", "published"),
    [
        *[(1, 12.7062047364), (2, 4.3026527297), (3, 3.1824463053), (4, 2.7764451052), (9, 2.2621571628)],
        *[(30, 2.0422724563), (31, 2.0395134464), (100, 1.9839715185), (1000, 1.9623390808)],
    ],
)
def test_students_quantiles_are_the_published_ones(freedom, published):
    assert student_quantile(freedom) == pytest.approx(published, rel=1e-10)


def test_students_quantiles_fall_to_the_normal_one():
    quantiles = [student_quantile(freedom) for freedom in [*range(1, 200), 10**4, 10**6]]
    assert quantiles == sorted(quantiles, reverse=True)
    normal = 1.959963984540054
    # the first term of its expansion in 1 / freedom: Abramowitz & Stegun 26.7.5
    assert quantiles[-1] == pytest.approx(normal + (normal**3 + normal) / 4e6, rel=1e-9)


@pytest.mark.parametrize("freedom", [0, -1, 1.5])
def test_degrees_of_freedom_out_of_range_are_refused(freedom):
    with pytest.raises(ValueError, match=f"not {freedom}"):
        student_quantile(freedom)


@pytest.mark.parametrize(
    ("values", "mean", "half_width"),
    [
        ([], math.nan, math.nan),
        ([3.0], 3, math.nan),
        ([1.0, 3.0], 2, 12.7062047364),  # sd of {1, 3} is sqrt 2
        ([1.0, 2.0, 3.0], 2, 4.3026527297 / math.sqrt(3)),
        ([0.0, 2.0] * 16, 1, 2.0395134464 / math.sqrt(31)),  # 31 degrees of freedom: sd is sqrt(32 / 31)
        ([1.0, math.inf], math.inf, math.inf),
        ([1.0, math.nan], math.inf, math.inf),
    ],
)
def test_an_estimate_is_the_mean_and_students_interval(values, mean, half_width):
    result = estimate(values)
    assert result.n == len(values)
    np.testing.assert_allclose([result.mean, result.ci95], [mean, half_width], rtol=1e-10)


# ---------------------------------------------------------------- resampling


@pytest.mark.parametrize("trim", [0.0, 0.25])
@pytest.mark.parametrize("over", PLAIN)
def test_ends_are_those_of_the_same_resamples_written_out(over, trim):
    errors = model_errors(np.random.default_rng(0), 3, 40, 0.3)
    by_rank = errors[:, np.argsort(errors.mean(axis=0))]
    means = []
    for start, rows in bootstrap._blocks(errors.size):
        for counts in bootstrap._resamples(over, start, rows, 3, 40):
            sample = np.repeat(by_rank.ravel(), counts.ravel())
            means.append(np.mean(sample) if trim == 0 else published_iqm(sample))
    result = trimmed_mean_interval(errors, trim, over)
    assert len(means) == RESAMPLES
    np.testing.assert_allclose([result.low, result.high], np.percentile(means, [2.5, 97.5]), rtol=1e-13)


@pytest.mark.parametrize("over", PLAIN)
def test_resamples_are_distributed_like_those_of_a_plain_bootstrap(over):
    errors = model_errors(np.random.default_rng(0), 4, 60, 0.3)
    exact = plain_bootstrap(errors, over, 4000)
    result = trimmed_mean_interval(errors, over=over)
    below = [np.searchsorted(exact, end) / len(exact) for end in result[1:]]
    # the share below a 2.5% end of 1001 resamples has a standard deviation of 0.5%
    np.testing.assert_allclose(below, [0.025, 0.975], atol=0.015)


def test_a_run_has_the_ends_of_a_plain_bootstrap_over_its_tasks():
    errors = lognormal((200, 2))
    result = statistics(errors, REFERENCE)
    for column in range(2):
        exact = plain_bootstrap(errors[None, :, column], "tasks", 4000)
        below = [np.searchsorted(exact, end[column]) / len(exact) for end in (result.iqm_low, result.iqm_high)]
        np.testing.assert_allclose(below, [0.025, 0.975], atol=0.015)


@pytest.mark.parametrize(("over", "things"), [("tasks", "tasks"), ("crossed", "both"), ("runs", "runs")])
def test_resamples_hold_what_their_name_says(over, things):
    counts = np.concatenate([bootstrap._resamples(over, *block, 3, 5) for block in bootstrap._blocks(15)])
    assert counts.shape == (RESAMPLES, 3, 5)
    assert (counts.sum(axis=(1, 2)) == 15).all()
    same_for_all_seeds = (counts == counts[:, :1]).all()
    assert same_for_all_seeds == (things == "tasks")
    assert (counts.sum(axis=1) == 3).all() == (things == "runs")  # as many runs of every task
    products = counts.sum(axis=1, keepdims=True) * counts.sum(axis=2, keepdims=True)
    assert (products == 15 * counts).all() == (things != "runs")


@pytest.mark.parametrize("over", [*OVER[:2], "crossed"])
@pytest.mark.parametrize("tasks", [1, 2, 7, 600])
def test_one_seed_has_the_interval_of_its_run(over, tasks):
    errors = lognormal((tasks, 3))
    errors[: tasks // 10] = math.inf
    result = statistics(errors, REFERENCE)
    for step in range(3):
        expected = [result.iqm[step], result.iqm_low[step], result.iqm_high[step]]
        np.testing.assert_allclose(trimmed_mean_interval(errors[:, step][None], over=over), expected, rtol=1e-13)


def test_the_default_adds_squares_of_distances_over_tasks_and_seeds():
    errors = lognormal((2, 50))
    by_tasks, both = trimmed_mean_interval(errors, 0.0, "tasks"), trimmed_mean_interval(errors, 0.0)
    student = estimate(errors.mean(axis=1)).ci95  # of a mean, the jackknife's error is the usual one
    assert both.value == by_tasks.value == pytest.approx(errors.mean())
    assert both.value - both.low == pytest.approx(math.hypot(by_tasks.value - by_tasks.low, student), rel=1e-12)
    assert both.high - both.value == pytest.approx(math.hypot(by_tasks.high - by_tasks.value, student), rel=1e-12)


def test_seeds_that_agree_leave_the_interval_over_tasks():
    errors = np.repeat(lognormal((1, 80)), 3, axis=0)
    assert trimmed_mean_interval(errors) == trimmed_mean_interval(errors, over="tasks")


def test_tasks_that_agree_leave_students_interval_over_seeds():
    means = np.array([1.0, 2.0, 6.0])
    result = trimmed_mean_interval(np.repeat(means[:, None], 30, axis=1), 0.0)
    expected = estimate(means)
    assert result.value == pytest.approx(expected.mean)
    np.testing.assert_allclose([result.high - 3, 3 - result.low], expected.ci95, rtol=1e-12)


@pytest.mark.parametrize(
    ("seeds", "tasks", "over"), [(3, 1, "tasks"), (3, 1, "crossed"), (3, 1, OVER[0]), (1, 1, OVER[0]), (1, 9, "runs")]
)
def test_nothing_is_known_of_others_where_there_is_one(seeds, tasks, over):
    result = trimmed_mean_interval(lognormal((seeds, tasks)), over=over)
    assert (result.low, result.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("diverged_seeds", "finite"),  # of 8; whether low end, value and high end are finite
    [(1, [1, 1, 1]), (2, [0, 1, 0]), (3, [0, 0, 0])],  # 2 are a quarter, and more of it once another is left out
)
def test_seeds_of_infinite_errors_are_trimmed_until_they_are_a_quarter(diverged_seeds, finite):
    errors = lognormal((8, 40))
    errors[:diverged_seeds] = math.nan
    result = trimmed_mean_interval(errors)
    assert np.isfinite([result.low, result.value, result.high]).tolist() == finite


def test_another_word_for_over_is_refused():
    with pytest.raises(ValueError, match="over='seeds' is not one of: seeds and tasks, tasks, crossed, runs"):
        trimmed_mean_interval(lognormal((2, 3)), over="seeds")


@each_over
@pytest.mark.parametrize("trim", [0.0, 0.25])
def test_intervals_scale_with_errors_and_hold_the_value(over, trim):
    errors = model_errors(np.random.default_rng(2), 4, 50, 0.3)
    result = trimmed_mean_interval(errors, trim, over)
    assert errors.min() < result.value < errors.max()
    assert result.low < result.value < result.high
    np.testing.assert_allclose(trimmed_mean_interval(1e-9 * errors, trim, over), 1e-9 * np.array(result), rtol=1e-12)


def test_the_order_of_tasks_and_seeds_does_not_matter():
    errors = model_errors(np.random.default_rng(3), 4, 50, 0.3)
    tasks, seeds = np.random.default_rng(4).permutation(50), np.random.default_rng(5).permutation(4)
    np.testing.assert_allclose(
        trimmed_mean_interval(errors[seeds][:, tasks]), trimmed_mean_interval(errors), rtol=1e-12
    )
    np.testing.assert_allclose(statistics(errors[0, tasks, None], 1.0), statistics(errors[0, :, None], 1.0), rtol=1e-12)


def test_intervals_repeat_and_leave_numpys_generator_alone():
    errors = lognormal((3, 50))
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = [trimmed_mean_interval(errors, over=over) for over in OVER]
    assert [trimmed_mean_interval(errors, over=over) for over in OVER] == first
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


# ---------------------------------------------------------------- paired differences


def test_a_paired_difference_is_that_of_the_differences():
    errors = model_errors(np.random.default_rng(0), 6, 100, 0.3)
    first, second = errors[:3], errors[3:]
    result = paired_difference(first, second)
    assert result.over_seeds == estimate((first - second).mean(axis=1))
    assert result.mean.value == pytest.approx(first.mean() - second.mean())
    assert result.iqm.value == pytest.approx(published_iqm(first - second))
    assert result.median == np.median(first - second)
    turned = paired_difference(second, first)
    assert turned.iqm.value == pytest.approx(-result.iqm.value)
    assert turned.over_seeds.mean == pytest.approx(-result.over_seeds.mean)


def test_what_pairs_share_does_not_widen_the_interval_of_their_difference():
    rng = np.random.default_rng(0)
    shared = model_errors(rng, 3, 200, 0.5)
    result = paired_difference(shared + 0.1, shared + 0.01 * rng.normal(size=shared.shape))
    for interval in (result.mean, result.iqm):
        assert 0.09 < interval.low < interval.value < interval.high < 0.11
    assert trimmed_mean_interval(shared).high - trimmed_mean_interval(shared).low > 0.5


@pytest.mark.parametrize(
    ("first", "second", "median", "iqm"),
    [
        ([math.inf, 2, 2, 2], [1, 1, 1, 1], 1, 1),
        ([2, 2, 2, 2], [math.nan, 1, 1, 1], 1, 1),
        ([math.inf, 2, 2, 2], [math.nan, 1, 1, 1], 1, 1),  # 0 is the smallest of the differences
        ([math.inf] * 4, [math.inf] * 4, 0, 0),
        ([math.inf] * 4, [1] * 4, math.inf, math.inf),
        ([1] * 4, [math.inf] * 4, -math.inf, -math.inf),
        ([1], [math.inf], -math.inf, -math.inf),
    ],
)
def test_where_an_error_is_infinite_the_middle_of_the_differences_is_kept(first, second, median, iqm):
    result = paired_difference(np.array([first]), np.array([second]))
    assert (result.median, result.iqm.value) == (median, iqm)
    assert result.mean == Interval(math.inf, -math.inf, math.inf)
    assert result.over_seeds == Estimate(1, math.inf, math.inf)


@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_differences_reach_the_end_on_their_side(sign):
    errors = lognormal((1, 200))
    diverging = np.where(np.arange(200) < 49, math.inf, 0.0)
    pair = [errors + diverging, errors] if sign == 1 else [errors, errors + diverging]
    ends = paired_difference(*pair).iqm
    assert ends == (0, 0, math.inf) if sign == 1 else ends == (0, -math.inf, 0)


def test_one_seed_has_a_difference_over_tasks_alone():
    first, second = lognormal((1, 50), 1), lognormal((1, 50), 2)
    result = paired_difference(first, second)
    assert math.isnan(result.over_seeds.ci95)
    exact = plain_bootstrap(first - second, "tasks", 4000, mean=np.mean)
    below = [np.searchsorted(exact, end) / len(exact) for end in result.mean[1:]]
    np.testing.assert_allclose(below, [0.025, 0.975], atol=0.015)


def test_other_seeds_or_tasks_are_no_pairs():
    with pytest.raises(ValueError, match=r"not \(2, 5\) and \(1, 5\)"):
        paired_difference(np.ones((2, 5)), np.ones((1, 5)))


# ---------------------------------------------------------------- coverage: the share of intervals that hold the truth


def coverage(truth, interval, data_sets):
    ends = [interval(np.random.default_rng(number)) for number in range(data_sets)]
    return np.mean([low <= truth <= high for low, high in ends])


def test_the_interval_of_a_run_covers_new_tasks():
    def interval(rng):
        result = statistics(rng.lognormal(size=(100, 1)), REFERENCE)
        return result.iqm_low[0], result.iqm_high[0]

    assert 0.93 <= coverage(lognormal_iqm(1.0), interval, 2000) <= 0.97


# The shares have a binomial standard deviation of 0.8%
@pytest.mark.slow
@pytest.mark.parametrize(
    ("over", "seeds", "tasks", "seed_effect", "between"),
    [
        ("seeds and tasks", 3, 100, 0.5, (0.93, 0.97)),
        ("seeds and tasks", 5, 60, 0.5, (0.93, 0.97)),
        ("seeds and tasks", 10, 40, 0.3, (0.93, 0.97)),
        ("seeds and tasks", 3, 100, 0.0, (0.94, 0.98)),  # cautious where seeds do not differ
        ("crossed", 20, 20, 0.5, (0.92, 0.97)),
        ("crossed", 3, 100, 0.5, (0.6, 0.85)),  # why it is not the default: a bootstrap knows no Student's t
        ("tasks", 3, 100, 0.0, (0.93, 0.97)),
        ("tasks", 3, 100, 0.5, (0.2, 0.6)),  # of these seeds, not of new ones
    ],
)
def test_intervals_over_seeds_and_tasks_cover_new_ones(over, seeds, tasks, seed_effect, between):
    truth = lognormal_iqm(math.sqrt(seed_effect**2 + 1 + 0.25))

    def interval(rng):
        return trimmed_mean_interval(model_errors(rng, seeds, tasks, seed_effect), over=over)[1:]

    assert between[0] <= coverage(truth, interval, 800) <= between[1]


@pytest.mark.slow
@pytest.mark.parametrize("trim", ["mean", "iqm"])
def test_intervals_of_paired_differences_cover_the_true_one(trim):
    def interval(rng):
        shared = model_errors(rng, 5, 60, 0.5)
        first = 1 + 0.5 * rng.normal(size=(5, 1)) + 0.5 * rng.normal(size=60) + 0.5 * rng.normal(size=(5, 60))
        return getattr(paired_difference(shared + first, shared), trim)[1:]

    assert 0.93 <= coverage(1.0, interval, 800) <= 0.97
