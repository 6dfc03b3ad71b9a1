"""How what is known of each support point becomes what is known at each query point (docs/learners.md, "Sets").

An aggregator has `output` (T, Q, R) and `backward(d)`, which returns derivatives with respect to what it was made from.
"""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import transpose

Array = np.ndarray


class Mean:
    """The same at every query point: the mean of the values v (T, K, R).

    o = 1^T v / K        dv = 1 (sum over query points of do) / K
    """

    def __init__(self, v: Array, queries: int):
        self._shape = v.shape
        mean = v.mean(axis=1, keepdims=True)
        self.output = np.broadcast_to(mean, (len(v), queries, v.shape[2]))

    def backward(self, d: Array) -> Array:
        """That of v (T, K, R), from that of the output (T, Q, R)."""
        return np.broadcast_to(d.sum(axis=1, keepdims=True) / self._shape[1], self._shape)


class Attention:
    """Every query point looks at the support points whose keys are like its own (Vaswani et al. 2017, section 3.2).

    With q (Q, e), k (K, e) and v (K, e) of one head, e = R / heads:

        S = q k^T / sqrt(e)        P = softmax(S), over support points        o = P v
        dv = P^T do        dP = do v^T        dS = P * (dP - rowsum(P * dP))
        dq = dS k / sqrt(e)        dk = dS^T q / sqrt(e)

    Args:
        q, k, v: (T, Q, R), (T, K, R), (T, K, R).
        heads: each has its own part of the R numbers.
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
