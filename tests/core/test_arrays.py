import numpy as np
import pytest

from maml_exp.core import arrays as module
from maml_exp.core.arrays import RowBuffer, Workspace, flat, norm, product_for, rows_product, transpose

from .helpers import relative_error


@pytest.mark.parametrize("rows", [1, 2, 7, 50, 51])
@pytest.mark.parametrize("small_product", [1, 12, 100, 125, 10**6])  # one block a row .. one block in all
def test_rows_product_is_the_product_whatever_the_blocks(rows, small_product, monkeypatch):
    monkeypatch.setattr(module, "SMALL_PRODUCT", small_product)
    rng = np.random.default_rng(rows)
    left, right, out = rng.standard_normal((rows, 3)), rng.standard_normal((rows, 4)), np.full((3, 4), np.nan)
    rows_product(left, right, out)
    exact = sum(np.outer(a, b) for a, b in zip(left, right, strict=True))
    assert relative_error(out, exact) < 1e-13


def test_large_matrices_are_summed_in_one_product(monkeypatch):
    monkeypatch.setattr(module, "SMALL_MATRIX", 12)
    monkeypatch.setattr(module, "SMALL_PRODUCT", 1)
    rng = np.random.default_rng(0)
    left, right, out = rng.standard_normal((9, 3)), rng.standard_normal((9, 4)), np.empty((3, 4))
    rows_product(left, right, out)
    assert np.array_equal(out, left.T @ right)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [2, 20, 250])
@pytest.mark.parametrize(("n", "m"), [(2, 40), (40, 40), (40, 1), (1, 40), (3, 2), (100, 100)])
def test_products_of_several_runs_have_the_bits_of_one(dtype, rows, n, m):
    rng = np.random.default_rng(0)
    one, several = product_for((5,)), product_for((3, 5))
    inputs, matrix = rng.standard_normal((3, rows, n)).astype(dtype), rng.standard_normal((3, n, m)).astype(dtype)
    errors, ones = rng.standard_normal((3, rows, m)).astype(dtype), np.ones(rows, dtype)
    pairs = [(inputs, matrix), (errors, transpose(matrix)), (transpose(inputs), errors), (ones, errors)]
    for left, right in pairs:
        found = several(left, right)
        for run in range(3):
            alone = one(left if left.ndim == 1 else left[run], right[run])
            assert np.array_equal(found[run], alone)


def test_views_of_a_row_buffer_share_its_memory_in_order():
    buffer = RowBuffer((2,), [3, 1, 4], 5, np.dtype(np.float32))
    assert buffer.whole.shape == (16, 5)
    assert buffer.whole.dtype == np.float32
    assert [rows.shape for rows in buffer.flat] == [(6, 5), (2, 5), (8, 5)]
    assert [rows.shape for rows in buffer.by_task] == [(2, 3, 5), (2, 1, 5), (2, 4, 5)]
    for number, rows in enumerate(buffer.by_task):
        rows.fill(number)
    assert np.array_equal(buffer.whole[:, 0], np.repeat([0, 1, 2], [6, 2, 8]))
    buffer.whole[:, 0] = np.arange(16)
    for rows, by_task in zip(buffer.flat, buffer.by_task, strict=True):
        assert np.array_equal(flat(by_task), rows)
    assert np.array_equal(buffer.by_task[2][:, :, 0], [[8, 9, 10, 11], [12, 13, 14, 15]])


def test_passes_that_are_not_kept_have_the_same_rows():
    buffer = RowBuffer((2,), [3, 1, 3], 5, np.dtype(np.float32), kept=False)
    assert buffer.whole.shape == (6, 5)
    assert [rows.shape for rows in buffer.by_task] == [(2, 3, 5), (2, 1, 5), (2, 3, 5)]
    buffer.by_task[0].fill(7)
    assert (buffer.by_task[2] == 7).all()
    assert (buffer.by_task[1] == 7).all()


@pytest.mark.parametrize(("vector", "length"), [([3.0, -4.0], 5.0), ([0.0], 0.0), ([1e-3] * 4, 2e-3)])
def test_norm_is_euclidean(vector, length):
    assert norm(np.array(vector)) == pytest.approx(length, rel=1e-14)


def test_norm_is_finite_where_squares_overflow():
    with np.errstate(over="ignore"):  # as a training step has it
        assert norm(np.full(4, 1e30, np.float32)) == pytest.approx(2e30, rel=1e-6)
        assert norm(np.array([np.inf], np.float32)) == np.inf


def test_a_workspace_gives_the_same_memory_again_and_more_where_it_does_not_do():
    workspace, double = Workspace(), np.dtype(float)
    first = workspace.empty("a", (3, 4), double)
    first[:] = 1
    again = workspace.empty("a", (2, 5), double)
    assert again.shape == (2, 5)
    assert again.flags.c_contiguous
    assert np.shares_memory(first, again)
    others = [workspace.empty("b", (3, 4), double), workspace.empty("a", (3, 4), np.dtype(np.float32))]
    assert not any(np.shares_memory(first, other) for other in others)
    assert others[1].dtype == np.float32
    larger = workspace.empty("a", (5, 5), double)
    assert not np.shares_memory(first, larger)
    assert np.shares_memory(larger, workspace.empty("a", (3, 4), double))
    assert workspace.empty("a", (), double).shape == ()
