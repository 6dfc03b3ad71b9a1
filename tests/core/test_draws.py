"""Meta-batches drawn by a trainer: a family's own, to the bit, replayed or not, of one run and of several."""

import numpy as np
import pytest

from maml_exp.config.composing import compose
from maml_exp.core.replay import WARM_UP
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training.draws import Draws, Streams

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
    assert draws._computed.is_trusted == (settings in REPLAYED)


@pytest.mark.parametrize("settings", [*REPLAYED, AS_EVER[0]], ids=" ".join)
def test_meta_batches_of_several_runs_are_each_runs_own(settings):
    family, seeds = family_of(settings), (5, 6)
    draws = Draws(family, 3, "float32", runs=(2,))
    generators, own = ([np.random.default_rng(seed) for seed in seeds] for _ in range(2))
    for _ in range(TIMES):
        batch = draws(Streams(generators))
        for run, rng in enumerate(own):
            assert_same([points[run] for points in batch], family.sample(rng, 3, "float32"))


class Rejecting:
    """Draws until what it has is below a half, or in a way of its own."""

    def __init__(self, own_way):
        self.own_way = own_way

    def sample(self, rng, tasks, dtype):
        x = rng.random((tasks, 1, 1))
        while not self.own_way and (x > 0.5).any():
            x = rng.random((tasks, 1, 1))
        y = rng.gamma(1.0, size=x.shape) if self.own_way else 2 * x
        return Batch(*(points.astype(dtype) for points in (x, y, x + y, x - y)))


@pytest.mark.parametrize("own_way", [False, True])
def test_families_that_draw_as_they_go_are_asked_as_ever(own_way):
    family, rng, other = Rejecting(own_way), np.random.default_rng(0), np.random.default_rng(0)
    draws = Draws(family, 2, "float64")
    for _ in range(40):
        assert_same(draws(rng), family.sample(other, 2, "float64"))
        assert not draws._computed.is_trusted


@pytest.mark.parametrize("method", ["random", "standard_normal"])
@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4)])
def test_streams_split_the_first_axis(method, shape):
    generators = [np.random.default_rng(seed) for seed in (5, 6)]
    drawn = getattr(Streams(generators), method)(shape).reshape(2, 3, 4)
    assert np.array_equal(drawn, [getattr(np.random.default_rng(seed), method)((3, 4)) for seed in (5, 6)])
