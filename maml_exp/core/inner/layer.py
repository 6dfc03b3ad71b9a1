"""One layer in the inner loop, in two representations with the same four products.

A gradient is a pair: layer inputs h (T, K, n) and errors d = dL/dz (T, K, m) stand for h^T d, a task's
gradient (n, m), which is not multiplied out until something needs it. Errors of support passes are
kept as u = -alpha d, so the inner loop theta_{r+1} = theta_r - alpha g_r reads, for every task,

    W_r = W + sum_{s<r} h_s^T u_s                  b_r = b + sum_{s<r} 1^T u_s          (rank <= r K)

and pulling v back through inner step s, v <- v - alpha H_s v, adds two pairs:

    v = h_Q^T u_Q + sum_s ( h_s^T R{u_s} + R{h_s}^T u_s )        (the last pair has no bias part)

The four products that forward, backward and R passes need:

    forward(r)        h_r W_r + b_r
    backward(r)       u_r W_r^T
    r_forward(s)      R{h_s} W_s + h_s V + c                     (V, c): v's part of this layer
    r_backward(s)     R{u_s} W_s^T + u_s V^T

`PairedLayer` never forms a task's (n, m) matrix; `MultipliedOutLayer` does, which is cheaper for thin
layers and high ranks. `make_layer` decides, and nothing else knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.arrays import SMALL_MATRIX, RowBuffer, flat, rows_product, shared_product, transpose

Array = np.ndarray


class Layer:
    """Buffers of one layer for all passes, and the sum over tasks of v.

    Passes are numbered 0 .. S; pass S is the query pass, the others are support passes. `points` holds
    the number of points of each. With `ones` the caller appends a constant-one column to the inputs
    (first layer only: it is data), and the bias is simply the last row of the weights.

    inputs[r]    h_r (T, K_r, n)                r_inputs[s]   R{h_s}, not behind constant inputs
    errors[r]    u_r (T, K_r, m)                r_errors[s]   R{u_s}, and at S the same array as u_S

    Of these, `_input_rows` and so on are the same memory as (T K_r, n), `_inputs_t` and `_errors_t` transposed views.
    """

    def __init__(self, n: int, m: int, tasks: int, points: Sequence[int], dtype: np.dtype, ones: bool):
        self.n, self.m, self.ones = n + ones, m, ones
        self.steps = len(points) - 1
        # v's pairs, row by row: (h_s, R{u_s}) of the support passes, (h_S, u_S); then (R{h_s}, u_s), but behind data
        support, later = points[:-1], slice(len(points), None)
        self._left = RowBuffer(tasks, [*points, *(() if ones else support)], self.n, dtype)
        self._right = RowBuffer(tasks, [*points, *support], m, dtype)
        self.inputs, self._input_rows = self._left.by_task[: len(points)], self._left.flat[: len(points)]
        self.r_inputs, self._r_input_rows = self._left.by_task[later], self._left.flat[later]
        self.r_errors, self._r_error_rows = self._right.by_task[: len(points)], self._right.flat[: len(points)]
        self.errors = [*self._right.by_task[later], self.r_errors[-1]]
        self._error_rows = [*self._right.flat[later], self._r_error_rows[-1]]
        self._inputs_t, self._errors_t = [transpose(h) for h in self.inputs], [transpose(u) for u in self.errors]
        self._query = slice(tasks * sum(support), tasks * sum(points))
        self._ones = np.ones(self._query.stop, dtype)
        self._copies_transpose = not ones and m > 1 and n * m < SMALL_MATRIX  # not where nothing would be gained
        shared = {k: np.empty((tasks, k, m), dtype) for k in points}
        self._z = [shared[k] for k in points]

    def bind(self, matrix: Array) -> None:
        """Take the shared [W; b] (n + 1, m), a view of theta, which must not change until the next `bind`."""
        self.matrix = matrix
        self.weight, self.bias = (matrix, None) if self.ones else (matrix[:-1], matrix[-1])
        self.weight_t = self.weight.T.copy() if self._copies_transpose else self.weight.T

    def gradient(self, out: Array, second_order: bool) -> None:
        """Write the sum over tasks of v, multiplied out at last, to out (n + 1, m)."""
        rows = slice(len(self._left.whole)) if second_order else self._query
        rows_product(self._left.whole[rows], self._right.whole[rows], out[: self.n])
        if not self.ones:  # R{h} has no bias part
            rows = slice(self._query.stop) if second_order else self._query
            np.dot(self._ones[rows], self._right.whole[rows], out=out[-1])

    def _shared_forward(self, rows: Array, out: Array) -> Array:
        """h W + b (T, K, m) of rows (T K, n)."""
        z = shared_product(rows, self.weight, out)
        return z if self.ones else np.add(z, self.bias, out=z)

    def _shared_predict(self, h: Array) -> Array:
        """h W + b (T, Q, m) of any inputs h (T, Q, n)."""
        return self._shared_forward(flat(h), np.empty((*h.shape[:2], self.m), h.dtype))

    def _shared_backward(self, r: int, out: Array | None) -> Array:
        """u_r W^T (T, K, n)."""
        return shared_product(self._error_rows[r], self.weight_t, np.empty_like(self.inputs[r]) if out is None else out)

    def _shared_r_forward(self, s: int) -> Array:
        """R{h_s} W (T, K, m), in the buffer of z_s."""
        return shared_product(self._r_input_rows[s], self.weight, self._z[s])

    def _shared_r_backward(self, s: int) -> Array:
        """R{u_s} W^T (T, K, n)."""
        return shared_product(self._r_error_rows[s], self.weight_t, np.empty_like(self.inputs[s]))


class PairedLayer(Layer):
    """W_r and v stay pairs; every product with them goes through small (K, K) matrices.

    The small matrices h_r h_s^T (+ 1, the bias) and u_r u_s^T of the later pass r are, transposed, the ones
    that pulling v back through step s needs again: they are kept, and computed once.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._grams: dict[tuple[str, int, int], Array] = {}

    def _gram(self, kind: str, r: int, s: int, a: Array, b_t: Array) -> Array:
        """a_r b_s^T (T, K_r, K_s), kept under (kind, r, s)."""
        gram = self._grams[kind, r, s] = np.matmul(a, b_t, out=self._grams.get((kind, r, s)))
        if kind == "h" and not self.ones:
            gram += 1
        return gram

    def _kept(self, kind: str, r: int, s: int) -> Array:
        """The transposed product of an earlier call: (T, K_s, K_r)."""
        return transpose(self._grams[kind, r, s])

    def forward(self, r: int) -> Array:
        """h_r W_r + b_r (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        z = self._shared_forward(self._input_rows[r], self._z[r])
        for s in range(r):
            z += self._gram("h", r, s, self.inputs[r], self._inputs_t[s]) @ self.errors[s]
        return z

    def predict(self, h: Array, r: int) -> Array:
        """h W_r + b_r for any inputs h (T, Q, n); nothing is kept."""
        z = self._shared_predict(h)
        for s in range(r):
            gram = h @ self._inputs_t[s]
            gram += not self.ones
            z += gram @ self.errors[s]
        return z

    def learn(self, r: int) -> None:
        """Make step r: nothing to do, the pair is the step."""

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        e = self._shared_backward(r, out)
        for s in range(r):
            e += self._gram("u", r, s, self.errors[r], self._errors_t[s]) @ self.inputs[s]
        return e

    def start_pull_back(self) -> None:
        """v = h_Q^T u_Q: the pair is v."""

    def pulled_back(self, s: int) -> None:
        """Add step s's two pairs to v: they are there."""

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + h_s V + c (T, K, m)."""
        last = self.steps
        rz = self._kept("h", last, s) @ self.r_errors[last]
        for r in range(s + 1, last):
            rz += self._kept("h", r, s) @ self.r_errors[r]
            if not self.ones:
                rz += self._kept("rh", r, s) @ self.errors[r]
        if not self.ones:
            rz += self._shared_r_forward(s)
            for r in range(s):
                rz += self._gram("rh", s, r, self.r_inputs[s], self._inputs_t[r]) @ self.errors[r]
        return rz

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + u_s V^T (T, K, n)."""
        last = self.steps
        re = self._shared_r_backward(s)
        re += self._kept("u", last, s) @ self.inputs[last]
        for r in range(s + 1, last):
            re += self._kept("ru", r, s) @ self.inputs[r]
            re += self._kept("u", r, s) @ self.r_inputs[r]
        for r in range(s):
            re += self._gram("ru", s, r, self.r_errors[s], self._errors_t[r]) @ self.inputs[r]
        return re


class TaskMatrices:
    """[W; b] of every task, (T, n + 1, m), and views of its parts; with `ones` the weights are all of it."""

    def __init__(self, tasks: int, n: int, m: int, dtype: np.dtype, ones: bool):
        self.whole = np.empty((tasks, n + 1, m), dtype)
        self.weight, self.bias = (self.whole, None) if ones else (self.whole[:, :-1], self.whole[:, -1:])
        self.weight_t = transpose(self.weight)

    def product(self, h: Array, out: Array | None = None) -> Array:
        """h W + b (T, K, m)."""
        z = np.matmul(h, self.weight, out=out)
        return z if self.bias is None else np.add(z, self.bias, out=z)

    def multiply_out(self, h_t: Array, u: Array, ones: Array) -> Array:
        """Become [h^T u; 1^T u], and return that; `ones` (1, K) has a zero where a row has no bias part."""
        np.matmul(h_t, u, out=self.weight)
        if self.bias is not None:
            np.matmul(ones, u, out=self.bias)
        return self.whole


class MultipliedOutLayer(Layer):
    """[W_r; b_r] and [V; c] as one (n + 1, m) matrix a task."""

    def __init__(self, n: int, m: int, tasks: int, points: Sequence[int], dtype: np.dtype, ones: bool):
        super().__init__(n, m, tasks, points, dtype, ones)
        *self._adapted, self._v = (TaskMatrices(tasks, n, m, dtype, ones) for _ in range(self.steps + 1))
        self._row = np.ones((1, max(points)), dtype)
        if self.steps > 1:  # for `pulled_back`: a change of v, and both pairs that make it, of which one has a bias
            self._change, both = TaskMatrices(tasks, n, m, dtype, ones), 2 * points[0]
            self._lefts, self._rights = (np.empty((tasks, both, width), dtype) for width in (self.n, m))
            self._row_of_both = np.repeat(np.array([[1, 0]], dtype), points[0], axis=1)
        if m == 1:  # `backward` is an outer product, `r_backward` the sum of two
            columns = {k: np.zeros((tasks, k, 2), dtype) for k in points}
            self._columns, self._rows = [columns[k] for k in points], np.zeros((tasks, 2, self.n), dtype)
            self._r_columns, self._r_rows = np.empty((tasks, points[0], 2), dtype), np.empty_like(self._rows)

    def forward(self, r: int) -> Array:
        """h_r W_r + b_r (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        if r == 0:
            return self._shared_forward(self._input_rows[r], self._z[r])
        return self._adapted[r - 1].product(self.inputs[r], self._z[r])

    def predict(self, h: Array, r: int) -> Array:
        """h W_r + b_r for any inputs h (T, Q, n); nothing is kept."""
        return self._adapted[r - 1].product(h) if r else self._shared_predict(h)

    def learn(self, r: int) -> None:
        """Make step r: [W_{r+1}; b_{r+1}] = [W_r; b_r] + [h_r^T u_r; 1^T u_r]."""
        u = self.errors[r]
        step = self._adapted[r].multiply_out(self._inputs_t[r], u, self._row[:, : u.shape[1]])
        step += self._adapted[r - 1].whole if r else self.matrix

    def _weight_t(self, r: int) -> Array:
        """W_r^T (T or 1, m, n)."""
        return self._adapted[r - 1].weight_t if r else self.weight_t[None]

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        u = self.errors[r]
        if self.m == 1:  # beside a column and a row of zeros: numpy's matmul is slow at a single one
            columns, rows = self._columns[r], self._rows
            columns[..., :1], rows[:, :1] = u, self._weight_t(r)
            return np.matmul(columns, rows, out=out)
        return np.matmul(u, self._weight_t(r), out=out) if r else self._shared_backward(r, out)

    def start_pull_back(self) -> None:
        """v = h_Q^T u_Q."""
        u = self.errors[-1]
        self._v.multiply_out(self._inputs_t[-1], u, self._row[:, : u.shape[1]])

    def pulled_back(self, s: int) -> None:
        """v += h_s^T R{u_s} + R{h_s}^T u_s; not behind step 0, where `gradient` sums the rows instead."""
        if s == 0:
            return
        left_t, right, row = self._inputs_t[s], self.r_errors[s], self._row
        if not self.ones:  # both pairs in one product; the second has no bias part
            left_t = transpose(np.concatenate([self.inputs[s], self.r_inputs[s]], axis=1, out=self._lefts))
            right = np.concatenate([right, self.errors[s]], axis=1, out=self._rights)
            row = self._row_of_both
        self._v.whole += self._change.multiply_out(left_t, right, row)

    def gradient(self, out: Array, second_order: bool) -> None:
        """Write the sum over tasks of v to out (n + 1, m); after several steps most of it is multiplied out already."""
        if not second_order or self.steps < 2:
            super().gradient(out, second_order)
            return
        np.add.reduce(self._v.whole, axis=0, out=out)
        ru = self._r_error_rows[0]
        out[: self.n] += self._input_rows[0].T @ ru
        if not self.ones:
            out[:-1] += self._r_input_rows[0].T @ self._error_rows[0]
            out[-1] += self._ones[: len(ru)] @ ru

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + h_s V + c (T, K, m)."""
        rz = self._v.product(self.inputs[s])
        if not self.ones:
            rz += self.r_inputs[s] @ self._adapted[s - 1].weight if s else self._shared_r_forward(s)
        return rz

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + u_s V^T (T, K, n)."""
        u, ru = self.errors[s], self.r_errors[s]
        if self.m == 1:
            columns, rows = self._r_columns, self._r_rows
            columns[..., :1], columns[..., 1:] = u, ru
            rows[:, :1], rows[:, 1:] = self._v.weight_t, self._weight_t(s)
            return np.matmul(columns, rows)
        re = u @ self._v.weight_t
        re += ru @ self._weight_t(s) if s else self._shared_r_backward(s)
        return re


def pairs_pay(n: int, m: int, rank: int) -> bool:
    """The one rule: R pairs are R (n + m) numbers a task, multiplied out they are n m.

    Pairs pay somewhat beyond equality, since products with the shared W stay one large product over all
    tasks; the factor 1.5 is where both were measured to take the same time (docs/performance.md).
    """
    return rank * (n + m) < 1.5 * n * m


def make_layer(
    n: int,
    m: int,
    tasks: int,
    points: Sequence[int],
    dtype: np.dtype,
    ones: bool = False,
    pairs: bool | None = None,
) -> Layer:
    """A layer in the representation that costs less (`pairs` forces one: for tests and benchmarks)."""
    pairs = pairs_pay(n, m, sum(points[:-1])) if pairs is None else pairs
    kind = PairedLayer if pairs else MultipliedOutLayer
    return kind(n, m, tasks, points, np.dtype(dtype), ones)
