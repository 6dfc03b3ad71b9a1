"""A layer whose steps are decided outside: its weights are written, and so is what a Hessian is multiplied by."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.layers.matrices import MultipliedOutLayer, TaskMatrices

Array = np.ndarray


class WrittenLayer(MultipliedOutLayer):
    """[W_r; b_r] is what it is given, and so is [V; c] (docs/learners.md, "Learned optimizers")."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._gradient = TaskMatrices(*self._sizes)

    def write(self, r: int, matrices: Array) -> None:
        """Take [W_r; b_r] of every task (T, n + 1, m), r > 0."""
        self._adapted[r - 1].whole[...] = matrices

    def direct(self, matrices: Array) -> None:
        """Take [V; c] of every task (T, n + 1, m): what R passes go along."""
        self._direction.whole[...] = matrices

    def task_gradient(self, r: int) -> Array:
        """[h_r^T u_r; 1^T u_r] (T, n + 1, m), until the next call."""
        u = self.errors[r]
        return self._gradient.multiply_out(self._inputs_t[r], u, self._row[:, : u.shape[1]])

    def hessian_product(self, s: int) -> Array:
        """[h_s^T R{u_s} + R{h_s}^T u_s; 1^T R{u_s}] (T, n + 1, m), until the next call."""
        ru = self.r_errors[s]
        product = self._gradient.multiply_out(self._inputs_t[s], ru, self._row[:, : ru.shape[1]])
        if not self.constant_inputs:
            self._gradient.weight += transpose(self.r_inputs[s]) @ self.errors[s]
        return product
