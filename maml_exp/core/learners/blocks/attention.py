"""Attention, forward and backward."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import Workspace, transpose

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
        workspace: holds all of the pass, until the next one with it.

    Attributes:
        output: (T, Q, R).
    """

    def __init__(self, q: Array, k: Array, v: Array, heads: int, workspace: Workspace | None = None):
        self._heads, self._workspace = heads, workspace or Workspace()
        self._q, self._k, self._v = (self._split(name, part) for name, part in (("q", q), ("k", k), ("v", v)))
        self._scale = self._q.dtype.type((q.shape[2] // heads) ** -0.5)
        s = self._product("s", self._q, transpose(self._k))
        s *= self._scale
        s -= s.max(axis=3, keepdims=True)
        np.exp(s, out=s)
        s /= s.sum(axis=3, keepdims=True)
        self._p = s  # (T, heads, Q, K)
        self.output = self._join("o", s, self._v)

    def _split(self, name: str, rows: Array) -> Array:
        """(T, K, R) as (T, heads, K, e)."""
        tasks, points, width = rows.shape
        parts = self._workspace.empty(name, (tasks, self._heads, points, width // self._heads), rows.dtype)
        np.copyto(parts.swapaxes(1, 2), rows.reshape(tasks, points, self._heads, -1))
        return parts

    def _product(self, name: str, left: Array, right: Array) -> Array:
        shape = (*left.shape[:-1], right.shape[-1])
        return np.matmul(left, right, out=self._workspace.empty(name, shape, left.dtype))

    def _join(self, name: str, left: Array, right: Array) -> Array:
        """A product of every head (T, heads, K, e), as (T, K, R)."""
        parts = self._product("parts", left, right)
        tasks, heads, points, width = parts.shape
        rows = self._workspace.empty(f"joined {name}", (tasks, points, heads, width), parts.dtype)
        np.copyto(rows, parts.swapaxes(1, 2))
        return rows.reshape(tasks, points, heads * width)

    def backward(self, d: Array) -> tuple[Array, Array, Array]:
        """Those of q, k and v, from that of the output (T, Q, R)."""
        do = self._split("do", d)
        ds = self._product("ds", do, transpose(self._v))
        ds -= np.einsum("thqk,thqk->thq", self._p, ds)[..., None]
        ds *= self._p
        ds *= self._scale
        of_q, of_k = self._join("q", ds, self._k), self._join("k", transpose(ds), self._q)
        return of_q, of_k, self._join("v", transpose(self._p), do)
