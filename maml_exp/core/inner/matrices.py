"""A layer whose adapted weights are multiplied out, one matrix a task (docs/derivation.md, section 11)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.layer import Layer

Array = np.ndarray


class TaskMatrices:
    """[W; b] of every task, (T, n + 1, m), and views of its parts; with `ones` the weights are all of it."""

    def __init__(self, tasks: int, n: int, m: int, dtype: np.dtype, ones: bool):
        self.whole = np.empty((tasks, n + 1, m), dtype)
        self.weight: Array = self.whole if ones else self.whole[:, :-1]
        self.bias: Array | None = None if ones else self.whole[:, -1:]
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

    def predict(self, h: Array, r: int, out: Array | None = None) -> Array:
        """h W_r + b_r for any inputs h (T, Q, n); nothing is kept."""
        return self._adapted[r - 1].product(h, out) if r else self._shared_predict(h, out)

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
