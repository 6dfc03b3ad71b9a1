"""Adapted weights and v as pairs: every product with them goes through small (K, K) matrices."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import blocks_of_rows, flat, sum_of_products, transpose
from maml_exp.core.inner.layers.layer import EVERY, Layer, Part

Array = np.ndarray


class PairedLayer(Layer):
    """W_r and v stay pairs (docs/derivation.md, sections 5, 8 and 9).

    The small matrices h_r h_s^T (+ 1, the bias) and u_r (kappa_s u_s)^T of the later pass r are, transposed, the ones
    that pulling v back through step s needs again: they are kept, and computed once.
    """

    is_of_pairs = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._grams: dict[tuple[str, int, int], Array] = {}
        self.learn = self.rates.step  # the pair (h_r, kappa_r u_r) is step r
        self._behind = [p.behind for p in self.passes]
        # of every step, the query passes behind it, whose pairs are in v when it is pulled back; the last one first
        queries = range(len(self.passes) - 1, self.step_count - 1, -1)
        self._queries_of = [[q for q in queries if self._behind[q] > s] for s in range(self.step_count)]

    def _gram(self, kind: str, r: int, s: int, a: Array, b_t: Array) -> Array:
        """a_r b_s^T (T, K_r, K_s), kept under (kind, r, s)."""
        gram = self._grams[kind, r, s] = np.matmul(a, b_t, out=self._grams.get((kind, r, s)))
        if kind == "h" and not self.bias_is_data:
            gram += 1
        return gram

    def _kept(self, kind: str, r: int, s: int) -> Array:
        """The transposed product of an earlier call: (T, K_s, K_r)."""
        return transpose(self._grams[kind, r, s])

    def forward(self, r: int) -> Array:
        """h_r W_r + b_r (T, K, m), in a buffer that the next forward or R pass with as many points uses again."""
        z = self._shared_forward(r)
        for s in range(self._behind[r]):
            z += self._gram("h", r, s, self.inputs[r], self._inputs_t[s]) @ self.steps[s]
        return z

    def predict(self, columns: Array, r: int, part: Part = EVERY, out: Array | None = None) -> Array:
        """[W_r; b_r]^T [h^T; 1] (P, m, Q) of P tasks, for the columns (P, n + 1, Q) of any inputs; nothing is kept."""
        z = self._shared_predict(columns, part, out)
        for s in range(r):
            z += self._steps_t[s][part] @ self._predict_gram(columns, r, s, part)
        return z

    def _predict_gram(self, columns: Array, r: int, s: int, part: Part) -> Array:
        """h_s h^T + 1 (P, K_s, Q) of P tasks."""
        gram = self.inputs[s][part] @ columns[..., : self.n, :]
        gram += not self.bias_is_data
        return gram

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W_r^T (T, K, n)."""
        e = self._shared_backward(r, out)
        for s in range(self._behind[r]):
            e += self._gram("u", r, s, self.errors[r], self._steps_t[s]) @ self.inputs[s]
        return e

    def follow(self, s: int) -> None:
        """First order: <u_s, h_s V + c>, v being the query pairs alone."""
        self.rates.direction(s, self._query_part(s))

    def _query_part(self, s: int) -> Array:
        """h_s V + c (T, K, m) of the query pairs in v."""
        last, *others = self._queries_of[s]
        hv = self._kept("h", last, s) @ self.errors[last]
        for q in others:
            hv += self._kept("h", q, s) @ self.errors[q]
        return hv

    def r_forward(self, s: int) -> Array:
        """R{h_s} W_s + kappa_s (h_s V + c) (T, K, m)."""
        hv = self._query_part(s)
        for r in range(s + 1, self.step_count):
            hv += self._kept("h", r, s) @ self.r_errors[r]
            if not self.constant_inputs:
                hv += self._kept("rh", r, s) @ self.errors[r]
        rz = self.rates.direction(s, hv)
        if not self.constant_inputs:
            rz += self._shared_r_forward(s)
            for r in range(s):
                rz += self._gram("rh", s, r, self.r_inputs[s], self._inputs_t[r]) @ self.steps[r]
        return rz

    def r_backward(self, s: int) -> Array:
        """R{u_s} W_s^T + kappa_s u_s V^T (T, K, n); what is kept of u_r u_s^T has kappa_s in it."""
        re = self._shared_r_backward(s)
        for q in self._queries_of[s]:
            re += self._kept("u", q, s) @ self.inputs[q]
        for r in range(s + 1, self.step_count):
            re += self._kept("ru", r, s) @ self.inputs[r]
            if not self.constant_inputs:
                re += self._kept("u", r, s) @ self.r_inputs[r]
        for r in range(s):
            re += self._gram("ru", s, r, self.r_errors[s], self._steps_t[r]) @ self.inputs[r]
        return re


class FadingPairedLayer(PairedLayer):
    """Steps that fade: W_r = W + sum_{s<r} keep^(r-1-s) h_s^T u_s ("Proximal steps" in docs/derivation.md).

    The factor of (r, s) is the same wherever their product is used, in W_r and in what is pulled back through s: so
    it is put into the product.
    """

    def __init__(self, *args, keep: float, **kwargs):
        super().__init__(*args, **kwargs)
        self._keep = keep

    def _gram(self, kind: str, r: int, s: int, a: Array, b_t: Array) -> Array:
        gram = super()._gram(kind, r, s, a, b_t)
        gram *= self._keep ** (self._behind[r] - 1 - s)
        return gram

    def _predict_gram(self, columns: Array, r: int, s: int, part: Part) -> Array:
        gram = super()._predict_gram(columns, r, s, part)
        gram *= self._keep ** (r - 1 - s)
        return gram

    def moved(self, out: Array) -> None:
        """Write the sum over tasks of [W_S; b_S] - [W; b] to out (n + 1, m)."""
        fading_moved(self, self._keep, out)


def fading_moved(layer: Layer, keep: float, out: Array) -> None:
    """Write the sum over tasks and steps s of keep^(S-1-s) [h_s^T u_s; 1^T u_s] to out (n + 1, m)."""
    out[...] = 0
    weight = out[..., : layer.n, :]
    step = np.empty_like(weight)
    for s, u in enumerate(layer.errors[: layer.step_count]):
        factor = keep ** (layer.step_count - 1 - s)
        rows = flat(u)
        sum_of_products(blocks_of_rows(flat(layer.inputs[s]), rows), step, layer.product)
        weight += factor * step
        if not layer.bias_is_data:
            out[..., -1, :] += factor * rows.sum(axis=-2)
