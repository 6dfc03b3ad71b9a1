"""Calls of a tape, made in another way, write the same bits to the same memory."""

from functools import partial

import numpy as np
import pytest

from maml_exp.core.replay.shorter import FEW_IN_A_BLOCK, FEW_MATRICES, FEW_NUMBERS, shortened

T, K, N, M = 2, 5, 7, 3
R = 8  # runs


def numbers(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


def product(rng, tasks=T, left=(K, N), right=(N, M)):
    left, right, out = numbers(rng, tasks, *left), numbers(rng, tasks, *right), numbers(rng, tasks, left[0], right[-1])
    return [(np.matmul, (left, right, out))], [out]


def transposed_product(rng):
    left, right, out = numbers(rng, T, N, K), numbers(rng, T, M, N), numbers(rng, T, K, M)
    return [(np.matmul, (left.swapaxes(1, 2), right.swapaxes(1, 2), out))], [out]


def shared_left(rng):
    ones, right, out = np.ones((1, K), "float32"), numbers(rng, T, K, M), numbers(rng, T, 1, M)
    return [(np.matmul, (ones, right, out))], [out]


def part_of_a_matrix(rng):
    left, right, whole = numbers(rng, T, N, K), numbers(rng, T, K, M), numbers(rng, T, N + 1, M)
    return [(np.matmul, (left, right, whole[:, :-1]))], [whole]


def columns_of_a_matrix(rng):
    left, right, whole = numbers(rng, T, N, K), numbers(rng, T, K, M), numbers(rng, T, N, M + 1)
    return [(np.matmul, (left, right, whole[..., :-1]))], [whole]


def columns_of_an_operand(rng):
    left, right, out = numbers(rng, T, K, N + 1)[..., :-1], numbers(rng, T, N, M), numbers(rng, T, K, M)
    return [(np.matmul, (left, right, out))], [out]


def every_other_column(rng):
    left, right, out = numbers(rng, K, 2 * N)[:, ::2], numbers(rng, N, M), numbers(rng, K, M)
    return [(np.matmul, (left, right, out))], [out]


def backwards(rng):
    left, right, out = numbers(rng, T, K, N), numbers(rng, T, N, M)[:, ::-1], numbers(rng, T, K, M)
    return [(np.matmul, (left, right, out))], [out]


def spread_operand(rng):
    left, right, out = np.broadcast_to(numbers(rng, T, K, 1), (T, K, N)), numbers(rng, T, N, M), numbers(rng, T, K, M)
    return [(np.matmul, (left, right, out))], [out]


def of_runs(rng):
    left, right, out = numbers(rng, 1, T, K, N), numbers(rng, 1, T, N, M), numbers(rng, 1, T, K, M)
    return [(np.matmul, (left, right, out))], [out]


def of_no_points(rng):
    left, right, out = numbers(rng, T, K, 0), numbers(rng, T, 0, M), numbers(rng, T, K, M)
    return [(np.matmul, (left, right, out))], [out]


def of_a_list(rng):
    left, right, out = numbers(rng, K, N), numbers(rng, N, M), numbers(rng, K, M)
    return [(np.matmul, (left.tolist(), right, out.astype(float)))], []


def of_two_kinds(rng):
    """Two shapes and two dtypes of operands that are spread, in one tape."""
    z, b, y, c = numbers(rng, T, K, M), numbers(rng, 1, M), numbers(rng, K, T), numbers(rng, 1, T)
    w, d = z.astype(float), b.astype(float) / 3
    return [(np.add, (b, z, z)), (np.add, (c, y, y)), (np.multiply, (d, w, w))], [z, y, w]


def square_and_its_transpose(rng):
    z, out = numbers(rng, K, K), numbers(rng, K, K)
    return [(np.subtract, (z, z.T, out))], [out]


def same_memory_in_two_dtypes(rng):
    z, out = numbers(rng, K, M), np.zeros((K, M), "int32")
    return [(np.abs, (z, z)), (np.add, (z.view("int32"), 1, out))], [z, out]


def product_in_place(rng):
    left, right = numbers(rng, T, K, K), numbers(rng, T, K, K)
    return [(np.matmul, (left, right, right[...]))], [right]


def matrix(rng):
    left, right, out = numbers(rng, K, N), numbers(rng, N, M), numbers(rng, K, M)
    return [(np.matmul, (left, right, out))], [out]


def row(rng):
    left, right, out = numbers(rng, N), numbers(rng, N, M), numbers(rng, M)
    return [(np.matmul, (left, right, out))], [out]


def row_of_all(rng):
    left, right, out = numbers(rng, N), numbers(rng, T, N, M), numbers(rng, T, M)
    return [(np.matmul, (left, right, out))], [out]


def two_dtypes(rng):
    left, right, out = numbers(rng, T, K, N), numbers(rng, T, N, M).astype(float), np.empty((T, K, M))
    return [(np.matmul, (left, right, out))], [out]


def bias(rng):
    z, b = numbers(rng, T, K, M), numbers(rng, T, 1, M)
    return [(np.add, (z, b, z[...]))], [z, b]


def single_number(rng):
    z, b = numbers(rng, K, 1), numbers(rng, 1, 1)
    return [(np.add, (z, b, z))], [z, b]


def outer(rng):
    u, w, out = numbers(rng, T, K, 1), numbers(rng, T, 1, M), numbers(rng, T, K, M)
    return [(np.multiply, (u, w, out)), (np.subtract, (w, u, out[...]))], [out]


def strided(rng):
    drawn, f, out = numbers(rng, K, N), numbers(rng, K, 1), numbers(rng, K, N - 3)
    return [(np.multiply, (f, drawn[:, 3:], out))], [out]


def into_strided(rng):
    whole, b = numbers(rng, T, K, M + 1), numbers(rng, T, 1, M)
    return [(np.add, (whole[..., :-1], b, whole[..., :-1]))], [whole]


def from_its_own_bias(rng):
    z = numbers(rng, K, M)
    return [(np.add, (z, z[:1], z))], [z]


def many_numbers(rng):
    z, b = numbers(rng, FEW_NUMBERS, 2), numbers(rng, 1, 2)
    return [(np.add, (z, b, z))], [z]


def comparison(rng):
    z, out = numbers(rng, K, M), np.empty((K, M), bool)
    return [(np.greater, (z, z[:1], out))], [out]


def concatenation(rng, axis=-2):
    h, rh = numbers(rng, T, K, N), numbers(rng, T, K, N)
    out = numbers(rng, *np.concatenate([h, rh], axis=axis).shape)
    return [(partial(np.concatenate, axis=axis, out=out), ([h, rh],))], [out]


def concatenation_below(rng):
    out = numbers(rng, 2 * K, M)
    return [(partial(np.concatenate, out=out), ([numbers(rng, K, M), numbers(rng, K, M)],))], [out]


def shifted(rng):
    whole = numbers(rng, 2 * K, M)
    return [(partial(np.concatenate, axis=0, out=whole), ([whole[K:], whole[:K]],))], [whole]


def rows_of_runs(rng, points=T * K):
    """Rows of a pass, between those of others, below each other and by task."""
    whole = numbers(rng, R, 3 * points, M)
    rows = whole[:, points : 2 * points]
    return whole, rows, rows.reshape(R, T, -1, M)


def in_blocks(rng):
    whole, _, x = rows_of_runs(rng)
    z = numbers(rng, *x.shape)
    return [(np.add, (x, z, x)), (np.multiply, (z, x, x)), (np.subtract, (z, z, x))], [whole]


def in_large_blocks(rng):
    whole, _, x = rows_of_runs(rng, FEW_IN_A_BLOCK)
    return [(np.add, (x, numbers(rng, *x.shape), x))], [whole]


def larger_in_blocks(rng):
    whole, _, x = rows_of_runs(rng)
    z = numbers(rng, *x.shape)
    return [(partial(np.maximum, out=x), (z, np.zeros_like(z)))], [whole]


def product_in_blocks(rng):
    whole, rows, x = rows_of_runs(rng)
    left, right, slopes = numbers(rng, R, T * K, N), numbers(rng, R, N, M), numbers(rng, *x.shape)
    return [(np.matmul, (left, right, rows)), (np.multiply, (x, slopes, x))], [whole]


def rows_below_each_other(rng):
    whole, x, _ = rows_of_runs(rng)
    return [(np.add, (x, numbers(rng, *x.shape), x))], [whole]


def rows_of_a_matrix(rng):
    whole = numbers(rng, K, N + 1)
    return [(np.add, (whole[:, :N], numbers(rng, K, N), whole[:, :N]))], [whole]


def smaller_in_blocks(rng):
    whole, _, x = rows_of_runs(rng)
    return [(partial(np.minimum, out=x), (numbers(rng, *x.shape), np.zeros_like(x)))], [whole]


def larger_where_it_is_asked_for(rng):
    whole, _, x = rows_of_runs(rng)
    z = numbers(rng, *x.shape)
    return [(partial(np.maximum, out=x, where=z > 1), (z, np.zeros_like(z)))], [whole]


def product_beside_strided(rng, places=slice(None)):
    """Where the other operand has to be copied first, which must not be to where the product is."""
    whole, rows, x = rows_of_runs(rng)
    left, right = numbers(rng, R, T * K, N), numbers(rng, R, N, M)
    operands = (x, numbers(rng, *x.shape[:-1], M + 1)[..., 1:])[places]
    return [(np.matmul, (left, right, rows)), (np.multiply, (*operands, x))], [whole]


def product_behind_strided(rng):
    return product_beside_strided(rng, slice(None, None, -1))


def product_of_other_blocks(rng):
    """As many numbers from the same place on, which are other numbers."""
    whole = numbers(rng, R, 3 * T * K, M)
    x = whole[:, : T * K].reshape(R, T, K, M)
    calls = []
    for product in (
        whole.reshape(-1, M)[: R * T * K].reshape(R, T * K, M),
        whole[: R // 2, : 2 * T * K],
        whole[:, : 2 * T * K : 2],
    ):
        left, right = numbers(rng, len(product), product.shape[1], N), numbers(rng, len(product), N, M)
        calls += [(np.matmul, (left, right, product)), (np.multiply, (x, numbers(rng, *x.shape), x))]
    return calls, [whole]


def product_of_another_dtype(rng):
    """In the same bytes."""
    whole = np.zeros((R, 4 * T * K * M))
    x = whole[:, : T * K * M].reshape(R, T, K, M)
    product = whole.view("float32")[:, : T * K * M].reshape(R, T * K, M)
    left, right, z = numbers(rng, R, T * K, N), numbers(rng, R, N, M), np.ones(x.shape)
    return [(np.matmul, (left, right, product)), (np.multiply, (x, z, x))], [whole]


def call_without_values(rng):
    whole, _, x = rows_of_runs(rng)
    return [(whole.sort, ()), (np.add, (x, x, x))], [whole]


def product_seen_by_others(rng):
    whole, rows, x = rows_of_runs(rng)
    left, right, z = numbers(rng, R, T * K, N), numbers(rng, R, N, M), numbers(rng, *x.shape)
    return [(np.matmul, (left, right, rows)), (np.multiply, (x[..., :1], z, x))], [whole]


def product_of_other_rows(rng):
    whole, _, x = rows_of_runs(rng)
    left, right, z = numbers(rng, R, T * K, N), numbers(rng, R, N, M), numbers(rng, *x.shape)
    return [(np.matmul, (left, right, whole[:, -T * K :])), (np.multiply, (x, z, x))], [whole]


def product_of_half_the_rows(rng):
    whole, rows, x = rows_of_runs(rng)
    left, right, z = numbers(rng, R, K, N), numbers(rng, R, N, M), numbers(rng, *x.shape)
    return [(np.matmul, (left, right, rows[:, :K])), (np.multiply, (x, z, x))], [whole]


def others(rng):
    z, total = numbers(rng, T, K, M), numbers(rng, K, M)
    return [(np.sqrt, (np.abs(z), z)), (z.__setitem__, (..., 2)), (np.add.reduce, (z, 0, None, total))], [z, total]


CASES = [
    value
    for name, value in list(globals().items())
    if callable(value) and name not in ("numbers", "partial", "shortened", "rows_of_runs")
]


def both(make):
    """The memory that calls have written, and what they have written in the shape that is made faster."""
    (calls, written), (again, shorter) = make(np.random.default_rng(0)), make(np.random.default_rng(0))
    cheap = shortened(again)
    for function, values in calls:
        function(*values)
    for function, values in cheap:
        function(*values)
    return cheap, written, shorter


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_the_same_bits_stand_in_the_same_memory(make):
    _, written, shorter = both(make)
    for one, other in zip(written, shorter, strict=True):
        assert one.tobytes() == other.tobytes()


def names_of(calls):
    return [getattr(function, "__name__", "partial") for function, _ in calls]


@pytest.mark.parametrize("tasks", [1, 2, FEW_MATRICES, FEW_MATRICES + 1])
def test_few_products_are_made_one_by_one(tasks):
    calls, written, shorter = both(lambda rng: product(rng, tasks))
    assert names_of(calls) == (["dot"] * tasks if tasks <= FEW_MATRICES else ["matmul"])
    assert written[0].tobytes() == shorter[0].tobytes()


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (matrix, ["dot"]),
        (row_of_all, ["matmul"]),
        (columns_of_a_matrix, ["matmul"]),  # which `dot` could not write
        (product_in_place, ["matmul"]),
        (two_dtypes, ["matmul"]),
        (bias, ["__setitem__", "add"]),
        (single_number, ["add"]),
        (outer, ["__setitem__", "__setitem__", "multiply", "__setitem__", "__setitem__", "subtract"]),
        (into_strided, ["add"]),
        (columns_of_an_operand, ["matmul"]),  # which `dot` would copy
        (every_other_column, ["matmul"]),
        (backwards, ["matmul"]),
        (spread_operand, ["matmul"]),
        (of_runs, ["matmul"]),
        (of_no_points, ["matmul"]),
        (of_a_list, ["matmul"]),
        (strided, ["__setitem__", "__setitem__", "multiply"]),
        (of_two_kinds, ["__setitem__", "add", "__setitem__", "add", "__setitem__", "multiply"]),
        (many_numbers, ["add"]),
        (comparison, ["greater"]),
        (concatenation, ["__setitem__", "__setitem__"]),
        (shifted, ["partial"]),  # its parts are where it goes
        (in_large_blocks, ["add"]),
        (rows_below_each_other, ["__setitem__", "add", "__setitem__"]),
        (rows_of_a_matrix, ["add"]),
        (smaller_in_blocks, ["partial", "__setitem__"]),
        (larger_where_it_is_asked_for, ["partial"]),
        (product_beside_strided, ["matmul", "__setitem__", "multiply", "__setitem__"]),
        (product_behind_strided, ["matmul", "__setitem__", "multiply", "__setitem__"]),
        (product_of_other_blocks, 3 * ["matmul", "__setitem__", "multiply", "__setitem__"]),
        (larger_in_blocks, ["partial", "__setitem__"]),
        (product_in_blocks, ["matmul", "multiply", "__setitem__"]),
        (product_seen_by_others, ["matmul", "__setitem__", "multiply", "__setitem__"]),
        (product_of_other_rows, ["matmul", "__setitem__", "multiply", "__setitem__"]),
        (product_of_half_the_rows, ["matmul", "__setitem__", "multiply", "__setitem__"]),
        (others, ["sqrt", "__setitem__", "reduce"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_how_calls_are_made(make, names):
    calls, *_ = both(make)
    assert names_of(calls) == names


def test_an_array_is_one_where_its_memory_and_layout_are():
    """For numpy then sees at once that an operand and the result are the same."""
    z = np.ones((K, M), "float32")
    ((_, values),) = shortened([(np.add, (z[...], z[:], z))])
    assert values[0] is values[1] is values[2]
    transposed, read_only = z.T, z[...]
    read_only.flags.writeable = False
    ((_, values),) = shortened([(np.sqrt, (read_only, z))])
    assert values[1] is z
    ((_, values),) = shortened([(np.sqrt, (transposed, transposed))])
    assert values[0].shape == (M, K)
