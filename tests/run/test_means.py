"""Means for rows of scalars: iterations are added one by one, in their order, whenever somebody asks."""

import numpy as np

from maml_exp.core.training import StepMetrics
from maml_exp.run.metrics_log import MOST_WAITING, Means

RNG = np.random.default_rng(0)
VALUES = [StepMetrics(*(10 ** RNG.uniform(-8, 8, 3)), {"share": 1e8 * RNG.random()}) for _ in range(50)]
TAGS = ("meta/loss", "meta/support_loss", "meta/grad_norm", "meta/share")


def one_by_one(values):
    totals = [0.0] * 4
    for *of_all, extras in values:
        for place, value in enumerate([*of_all, extras["share"]]):
            totals[place] += value
    return dict(zip(TAGS, totals, strict=True))


def filled(values, sums=None):
    means = Means(sums)
    for one in values:
        means.add(one)
    return means


def test_sums_are_those_of_adding_one_by_one():
    assert filled(VALUES).sums() == one_by_one(VALUES) | {"count": 50.0}


def test_whoever_asks_in_between_changes_no_bit():
    means = Means()
    for number, values in enumerate(VALUES):
        means.add(values)
        if number % 7 == 0:
            means.sums()
    assert means.sums() == filled(VALUES).sums()


def test_a_checkpoint_goes_on_where_it_was():
    resumed = filled(VALUES[20:], filled(VALUES[:20]).sums())
    assert resumed.take() == {tag: total / 50 for tag, total in one_by_one(VALUES).items()}


def test_the_next_row_is_of_what_comes_after():
    means = filled(VALUES[:20])
    means.take()
    for one in VALUES[20:]:
        means.add(one)
    assert means.take() == {tag: total / 30 for tag, total in one_by_one(VALUES[20:]).items()}


def test_what_is_measured_now_and_then_is_added_up():
    rare = [StepMetrics(1.0, 2.0, 3.0, {"a": 4.0} if number == 1 else {}) for number in range(3)]
    assert filled(rare).sums()["meta/a"] == 4.0


def test_a_row_that_is_far_away_takes_no_more_memory():
    means, values = Means(), [StepMetrics(float(number), 0.1, 1e-3, {}) for number in range(2 * MOST_WAITING + 5)]
    for one in values:
        means.add(one)
        assert len(means._waiting) < MOST_WAITING
    assert means.sums() == one_by_one_without_extras(values)


def one_by_one_without_extras(values):
    totals = [0.0] * 3
    for *of_all, _ in values:
        totals = [total + value for total, value in zip(totals, of_all, strict=True)]
    return dict(zip(TAGS[:3], totals, strict=True)) | {"count": float(len(values))}
