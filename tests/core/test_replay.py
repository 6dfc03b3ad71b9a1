"""Replayed computations give the bits of those they were written down from, or are never replayed."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from maml_exp.config.composing import compose
from maml_exp.core import replay
from maml_exp.core.replay import WARM_UP, Replayed
from maml_exp.core.replay.tape import Tape
from maml_exp.core.tasks.base import Batch
from maml_exp.core.training import Trainer, make_learner

from .learners import axes
from .test_lockstep import OF_PRESET, OTHERS, PRESETS, SMALL, assert_same_bits

RNG = np.random.default_rng(0)
TIMES = WARM_UP + 4


class Buffers:
    """A state; its module makes it one of ours."""

    __module__ = "maml_exp.core.of_tests"

    def __init__(self):
        self.h = np.zeros((3, 4))
        self.by_step = [np.zeros((3, 4)), np.zeros((3, 4))]
        self.named = {"total": np.zeros(4)}
        self.double = self.twice
        self.product = np.ndarray.dot
        self.seen = 0

    def twice(self, x):
        return x * 2


def run(function, times=TIMES, inputs=((3, 4), (4,))):
    """Ask for a computation a few times with other inputs; every result is compared with the function's own."""
    computed, state = Replayed(function, Buffers()), Buffers()
    for _ in range(times):
        values = [RNG.standard_normal(shape) for shape in inputs]
        found = computed(*values)
        expected = function(state, *values)
        assert replay._same_bits(replay._each(np.copy, found), replay._each(np.copy, expected))
    return computed


def elementwise(state, x, y):
    np.multiply(x, y, out=state.h)
    state.h += 1
    state.h[:, 1:] -= x[:, :-1]
    return np.maximum(state.h, 0.0), state.h


def of_buffers(state, x, y):
    state.by_step[0][...] = x
    state.by_step[1][:] = y
    state.by_step[1][0] = -y
    np.add(*state.by_step, out=state.h)
    np.add.reduce(state.h, axis=0, out=state.named["total"])
    return state.double(state.named["total"])


def products(state, x, y):
    left, right = x.reshape(4, 3), np.ascontiguousarray(x)
    return [x @ y, state.product(x, left), x.T.dot(x), y.dot(y), np.dot(x, y), np.einsum("ij,j->i", right, y)]


def results_that_are_dropped(state, x, y):
    for _ in range(5):
        x = (x + y) * 0.5  # memory of earlier ones is used again
    z = x[0]
    del x
    return np.sqrt(z * z + 1) + (y - 1) * (y + 1)


def other_functions(state, x, y):
    order = x.argsort(axis=1)
    both = np.concatenate([x, x * y], axis=0)
    wide = np.broadcast_to(np.repeat(y, 2), (3, 8))
    return both, np.where(x > 0, x, y), wide * 2, x.mean(axis=0), np.stack([y, -y]), np.zeros_like(order)


def picked(state, x, y):
    rows = np.array([2, 0])
    state.h[...] = 0
    np.add.at(state.h, (rows,), x[rows])
    x = x.astype(np.float32)
    x[rows, 0] = 5
    return x[rows], x[0, 1], state.h, x.copy(), x[:, ::2].reshape(-1)


def reductions(state, x, y):
    return x.sum(), np.add.reduce(x, axis=None), np.max(x, axis=-1, keepdims=True), x.reshape(-1).dot(x.reshape(-1))


def in_bits(state, x, y):
    return np.greater(x, 0, out=np.empty_like(x), casting="unsafe"), np.log(-np.abs(y)), np.clip(x, -1, 1)


def counts(state, x, y):
    return x * np.count_nonzero(x > 0, axis=0), np.sum(x) * y, np.split(x, 3)


REPLAYED = (counts, elementwise, of_buffers, products, results_that_are_dropped, picked, reductions, in_bits)


@pytest.mark.parametrize("function", REPLAYED, ids=lambda function: function.__name__)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_computed_from_arrays_alone_is_replayed(function):
    assert run(function).is_trusted


def accumulates(state, x, y):
    total = np.zeros(4)  # not seen: it is nobody's view
    total += y
    return total


def depends_on_a_number(state, x, y):
    return x * 2 if float(y[0]) > 0 else x * 3


def depends_on_a_truth(state, x, y):
    return x if (x > y).all() else y


def takes_a_number_out(state, x, y):
    return x * np.asarray(y)[0]


def remembers(state, x, y):
    state.seen += 1
    return x * state.seen


def sorts(state, x, y):
    return np.asarray(x).argsort(axis=1) * y


def branches_seldom(state, x, y):
    return np.minimum(x, 1) if np.any(x > 4) else x


def divides_by_the_largest(state, x, y):
    largest = np.max(x)
    return x / largest if largest > 3.9 else x


def compares(state, x, y):
    return x + np.array_equal(x[0], y)


def picks_what_is_large(state, x, y):
    return np.take(x, np.where(x[0] > 3.9)[0], axis=1).sum(axis=1)


def sums_a_list(state, x, y):
    return np.add.reduce([x, x]) * 0 if (np.asarray(x) < 9).all() else x


BY_NUMBERS = (branches_seldom, divides_by_the_largest, compares, picks_what_is_large, sums_a_list)
BY_ACCIDENT = (accumulates, depends_on_a_number, depends_on_a_truth, takes_a_number_out, remembers, sorts)
NEVER = (*BY_ACCIDENT, *BY_NUMBERS)


@pytest.mark.parametrize("function", NEVER, ids=lambda function: function.__name__)
def test_what_depends_on_more_is_computed_as_ever(function):
    if function is remembers:
        computed = Replayed(function, Buffers())
        results = [computed(np.ones((3, 4)), np.ones(4))[0, 0] for _ in range(TIMES)]
        assert results[:2] == [1, 2]
        assert np.diff(results).min() > 0
    else:
        computed = run(function)
    assert not computed.is_trusted


def test_a_check_that_would_agree_by_accident_is_none():
    """At the values that are checked the inputs make no difference."""
    computed = Replayed(lambda state, x, y: np.maximum(np.asarray(x) * 1, 0) + y, Buffers())
    for _ in range(TIMES):
        computed(-np.ones((3, 4)), np.ones(4))
    assert computed(np.ones((3, 4)), np.ones(4)).tolist() == [[2.0] * 4] * 3


def test_a_tape_dies_with_what_it_was_written_for():
    computed = run(products)  # a transpose, which numpy makes, keeps what it was made from
    tape = weakref.ref(computed._tape)
    assert computed.is_trusted
    del computed
    gc.collect()
    assert tape() is None


def test_an_array_of_the_dtype_that_is_asked_for_is_itself():
    tape = Tape([np.ones((3, 4))])
    (x,) = tape.traced_inputs
    same, other = x.astype(float, copy=False), x.astype("float32", copy=False)
    assert same is x
    assert not np.may_share_memory(other, x)
    del same, other
    assert not np.may_share_memory(x * 2, x)  # which is not free for others


def test_what_cannot_be_made_again_is_computed_as_ever():
    def spread(state, x, y):
        return np.broadcast_to(array=y * 2, shape=x.shape) + x

    run(spread)


def test_other_functions_of_numpy_are_replayed_or_computed_as_ever():
    run(other_functions)


def test_an_error_is_the_function_s_own():
    def fails(state, x, y):
        raise ZeroDivisionError("its own")

    computed = Replayed(fails, Buffers())
    for _ in range(TIMES):
        with pytest.raises(ZeroDivisionError, match="its own"):
            computed(np.ones((3, 4)), np.ones(4))


def test_unwatched_it_is_computed_as_ever():
    computed, state = Replayed(elementwise, Buffers(), watched=False), Buffers()
    for _ in range(TIMES):
        x, y = RNG.standard_normal((3, 4)), RNG.standard_normal(4)
        assert computed(x, y)[0].tobytes() == elementwise(state, x, y)[0].tobytes()
    assert not computed.is_trusted


def test_inputs_stay_as_they_are_and_are_not_kept():
    computed = run(elementwise)
    x, y = np.ones((3, 4)), np.ones(4)
    first = computed(x, y)[0].copy()
    x[...], y[...] = 7, 7
    assert computed(np.ones((3, 4)), np.ones(4))[0].tobytes() == first.tobytes()
    assert (x == 7).all()
    assert (y == 7).all()


def test_memory_is_used_again_as_without_a_tape():
    computed = run(results_that_are_dropped)
    written = [values[-1] for _, values in computed._tape._calls if values and isinstance(values[-1], np.ndarray)]
    sums = [array for array in written if array.shape == (3, 4)]
    assert len(sums) > 5
    assert len({array.ctypes.data for array in sums}) <= 3


FURTHER = [
    ["inner.steps=0"],
    ["algorithm.outer=first_order", "algorithm.learn_rates=true", "algorithm.rates=weight"],
    ["algorithm=cavia", "algorithm.outer=first_order"],
    ["algorithm=cavia", "algorithm.outer=first_order", "algorithm.context_start=learned"],
    ["algorithm=maml_plus_plus", "algorithm.step_losses_until=0.5", "training.iterations=1000"],
    ["algorithm.first_order_until=0.5", "inner.steps=1"],
    ["task.shots=[2,4]", "evaluation.shots=[2,4]"],
    ["training.log_curvature=true"],
]


@pytest.mark.parametrize(
    "overrides",
    [*([f"algorithm={name}", *OF_PRESET.get(name, [])] for name in PRESETS), *OTHERS, *FURTHER],
    ids=" ".join,
)
def test_training_has_the_bits_that_it_has_without(overrides):
    require_same_bits(compose([*SMALL, *overrides]).problem)


@pytest.mark.parametrize("overrides", [[], ["inner.steps=0"], ["algorithm=joint"], ["model.layer_norm=true"]], ids=str)
def test_classes_have_the_bits_that_they_have_without(overrides):
    require_same_bits(replace(compose([*SMALL, *overrides]).problem, task=axes.ClassesSettings(shots=4, query=5)))


def require_same_bits(problem):
    """Train with replays and without; compare every iteration."""
    replayed, plain = Trainer(problem), Trainer(problem)
    plain.learner = make_learner(problem, replays=False)
    state, other = replayed.init(0), plain.init(0)
    for _ in range(8):
        state, metrics = replayed.train_step(state)
        other, expected = plain.train_step(other)
        assert metrics == expected
        assert_same_bits(state, other)
    asked = [computed for computed in replayed.learner._replayed.values() if computed._calls >= WARM_UP + 2]
    assert all(computed.is_trusted for computed in asked)
    assert asked or problem.algorithm.step_losses == "annealed"  # which change too often in so short a training


def test_a_gradient_is_not_the_memory_of_the_next_one():
    trainer = Trainer(compose(SMALL).problem)
    state = trainer.init(0)
    batches = [Batch(*map(np.copy, trainer._draw(state.rng, state.learner_rng))) for _ in range(TIMES)]
    found = [trainer.learner.meta_gradient(state.vector, batch, state.learner_rng, 0.0) for batch in batches]
    again = make_learner(trainer.problem, replays=False)
    for batch, one in zip(batches, found, strict=True):
        assert one.vector.tobytes() == again.meta_gradient(state.vector, batch, None, 0.0).vector.tobytes()


def test_a_diverging_run_diverges_at_the_same_iteration():
    problem = compose([*SMALL, "inner.lr=100", "optimizer.lr=10"]).problem
    losses = []
    for options in ({}, {"replays": False}):
        trainer = Trainer(replace(problem, iterations=30))
        trainer.learner = make_learner(problem, **options)
        state, found = trainer.init(0), []
        for _ in range(30):
            state, metrics = trainer.train_step(state)
            found.append(metrics.loss)
        losses.append(found)
    assert not np.isfinite(losses[0]).all()
    assert np.array(losses[0]).tobytes() == np.array(losses[1]).tobytes()
