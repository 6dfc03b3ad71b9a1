"""Meta-batches drawn by a trainer: a family's own, to the bit, replayed or not, of one run and of several."""

import numpy as np
import pytest

from maml_exp.config.composing import compose
from maml_exp.core.replay import WARM_UP
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training.draws import MOST_ATTEMPTS, Draws, Streams, _Noting

TIMES = WARM_UP + 4
REPLAYED = (
    ["task=sinusoid"],
    ["task=sinusoid", "task.noise=0.3", "task.oracle=true"],
    ["task=sinusoid", "task.support_targets=shifted"],
    ["task=sinusoid", "task.support_targets=root", "task.frequency=[1,2]"],
    ["task=sinusoid", "task.support_targets=none"],
    ["task=harmonic"],
    ["task=polynomial", "task.noise=0.1"],
)
AS_EVER = (["task=sinusoid", "task.x_training=grid"], ["task=mixture"], ["task=glyphs"], ["+experiment=fertility"])


def family_of(settings):
    return compose(settings).reading().problem.family


def assert_same(batch, expected):
    for one, other in zip(batch, expected, strict=True):
        assert one.tobytes() == other.tobytes()
        assert one.dtype == other.dtype
        assert one.shape == other.shape


@pytest.mark.parametrize("settings", REPLAYED + AS_EVER, ids=" ".join)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_meta_batches_are_the_familys_and_generators_stand_where_it_leaves_them(settings, dtype):
    family = family_of(settings)
    draws, rng, other = Draws(family, 3, dtype), np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(TIMES):
        assert_same(draws(rng), family.sample(other, 3, dtype))
        assert rng.bit_generator.state == other.bit_generator.state
    assert draws.is_replayed == (settings in REPLAYED)


@pytest.mark.parametrize("settings", [*REPLAYED, AS_EVER[0]], ids=" ".join)
def test_meta_batches_of_several_runs_are_each_runs_own(settings):
    family, seeds = family_of(settings), (5, 6)
    draws = Draws(family, 3, "float32", runs=(2,))
    generators, own = ([np.random.default_rng(seed) for seed in seeds] for _ in range(2))
    for _ in range(TIMES):
        batch = draws(Streams(generators))
        for run, rng in enumerate(own):
            assert_same([points[run] for points in batch], family.sample(rng, 3, "float32"))


def until_all_are_small(rng, shape):
    x = rng.random(shape)
    while (x > 0.5).any():
        x = rng.random(shape)
    return x


def until_all_are_small_unseen(rng, shape):
    x = rng.random(shape)
    while not (np.asarray(x) < 0.98).all():
        x = rng.random(shape)
    return x


def others_beside(rng, shape):
    return rng.random(shape) + rng.gamma(1.0, size=shape)


def single_numbers(rng, shape):
    return rng.random(shape) * rng.random()


def in_another_dtype(rng, shape):
    return rng.random(shape, dtype=np.float32) + rng.random(shape)


def to_memory_of_its_own(rng, shape):
    x = np.empty(shape)
    rng.random(out=x)
    return x + rng.random(shape)


def to_memory_of_its_own_by_shape(rng, shape):
    x = np.empty(shape)
    rng.random(shape, out=x)
    return x + 1


def nothing(rng, shape):
    return np.ones(shape)


def from_a_generator_of_its_own(rng, shape):
    return np.random.default_rng(int(rng.integers(100))).random(shape)


def by_name(rng, shape):
    return np.random.default_rng(rng).random(size=shape) + rng.standard_normal(size=shape)


class Drawing:
    """A family, one of ours, that draws its numbers in one of these ways."""

    __module__ = "maml_exp.core.of_tests"

    def __init__(self, draw):
        self.draw = draw

    def sample(self, rng, tasks, dtype):
        x = self.draw(rng, (tasks, 1, 1))
        return Batch(*(points.astype(dtype) for points in (x, 2 * x, x + 1, x * x)))


IN_OTHER_WAYS = (until_all_are_small, until_all_are_small_unseen, others_beside, single_numbers)
OF_OTHER_KINDS = (
    in_another_dtype,
    to_memory_of_its_own,
    to_memory_of_its_own_by_shape,
    from_a_generator_of_its_own,
    nothing,
)


@pytest.mark.parametrize("draw", [*IN_OTHER_WAYS, *OF_OTHER_KINDS], ids=lambda draw: draw.__name__)
def test_families_that_draw_in_a_way_of_their_own_are_asked_as_ever(draw):
    family, rng, other = Drawing(draw), np.random.default_rng(0), np.random.default_rng(0)
    draws = Draws(family, 2, "float64")
    for _ in range(60):
        assert_same(draws(rng), family.sample(other, 2, "float64"))
        assert rng.bit_generator.state == other.bit_generator.state
        assert not draws.is_replayed


class WarmingUp(Drawing):
    """Draws for one task more the first time."""

    __module__ = "maml_exp.core.of_tests"

    def __init__(self):
        self.calls = 0

    def sample(self, rng, tasks, dtype):
        self.calls += 1
        x = rng.random((tasks + (self.calls == 1), 1, 1)) * 2
        return Batch(x, x + 1, x + 2, x + 3)


def test_a_family_that_draws_otherwise_at_first_is_replayed_from_then_on():
    draws, rng = Draws(WarmingUp(), 2, "float64"), np.random.default_rng(0)
    assert [draws(rng).x_support.shape[0] for _ in range(TIMES + 1)] == [3] + [2] * TIMES
    assert draws.is_replayed


def test_no_family_is_watched_for_ever():
    seen = []

    def note(rng, shape):
        seen.append(isinstance(rng, _Noting))
        return until_all_are_small(rng, shape)

    draws, rng = Draws(Drawing(note), 2, "float64"), np.random.default_rng(0)
    for _ in range(3 * MOST_ATTEMPTS):
        draws(rng)
    assert not any(seen[-MOST_ATTEMPTS:])
    assert seen[0]


def test_a_family_may_take_its_generator_for_numpys():
    family, rng, other = Drawing(by_name), np.random.default_rng(0), np.random.default_rng(0)
    draws = Draws(family, 2, "float64")
    for _ in range(TIMES):
        assert isinstance(rng, np.random.Generator)
        assert_same(draws(rng), family.sample(other, 2, "float64"))
    assert draws.is_replayed


def now_and_then_others(rng, shape):
    x = rng.random(shape)
    return x + rng.integers(9) if np.asarray(x)[0, 0, 0] > 0.9 else x


class OfAUser(Drawing):
    __module__ = "somewhere.else"


def test_families_of_others_are_asked_as_ever():
    family, rng, other = OfAUser(now_and_then_others), np.random.default_rng(0), np.random.default_rng(0)
    draws = Draws(family, 2, "float64")
    for _ in range(60):
        assert_same(draws(rng), family.sample(other, 2, "float64"))
    assert not draws.is_replayed


@pytest.mark.parametrize("method", ["random", "standard_normal"])
@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4)])
def test_streams_split_the_first_axis(method, shape):
    generators = [np.random.default_rng(seed) for seed in (5, 6)]
    drawn = getattr(Streams(generators), method)(shape).reshape(2, 3, 4)
    assert np.array_equal(drawn, [getattr(np.random.default_rng(seed), method)((3, 4)) for seed in (5, 6)])
