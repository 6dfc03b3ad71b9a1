"""One layer in the inner loop: its buffers, its products with the shared weights, and the sum over tasks of v.

A gradient is a pair: layer inputs h (T, K, n) and errors d = dL/dz (T, K, m) stand for h^T d, a task's
gradient (n, m), which is not multiplied out until something needs it (docs/derivation.md, section 3). Errors of
support passes are kept as u = -alpha d, and a step may have a rate of its own, kappa = rho / alpha. So the inner
loop theta_{r+1} = theta_r - rho_r g_r reads, for every task (sections 4 and 5),

    W_r = W + sum_{s<r} h_s^T kappa_s u_s          b_r = b + sum_{s<r} 1^T kappa_s u_s          (rank <= r K)

and pulling v back through inner step s, v <- v - H_s (rho_s v), adds two pairs (section 8):

    v = sum_q h_q^T u_q + sum_s ( h_s^T R{u_s} + R{h_s}^T u_s )        (the last pair has no bias part)

The four products that forward, backward and R passes need:

    forward(r)        h_r W_r + b_r
    backward(r)       u_r W_r^T
    r_forward(s)      R{h_s} W_s + h_s kappa_s V + kappa_s c           (V, c): v's part of this layer
    r_backward(s)     R{u_s} W_s^T + u_s kappa_s V^T

Predictions for many points, which are judged and not learned from, are made in columns, one a point, that end in the
bias's 1: a product less in height is one pass over memory less, and the points are many.

`PairedLayer` never forms a task's (n, m) matrix, `MultipliedOutLayer` does, which is cheaper for thin layers and high
ranks; `SharedLayer` does not move and has neither. `choice.make_layer` decides, and nothing else knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.arrays import (
    SMALL_MATRIX,
    RowBuffer,
    blocks_of_rows,
    flat,
    product_for,
    sum_of_products,
    transpose,
)
from maml_exp.core.inner.layers.rates import UnitRates
from maml_exp.core.inner.passes import Pass, step_count

Array = np.ndarray
Part = tuple[slice, ...]  # of the tasks, a slice an axis
EVERY: Part = ()


class Layer:
    """Buffers of one layer for all passes, and the sum over tasks of v.

    Args:
        n, m: inputs and outputs.
        tasks: (T,), or (R, T) of R runs in lockstep, whose arrays have an axis more (arrays.py).
        passes: S support passes, then the query passes.
        dtype: of everything.
        bias_is_data: the caller appends a constant-one column to the inputs, and the bias is the last row of the
            weights (a first layer: its inputs are copied anyway).
        constant_inputs: R{h} = 0: nothing below moves.
        rates: the class of its steps' rates.

    Attributes:
        inputs[r]    h_r (T, K_r, n)                r_inputs[s]   R{h_s}, not with constant inputs
        errors[r]    u_r (T, K_r, m)                r_errors[s]   R{u_s}; of a query pass the same array as u
        steps[s]     kappa_s u_s (T, K_s, m), the same array as u_s where kappa is 1

    Of these, `_input_rows` and so on are the same memory as (T K_r, n), `_inputs_t` and `_steps_t` transposed views.
    Where passes are not kept, all have the same, but for pairs, which are what was learned.
    """

    is_of_pairs = False

    def __init__(
        self,
        n: int,
        m: int,
        tasks: tuple[int, ...],
        passes: Sequence[Pass],
        dtype: np.dtype,
        bias_is_data: bool = False,
        constant_inputs: bool = False,
        rates: type = UnitRates,
    ):
        self.n, self.m, self.tasks = n + bias_is_data, m, tasks
        self.bias_is_data, self.constant_inputs = bias_is_data, constant_inputs
        self.passes, self.step_count = passes, step_count(passes)
        # v's pairs, row by row: (h_s, R{u_s}) of the support passes, (h_q, u_q) of the query passes; then (R{h_s}, u_s)
        points = [p.points for p in passes]
        support, later = points[: self.step_count], slice(len(points), None)
        self.keeps = self.is_of_pairs or passes[0].kept
        self._left = RowBuffer(tasks, [*points, *(() if constant_inputs else support)], self.n, dtype, self.keeps)
        self._right = RowBuffer(tasks, [*points, *support], m, dtype, self.keeps)
        self.inputs, self._input_rows = self._left.by_task[: len(points)], self._left.flat[: len(points)]
        self.r_inputs, self._r_input_rows = self._left.by_task[later], self._left.flat[later]
        self.r_errors, self._r_error_rows = self._right.by_task[: len(points)], self._right.flat[: len(points)]
        self.errors = [*self._right.by_task[later], *self.r_errors[self.step_count :]]
        self._error_rows = [*self._right.flat[later], *self._r_error_rows[self.step_count :]]
        self.rates = rates(self.errors[: self.step_count])
        self.steps = self.rates.steps
        self._inputs_t, self._steps_t = [transpose(h) for h in self.inputs], [transpose(u) for u in self.steps]
        # what `gradient` sums: of second order all rows, of first order the query rows; not all have a bias part
        first, last = tasks[-1] * sum(support), tasks[-1] * sum(points)
        self._ones = np.ones(last, dtype)
        left, right = self._left.whole, self._right.whole
        self._summed = {
            True: blocks_of_rows(left, right[..., : left.shape[-2], :]),
            False: blocks_of_rows(left[..., first:last, :], right[..., first:last, :]),
        }
        self._bias_summed = {
            True: (self._ones, right[..., :last, :]),
            False: (self._ones[first:], right[..., first:last, :]),
        }
        steps = right[..., last:, :]
        self._moved = (blocks_of_rows(left[..., :first, :], steps), self._ones[:first], steps)
        self._copies_transpose = not bias_is_data and m > 1 and n * m < SMALL_MATRIX  # not where it would gain nothing
        self.product = product_for(tasks)
        shared = {k: np.empty((*tasks, k, m), dtype) for k in points}
        self._z, self._z_rows = [shared[k] for k in points], [flat(shared[k]) for k in points]

    def bind(self, matrix: Array) -> None:
        """Take the shared [W; b] (n + 1, m), a view of theta, which must not change until the next `bind`."""
        self.matrix = matrix[..., None, :, :]  # for every task
        self.weight = matrix if self.bias_is_data else matrix[..., :-1, :]
        self.bias = matrix[..., -1:, :]  # used only where it is no data
        weight_t = transpose(self.weight)
        self.weight_t = weight_t.copy() if self._copies_transpose else weight_t

    def like_inputs(self) -> list[Array]:
        """Other arrays of the shapes of the inputs; where passes are not kept, those of one shape are one array."""
        if self.keeps:
            return [np.empty_like(h, order="C") for h in self.inputs]
        same = {h.shape: np.empty_like(h, order="C") for h in self.inputs}
        return [same[h.shape] for h in self.inputs]

    def forward(self, r: int) -> Array:
        """h_r W_r + b_r (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        raise NotImplementedError

    def predict(self, columns: Array, r: int, part: Part = EVERY, out: Array | None = None) -> Array:
        """[W_r; b_r]^T [h^T; 1] (P, m, Q) of P tasks, for the columns (P, n + 1, Q) of any inputs; nothing is kept."""
        raise NotImplementedError

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        raise NotImplementedError

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + h_s kappa_s V + kappa_s c (T, K, m)."""
        raise NotImplementedError

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + u_s kappa_s V^T (T, K, n)."""
        raise NotImplementedError

    def learn(self, r: int) -> None:
        """Make step r, once its errors are there."""

    def start_pull_back(self) -> None:
        """v = the gradient of the last query loss."""

    def pulled_back(self, s: int) -> None:
        """Add to v step s's two pairs, once they are there, and the query losses at theta_s."""

    def follow(self, s: int) -> None:
        """First order: note the gradient of step s's rate from a v that is not pulled back (section 12)."""

    def gradient(self, out: Array, second_order: bool) -> None:
        """Write the sum over tasks of v, multiplied out at last, to out (n + 1, m) (section 10)."""
        sum_of_products(self._summed[second_order], out[..., : self.n, :], self.product)
        if not self.bias_is_data:  # R{h} has no bias part
            ones, right = self._bias_summed[second_order]
            self.product(ones, right, out=out[..., -1, :])

    def moved(self, out: Array) -> None:
        """Write the sum over tasks of [W_S; b_S] - [W; b], where kappa is 1, to out (n + 1, m) ("Reptile")."""
        pairs, ones, steps = self._moved
        sum_of_products(pairs, out[..., : self.n, :], self.product)
        if not self.bias_is_data:
            self.product(ones, steps, out=out[..., -1, :])

    def _shared_forward(self, r: int) -> Array:
        """h_r W + b (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        z = self.product(self._input_rows[r], self.weight, out=self._z_rows[r])
        if not self.bias_is_data:
            z += self.bias
        return self._z[r]

    def _shared_predict(self, columns: Array, part: Part, out: Array | None) -> Array:
        """[W; b]^T [h^T; 1] (P, m, Q)."""
        return np.matmul(transpose(self.matrix[part[:-1]]), columns, out=out)

    def _shared_backward(self, r: int, out: Array | None) -> Array:
        """u_r W^T (T, K, n)."""
        return self._shared_product_t(self._error_rows[r], np.empty_like(self.inputs[r]) if out is None else out)

    def _shared_r_forward(self, s: int) -> Array:
        """R{h_s} W (T, K, m), in the buffer of z_s."""
        self.product(self._r_input_rows[s], self.weight, out=self._z_rows[s])
        return self._z[s]

    def _shared_r_backward(self, s: int) -> Array:
        """R{u_s} W^T (T, K, n)."""
        return self._shared_product_t(self._r_error_rows[s], np.empty_like(self.inputs[s]))

    def _shared_product_t(self, rows: Array, out: Array) -> Array:
        """Write rows (T K, m) times W^T, a single product for all tasks, to out (T, K, n), in C order."""
        self.product(rows, self.weight_t, out=flat(out))
        return out


class SharedLayer(Layer):
    """A layer that the inner loop does not move: [W_r; b_r] = [W; b], and v is no direction of a step here.

    Its part of v is the same pairs; nothing but their sum over tasks is ever needed ("Layers that do not move").
    """

    def forward(self, r: int) -> Array:
        """h_r W + b (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        return self._shared_forward(r)

    def predict(self, columns: Array, r: int, part: Part = EVERY, out: Array | None = None) -> Array:
        """[W; b]^T [h^T; 1] (P, m, Q) of P tasks, for the columns (P, n + 1, Q) of any inputs; nothing is kept."""
        return self._shared_predict(columns, part, out)

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W^T (T, K, n)."""
        return self._shared_backward(r, out)

    def r_forward(self, s: int) -> Array:
        """R{h_s} W (T, K, m)."""
        return self._shared_r_forward(s)

    def r_backward(self, s: int) -> Array:
        """R{u_s} W^T (T, K, n)."""
        return self._shared_r_backward(s)
