"""A layer whose adapted weights stay pairs (docs/derivation.md, sections 4, 5 and 9)."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.layer import Layer

Array = np.ndarray


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

    def predict(self, h: Array, r: int, out: Array | None = None) -> Array:
        """h W_r + b_r for any inputs h (T, Q, n); nothing is kept."""
        z = self._shared_predict(h, out)
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
