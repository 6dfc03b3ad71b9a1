"""One layer in the inner loop, in two representations with the same four products (docs/derivation.md, 3 to 11).

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
layers and high ranks. `choice.make_layer` decides, and nothing else knows.
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
        self.weight = matrix if self.ones else matrix[:-1]
        self.bias = matrix if self.ones else matrix[-1]  # with `ones` it is among the weights, and not asked for
        self.weight_t = self.weight.T.copy() if self._copies_transpose else self.weight.T

    def forward(self, r: int) -> Array:
        """h_r W_r + b_r (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        raise NotImplementedError

    def predict(self, h: Array, r: int, out: Array | None = None) -> Array:
        """h W_r + b_r (T, Q, m) for any inputs h (T, Q, n); nothing is kept."""
        raise NotImplementedError

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        raise NotImplementedError

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + h_s V + c (T, K, m)."""
        raise NotImplementedError

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + u_s V^T (T, K, n)."""
        raise NotImplementedError

    def learn(self, r: int) -> None:
        """Make step r, once its errors are there."""

    def start_pull_back(self) -> None:
        """v = h_Q^T u_Q."""

    def pulled_back(self, s: int) -> None:
        """Add step s's two pairs to v, once they are there."""

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

    def _shared_predict(self, h: Array, out: Array | None) -> Array:
        """h W + b (T, Q, m) of any inputs h (T, Q, n)."""
        return self._shared_forward(flat(h), np.empty((*h.shape[:2], self.m), h.dtype) if out is None else out)

    def _shared_backward(self, r: int, out: Array | None) -> Array:
        """u_r W^T (T, K, n)."""
        return shared_product(self._error_rows[r], self.weight_t, np.empty_like(self.inputs[r]) if out is None else out)

    def _shared_r_forward(self, s: int) -> Array:
        """R{h_s} W (T, K, m), in the buffer of z_s."""
        return shared_product(self._r_input_rows[s], self.weight, self._z[s])

    def _shared_r_backward(self, s: int) -> Array:
        """R{u_s} W^T (T, K, n)."""
        return shared_product(self._r_error_rows[s], self.weight_t, np.empty_like(self.inputs[s]))
