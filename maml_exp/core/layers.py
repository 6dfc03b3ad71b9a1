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

Array = np.ndarray


def transpose(a: Array) -> Array:
    """Swap the last two axes (a view)."""
    return a.swapaxes(-1, -2)


def shared_product(rows: Array, matrix: Array, out: Array | None = None) -> Array:
    """rows (T, K, n) times one matrix (n, m) for all tasks, as a single product over T*K rows."""
    tasks, points, n = rows.shape
    out = np.empty((tasks, points, matrix.shape[1]), rows.dtype) if out is None else out
    np.matmul(rows.reshape(tasks * points, n), matrix, out=out.reshape(tasks * points, -1))
    return out


class Layer:
    """Buffers of one layer for all passes, and the sum over tasks of v.

    Passes are numbered 0 .. S; pass S is the query pass, the others are support passes. `points` holds
    the number of points of each. With `ones` the caller appends a constant-one column to the inputs
    (first layer only: it is data), and the bias is simply the last row of the weights.

    inputs[r]    h_r (T, K_r, n)                r_inputs[s]   R{h_s}, None behind constant inputs
    errors[r]    u_r (T, K_r, m)                r_errors[s]   R{u_s}, and at S the same array as u_S
    """

    def __init__(self, n: int, m: int, tasks: int, points: Sequence[int], dtype: np.dtype, ones: bool):
        self.n, self.m, self.ones = n + ones, m, ones
        self.steps = len(points) - 1
        self._h_rows, self.inputs = _row_buffer(tasks, points, self.n, dtype)
        self._x_rows, self.r_errors = _row_buffer(tasks, points, m, dtype)
        self._u_rows, self.errors = _row_buffer(tasks, points[:-1], m, dtype)
        self.errors.append(self.r_errors[-1])
        self._y_rows, self.r_inputs = (None, None) if ones else _row_buffer(tasks, points[:-1], n, dtype)
        self._ones = np.ones(len(self._h_rows), dtype)
        self._query = slice(tasks * sum(points[:-1]), None)

    def bind(self, matrix: Array) -> None:
        """Take the shared [W; b] (n + 1, m), a view of theta."""
        self.matrix = matrix
        self.weight = matrix if self.ones else matrix[:-1]
        self.bias = None if self.ones else matrix[-1]

    def gradient(self, out: Array, second_order: bool) -> None:
        """Write the sum over tasks of v, multiplied out at last, to out (n + 1, m)."""
        rows = slice(None) if second_order else self._query
        h, x = self._h_rows[rows], self._x_rows[rows]
        np.matmul(h.T, x, out=out[: self.n])
        if not self.ones:
            np.matmul(self._ones[rows], x, out=out[-1])
        if second_order and self.steps and not self.ones:
            out[:-1] += self._y_rows.T @ self._u_rows

    def _shared_forward(self, h: Array, out: Array | None = None) -> Array:
        z = shared_product(h, self.weight, out)
        return z if self.ones else np.add(z, self.bias, out=z)


class PairedLayer(Layer):
    """W_r and v stay pairs; every product with them goes through small (K, K) matrices.

    The small matrices h_r h_s^T (+ 1, the bias) and u_r u_s^T of the later pass r are, transposed, the ones
    that pulling v back through step s needs again: they are kept, and computed once.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._grams: dict[tuple[str, int, int], Array] = {}

    def _gram(self, kind: str, r: int, s: int, a: Array, b: Array) -> Array:
        """a_r b_s^T (T, K_r, K_s), kept under (kind, r, s)."""
        gram = self._grams[kind, r, s] = np.matmul(a, transpose(b), out=self._grams.get((kind, r, s)))
        if kind == "h" and not self.ones:
            gram += 1
        return gram

    def _kept(self, kind: str, r: int, s: int) -> Array:
        """The transposed product of an earlier call: (T, K_s, K_r)."""
        return transpose(self._grams[kind, r, s])

    def forward(self, r: int, out: Array | None = None) -> Array:
        """h_r W_r + b_r (T, K, m)."""
        z = self._shared_forward(self.inputs[r], out)
        for s in range(r):
            z += self._gram("h", r, s, self.inputs[r], self.inputs[s]) @ self.errors[s]
        return z

    def predict(self, h: Array, r: int) -> Array:
        """h W_r + b_r for any inputs h (T, Q, n); nothing is kept."""
        z = self._shared_forward(h)
        for s in range(r):
            gram = h @ transpose(self.inputs[s])
            gram += not self.ones
            z += gram @ self.errors[s]
        return z

    def learn(self, r: int) -> None:
        """Make step r: nothing to do, the pair is the step."""

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        e = shared_product(self.errors[r], self.weight.T, out)
        for s in range(r):
            e += self._gram("u", r, s, self.errors[r], self.errors[s]) @ self.inputs[s]
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
            rz += shared_product(self.r_inputs[s], self.weight)
            for r in range(s):
                rz += self._gram("rh", s, r, self.r_inputs[s], self.inputs[r]) @ self.errors[r]
        return rz

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + u_s V^T (T, K, n)."""
        last = self.steps
        re = shared_product(self.r_errors[s], self.weight.T)
        re += self._kept("u", last, s) @ self.inputs[last]
        for r in range(s + 1, last):
            re += self._kept("ru", r, s) @ self.inputs[r]
            re += self._kept("u", r, s) @ self.r_inputs[r]
        for r in range(s):
            re += self._gram("ru", s, r, self.r_errors[s], self.errors[r]) @ self.inputs[r]
        return re


class MultipliedOutLayer(Layer):
    """[W_r; b_r] and [V; c] as one (n + 1, m) matrix a task."""

    def __init__(self, n: int, m: int, tasks: int, points: Sequence[int], dtype: np.dtype, ones: bool):
        super().__init__(n, m, tasks, points, dtype, ones)
        self._steps = [np.empty((tasks, n + 1, m), dtype) for _ in range(self.steps)]
        self._v = np.empty((tasks, n + 1, m), dtype)
        self._ones_row = np.ones((1, max(points)), dtype)
        self._columns, self._rows = np.empty((tasks, max(points), 2), dtype), np.empty((tasks, 2, self.n), dtype)

    def _multiply_out(self, h: Array, u: Array, out: Array) -> Array:
        """[h^T u; 1^T u] (T, n + 1, m)."""
        np.matmul(transpose(h), u, out=out[:, : self.n])
        if not self.ones:
            np.matmul(self._ones_row[:, : u.shape[1]], u, out=out[:, -1:])
        return out

    def _product(self, h: Array, matrix: Array, out: Array | None = None) -> Array:
        """[h, 1] [W; b] with a matrix (T, n + 1, m) of each task's own."""
        z = np.matmul(h, matrix[:, : self.n], out=out)
        return z if self.ones else np.add(z, matrix[:, -1:], out=z)

    def _product_transposed(self, u: Array, matrix: Array, out: Array | None = None) -> Array:
        """u W^T; with one output an outer product, which numpy's matmul is slow at unless padded to two."""
        weight_t = transpose(matrix[:, : self.n])
        if self.m > 1:
            return np.matmul(u, weight_t, out=out)
        return self._outer_products([(u, weight_t)], out)

    def _outer_products(self, pairs: Sequence[tuple[Array, Array]], out: Array | None = None) -> Array:
        """Sum of up to two outer products u w, of u (T, K, 1) and w (T or 1, 1, n), as one product over two columns."""
        columns = self._columns[: len(pairs[0][0]), : pairs[0][0].shape[1]]
        for index in range(2):
            columns[..., index : index + 1] = pairs[index][0] if index < len(pairs) else 0
            self._rows[:, index : index + 1] = pairs[index][1] if index < len(pairs) else 0
        return np.matmul(columns, self._rows, out=out)

    def _weights(self, r: int) -> Array:
        """[W_r; b_r] (T or 1, n + 1, m)."""
        return self._steps[r - 1] if r else self.matrix[None]

    def forward(self, r: int, out: Array | None = None) -> Array:
        """h_r W_r + b_r (T, K, m)."""
        return self._product(self.inputs[r], self._weights(r), out) if r else self._shared_forward(self.inputs[r], out)

    def predict(self, h: Array, r: int) -> Array:
        """h W_r + b_r for any inputs h (T, Q, n); nothing is kept."""
        return self._product(h, self._weights(r)) if r else self._shared_forward(h)

    def learn(self, r: int) -> None:
        """Make step r: [W_{r+1}; b_{r+1}] = [W_r; b_r] + [h_r^T u_r; 1^T u_r]."""
        step = self._multiply_out(self.inputs[r], self.errors[r], self._steps[r])
        step += self._weights(r)

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        if r or self.m == 1:
            return self._product_transposed(self.errors[r], self._weights(r), out)
        return shared_product(self.errors[r], self.weight.T, out)

    def start_pull_back(self) -> None:
        """v = h_Q^T u_Q."""
        self._multiply_out(self.inputs[-1], self.errors[-1], self._v)

    def pulled_back(self, s: int) -> None:
        """v += h_s^T R{u_s} + R{h_s}^T u_s; not behind step 0, where `gradient` sums the rows instead."""
        if s == 0:
            return
        self._v += self._multiply_out(self.inputs[s], self.r_errors[s], np.empty_like(self._v))
        if not self.ones:
            self._v[:, :-1] += transpose(self.r_inputs[s]) @ self.errors[s]

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + h_s V + c (T, K, m)."""
        rz = self._product(self.inputs[s], self._v)
        if not self.ones:
            weight = self._weights(s)[:, : self.n]
            rz += self.r_inputs[s] @ weight if s else shared_product(self.r_inputs[s], self.weight)
        return rz

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + u_s V^T (T, K, n)."""
        if self.m == 1:
            pairs = [(self.errors[s], self._v), (self.r_errors[s], self._weights(s))]
            return self._outer_products([(u, transpose(matrix[:, : self.n])) for u, matrix in pairs])
        re = self._product_transposed(self.errors[s], self._v)
        re += self._product_transposed(self.r_errors[s], self._weights(s))
        return re


def _row_buffer(tasks: int, points: Sequence[int], width: int, dtype: np.dtype) -> tuple[Array, list[Array]]:
    """One buffer of rows for all passes, and a (T, K_r, width) view for each: sums over passes are one product."""
    rows = np.empty((tasks * sum(points), width), dtype)
    ends = np.cumsum([tasks * k for k in points], dtype=int)
    views = [rows[end - tasks * k : end].reshape(tasks, k, width) for end, k in zip(ends, points, strict=True)]
    return rows, views


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
