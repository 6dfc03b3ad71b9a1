"""Attention, forward and backward."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import transpose

Array = np.ndarray


class Attention:
    """Every query point looks at the support points whose keys are like its own (docs/learners.md, "Attention"; Vaswani
    et al. 2017, section 3.2).

    With q (Q, e), k (K, e) and v (K, e) of one head, e = R / heads:

        S = q k^T / sqrt(e)        P = softmax(S), over support points        o = P v
        dv = P^T do        dP = do v^T        dS = P * (dP - rowsum(P * dP))
        dq = dS k / sqrt(e)        dk = dS^T q / sqrt(e)

    Args:
        q, k, v: (T, Q, R), (T, K, R), (T, K, R).
        heads: each has its own part of the R numbers.

    Attributes:
        output: (T, Q, R).
    """

    def __init__(self, q: Array, k: Array, v: Array, heads: int):
        self._heads = heads
        self._q, self._k, self._v = (self._split(part) for part in (q, k, v))
        self._scale = self._q.dtype.type((q.shape[2] // heads) ** -0.5)
        s = self._q @ transpose(self._k)
        s *= self._scale
        s -= s.max(axis=3, keepdims=True)
        np.exp(s, out=s)
        s /= s.sum(axis=3, keepdims=True)
        self._p = s  # (T, heads, Q, K)
        self.output = self._join(s @ self._v)

    def _split(self, rows: Array) -> Array:
        """(T, K, R) as (T, heads, K, e)."""
        tasks, points, width = rows.shape
        return np.ascontiguousarray(rows.reshape(tasks, points, self._heads, width // self._heads).swapaxes(1, 2))

    def _join(self, parts: Array) -> Array:
        """The way back."""
        tasks, heads, points, width = parts.shape
        return parts.swapaxes(1, 2).reshape(tasks, points, heads * width)

    def backward(self, d: Array) -> tuple[Array, Array, Array]:
        """Those of q, k and v, from that of the output (T, Q, R)."""
        do = self._split(d)
        dv = transpose(self._p) @ do
        ds = do @ transpose(self._v)
        ds -= np.einsum("thqk,thqk->thq", self._p, ds)[..., None]
        ds *= self._p
        ds *= self._scale
        return self._join(ds @ self._k), self._join(transpose(ds) @ self._q), self._join(dv)
