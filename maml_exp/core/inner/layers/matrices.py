"""Adapted weights and v multiplied out: one matrix a task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.layers.layer import EVERY, Layer, Part
from maml_exp.core.inner.layers.pairs import fading_moved
from maml_exp.core.inner.layers.rates import UnitRates
from maml_exp.core.inner.passes import Pass

Array = np.ndarray


class TaskMatrices:
    """[W; b] of every task, (T, n + 1, m), and views of its parts; where the bias is data the weights are all of it."""

    def __init__(self, tasks: tuple[int, ...], n: int, m: int, dtype: np.dtype, bias_is_data: bool):
        self.whole = np.empty((*tasks, n + 1, m), dtype)
        self.weight: Array = self.whole if bias_is_data else self.whole[..., :-1, :]
        self.bias: Array | None = None if bias_is_data else self.whole[..., -1:, :]
        self.whole_t, self.weight_t = transpose(self.whole), transpose(self.weight)

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
    """[W_r; b_r] and [V; c] as one (n + 1, m) matrix a task (docs/derivation.md, section 11)."""

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
        super().__init__(n, m, tasks, passes, dtype, bias_is_data, constant_inputs, rates)
        self._sizes = (tasks, n, m, dtype, bias_is_data)
        self._behind = [p.behind for p in passes]
        self._v = TaskMatrices(*self._sizes)
        self._adapted = self._one_a_step()
        # [h_s^T u_s; 1^T u_s] of every step, in place of which stands the adapted matrix where they are kept
        self._products = self._adapted if self.keeps else self._one_a_step()
        self._direction = self._v  # what a step's R pass goes along, but for kappa_s
        points = [p.points for p in passes]
        self._row = np.ones((1, max(points)), dtype)
        if self.step_count > 1:  # for `pulled_back`: a change of v, both pairs that make it, of which one has a bias
            self._change, both = TaskMatrices(*self._sizes), 2 * points[0]
            self._lefts, self._rights = (np.empty((*tasks, both, width), dtype) for width in (self.n, m))
            self._row_of_both = np.repeat(np.array([[1, 0]], dtype), points[0], axis=1)
        # of every step, the query passes right before it, whose pairs join v once it is pulled back
        others = range(self.step_count, len(passes) - 1)
        self._joining = [[q for q in others if passes[q].behind == s] for s in range(self.step_count)]
        if m == 1:  # `backward` is an outer product, `r_backward` the sum of two
            columns = {k: np.zeros((*tasks, k, 2), dtype) for k in points}
            self._columns, self._rows = [columns[k] for k in points], np.zeros((*tasks, 2, self.n), dtype)
            self._r_columns, self._r_rows = np.empty((*tasks, points[0], 2), dtype), np.empty_like(self._rows)

    def _one_a_step(self) -> list[TaskMatrices]:
        """A matrix a task for every step, the same for all where passes are not kept."""
        if not self.keeps:
            return [TaskMatrices(*self._sizes)] * self.step_count
        return [TaskMatrices(*self._sizes) for _ in range(self.step_count)]

    def forward(self, r: int) -> Array:
        """h_r W_r + b_r (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        behind = self._behind[r]
        if behind == 0:
            return self._shared_forward(r)
        return self._adapted[behind - 1].product(self.inputs[r], self._z[r])

    def predict(self, columns: Array, r: int, part: Part = EVERY, out: Array | None = None) -> Array:
        """[W_r; b_r]^T [h^T; 1] (P, m, Q) of P tasks, for the columns (P, n + 1, Q) of any inputs; nothing is kept."""
        if r == 0:
            return self._shared_predict(columns, part, out)
        return np.matmul(self._adapted[r - 1].whole_t[part], columns, out=out)

    def learn(self, r: int) -> None:
        """Make step r: [W_{r+1}; b_{r+1}] = [W_r; b_r] + [h_r^T kappa_r u_r; 1^T kappa_r u_r]."""
        self.rates.step(r)
        u = self.steps[r]
        step = self._products[r].multiply_out(self._inputs_t[r], u, self._row[:, : u.shape[-2]])
        np.add(step, self._adapted[r - 1].whole if r else self.matrix, out=self._adapted[r].whole)

    def _weight_t(self, r: int) -> Array:
        """W_r^T (T or 1, m, n)."""
        return self._adapted[r - 1].weight_t if r else self.weight_t[..., None, :, :]

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        u, behind = self.errors[r], self._behind[r]
        if self.m == 1:  # beside a column and a row of zeros: numpy's matmul is slow at a single one
            columns, rows = self._columns[r], self._rows
            columns[..., :1], rows[..., :1, :] = u, self._weight_t(behind)
            return np.matmul(columns, rows, out=out)
        return np.matmul(u, self._weight_t(behind), out=out) if behind else self._shared_backward(r, out)

    def start_pull_back(self) -> None:
        """v = h_q^T u_q of the last query pass."""
        u = self.errors[-1]
        self._v.multiply_out(self._inputs_t[-1], u, self._row[:, : u.shape[-2]])

    def _join(self, s: int) -> None:
        """v += h_q^T u_q of the query passes at theta_s."""
        for q in self._joining[s]:
            u = self.errors[q]
            self._v.whole += self._change.multiply_out(self._inputs_t[q], u, self._row[:, : u.shape[-2]])

    def pulled_back(self, s: int) -> None:
        """v += h_s^T R{u_s} + R{h_s}^T u_s; not behind step 0, where `gradient` sums the rows instead."""
        if s == 0:
            return
        left_t, right, row = self._inputs_t[s], self.r_errors[s], self._row[:, : self.r_errors[s].shape[-2]]
        if not self.constant_inputs:  # both pairs in one product; the second has no bias part
            left_t = transpose(np.concatenate([self.inputs[s], self.r_inputs[s]], axis=-2, out=self._lefts))
            right = np.concatenate([right, self.errors[s]], axis=-2, out=self._rights)
            row = self._row_of_both
        self._v.whole += self._change.multiply_out(left_t, right, row)
        self._join(s)

    def follow(self, s: int) -> None:
        """First order: <u_s, h_s V + c>, then v goes on unchanged but for the query losses at theta_s."""
        self.rates.direction(s, self._v.product(self.inputs[s]))
        self._join(s)

    def gradient(self, out: Array, second_order: bool) -> None:
        """Write the sum over tasks of v to out (n + 1, m); after several steps most of it is multiplied out already."""
        if not second_order or self.step_count < 2:
            super().gradient(out, second_order)
            return
        np.add.reduce(self._v.whole, axis=-3, out=out)
        ru, weight = self._r_error_rows[0], out[..., : self.n, :]
        weight += transpose(self._input_rows[0]) @ ru
        if not self.constant_inputs:
            weight += transpose(self._r_input_rows[0]) @ self._error_rows[0]
        if not self.bias_is_data:
            out[..., -1, :] += self._ones[: ru.shape[-2]] @ ru

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + kappa_s (h_s V + c) (T, K, m)."""
        rz = self.rates.direction(s, self._direction.product(self.inputs[s]))
        if not self.constant_inputs:
            rz += self.r_inputs[s] @ self._adapted[s - 1].weight if s else self._shared_r_forward(s)
        return rz

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + kappa_s u_s V^T (T, K, n)."""
        u, ru = self.steps[s], self.r_errors[s]
        if self.m == 1:
            columns, rows = self._r_columns, self._r_rows
            columns[..., :1], columns[..., 1:] = u, ru
            rows[..., :1, :], rows[..., 1:, :] = self._direction.weight_t, self._weight_t(s)
            return np.matmul(columns, rows)
        re = u @ self._direction.weight_t
        re += ru @ self._weight_t(s) if s else self._shared_r_backward(s)
        return re


class FadingMultipliedOutLayer(MultipliedOutLayer):
    """Steps that fade: W_{r+1} - W = keep (W_r - W) + h_r^T u_r ("Proximal steps" in docs/derivation.md)."""

    def __init__(self, *args, keep: float, **kwargs):
        super().__init__(*args, **kwargs)
        self._keep = keep

    def learn(self, r: int) -> None:
        """Make step r: [W_{r+1}; b_{r+1}] = keep [W_r; b_r] + (1 - keep) [W; b] + [h_r^T u_r; 1^T u_r]."""
        u = self.steps[r]
        step = self._products[r].multiply_out(self._inputs_t[r], u, self._row[:, : u.shape[-2]])
        if r:
            step += self._keep * self._adapted[r - 1].whole
        np.add(step, (1 - self._keep) * self.matrix if r else self.matrix, out=self._adapted[r].whole)

    def pulled_back(self, s: int) -> None:
        """V <- keep V + h_s^T R{u_s} + R{h_s}^T u_s."""
        self._v.whole *= self._keep
        super().pulled_back(s)

    def gradient(self, out: Array, second_order: bool) -> None:
        """Write the sum over tasks of all pairs to out (n + 1, m): what v loses by fading is theta's all the same."""
        Layer.gradient(self, out, second_order)

    def moved(self, out: Array) -> None:
        """Write the sum over tasks of [W_S; b_S] - [W; b] to out (n + 1, m)."""
        fading_moved(self, self._keep, out)


class WeightRatesLayer(MultipliedOutLayer):
    """Every weight has a rate of its own, kappa (n + 1, m): no pair survives that ("Rates by weight").

    [W_{r+1}; b_{r+1}] = [W_r; b_r] + kappa * [h_r^T u_r; 1^T u_r], and steps are pulled back along kappa * [V; c].
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._products = self._one_a_step()
        self._direction = TaskMatrices(*self._sizes)

    def learn(self, r: int) -> None:
        """Make step r."""
        u = self.errors[r]
        product = self._products[r].multiply_out(self._inputs_t[r], u, self._row[:, : u.shape[-2]])
        step = np.multiply(product, self.rates.kappa, out=self._direction.whole)
        np.add(step, self._adapted[r - 1].whole if r else self.matrix, out=self._adapted[r].whole)

    def start_pull_back(self) -> None:
        """v = h_q^T u_q of the last query pass."""
        super().start_pull_back()
        self.rates.start()

    def _note(self, s: int) -> None:
        """dL/dkappa += [h_s^T u_s; 1^T u_s] * [V; c], summed over tasks."""
        self.rates.note(np.multiply(self._products[s].whole, self._v.whole, out=self._direction.whole))

    def follow(self, s: int) -> None:
        """First order: v goes on unchanged but for the query losses at theta_s."""
        self._note(s)
        self._join(s)

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + h_s (kappa * V) + kappa * c (T, K, m)."""
        self._note(s)
        np.multiply(self._v.whole, self.rates.kappa, out=self._direction.whole)
        return super().r_forward(s)
