"""What lies below the first layer: data, the outputs of a trunk, or data beside a context that moves.

All three are asked the same: to fill the first layer's inputs before a pass, and to take what comes back behind it.
"""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import transpose
from maml_exp.core.inner.layers.layer import Layer

Array = np.ndarray


class Data:
    """Rows [x, 1]: R{x} = 0, and nothing that comes back is wanted.

    Args:
        layer: the first layer; its bias is data.
    """

    def __init__(self, layer: Layer):
        self._layer = layer
        self._x = [inputs[..., :-1] for inputs in layer.inputs]
        for inputs in layer.inputs:
            inputs[..., -1] = 1

    def fill(self, r: int, x: Array) -> None:
        """Write x (T, K, n) to the inputs of pass r."""
        self._x[r][...] = x

    def columns_for(self, x: Array, r: int) -> Array:
        """The first layer's inputs at theta_r for any x (T, Q, n), in columns that end in 1, (T, n + 1, Q)."""
        *tasks, points, _ = x.shape
        return np.concatenate([transpose(x), np.ones((*tasks, 1, points), x.dtype)], axis=-2)

    def backward(self, r: int) -> None:
        """Take the errors of the inputs of pass r."""

    def r_fill(self, s: int) -> None:
        """Write R{h_s} to the first layer."""

    def r_backward(self, s: int) -> None:
        """Take R{.} of the errors of the inputs of pass s."""


class Features(Data):
    """The outputs of a trunk, constant in the inner loop, whose derivative is wanted ("A trunk that does not move").

    Attributes:
        errors[r]: of query passes u W^T, of support passes R{u} W^T + u kappa V^T, (T, K_r, n): summed they are the
            derivative with respect to the trunk's outputs.
    """

    def __init__(self, layer: Layer):
        self._layer = layer
        self._x = layer.inputs
        self.errors: list[Array | None] = [None] * len(layer.inputs)

    def backward(self, r: int) -> None:
        """Take the errors of a query pass."""
        if r >= self._layer.step_count:
            self.errors[r] = self._layer.backward(r)

    def r_backward(self, s: int) -> None:
        """Take R{.} of a support pass."""
        self.errors[s] = self._layer.r_backward(s)


class Context(Data):
    """Rows [x, phi_r, 1]: c numbers phi (T, 1, c), the same for all points of a task, which every step moves.

    phi_{r+1} = phi_r + kappa_r (1^T u_r) W_phi^T: a step like any other (Zintgraf et al. 2019, equation 3; with moving
    layers the bias transformation of Finn et al. 2017b, section 4.2). With v_phi its part of v ("A context"),

        R{phi_s} = kappa_s v_phi              v_phi <- v_phi + (1^T R{u_s}) W_phi^T + (1^T u_s) kappa V_phi^T

    Args:
        layer: the first layer, whose bias is data and whose inputs are not constant.
        size: c.
        rates: the class of its steps' rates.
        keep: what a step leaves of the earlier ones.

    Attributes:
        v: (T, 1, c), v_phi.
    """

    def __init__(self, layer: Layer, size: int, rates: type, keep: float):
        self._layer, self._keep = layer, keep
        passes, steps = layer.passes, layer.step_count
        for array in (*layer.inputs, *layer.r_inputs):
            array[...] = 0
        for inputs in layer.inputs:
            inputs[..., -1] = 1
        self._columns = slice(layer.n - 1 - size, layer.n - 1)
        self._x = [inputs[..., : self._columns.start] for inputs in layer.inputs]
        shape, dtype = (*layer.inputs[0].shape[:-2], 1, size), layer.inputs[0].dtype
        self._behind = [p.behind for p in passes]
        # (1^T u_r) W_phi^T of every pass: of a support pass it is the step, but for kappa, of a query pass part of v
        self._errors = [np.empty(shape, dtype) for _ in passes]
        self.rates = rates(self._errors[:steps])
        self._phi = [np.empty(shape, dtype) for _ in range(steps + 1)]
        self._dropped = np.zeros(shape, dtype)
        self.v = np.empty(shape, dtype)

    def bind(self, start: Array) -> None:
        """Take phi_0 (c,)."""
        self._phi[0][...] = start[..., None, None, :]

    def fill(self, r: int, x: Array) -> None:
        """Write x (T, K, n) and phi to the inputs of pass r."""
        super().fill(r, x)
        self._layer.inputs[r][..., self._columns] = self._phi[self._behind[r]]

    def columns_for(self, x: Array, r: int) -> Array:
        """Columns [x, phi_r, 1] for any x (T, Q, n): (T, n + c + 1, Q)."""
        *_, tasks, points, _ = x.shape
        phi = np.repeat(self._phi[r][..., :tasks, :, :], points, axis=-2)
        return super().columns_for(np.concatenate([x, phi], axis=-1), r)

    def backward(self, r: int) -> None:
        """Take (1^T u_r) W_phi^T."""
        errors = self._layer.backward(r)[..., self._columns]
        np.add.reduce(errors, axis=-2, out=self._errors[r], keepdims=True)

    def learn(self, r: int) -> None:
        """phi_{r+1} - phi_0 = keep (phi_r - phi_0) + kappa_r (1^T u_r) W_phi^T."""
        start, phi = self._phi[0], self._phi[r]
        self._phi[r + 1][...] = start + self._keep * (phi - start) + self.rates.step(r)

    def start_pull_back(self) -> None:
        """v_phi of the last query loss."""
        self.v[...] = self._errors[-1]
        self._dropped[...] = 0
        self.rates.start()

    def r_fill(self, s: int) -> None:
        """R{phi_s} = kappa_s v_phi, for every point; R{x} = 0 and R{1} = 0."""
        self._layer.r_inputs[s][..., self._columns] = self.rates.along(s, self.v)

    def r_backward(self, s: int) -> None:
        """v_phi += (1^T R{u_s}) W_phi^T + (1^T u_s) kappa V_phi^T; what it loses by fading the start keeps."""
        self._dropped += (1 - self._keep) * self.v
        self.v *= self._keep
        self.v += np.add.reduce(self._layer.r_backward(s)[..., self._columns], axis=-2, keepdims=True)

    def pulled_back(self, s: int) -> None:
        """Add the query losses at theta_s."""
        for q in range(len(self._phi) - 1, len(self._behind) - 1):
            if self._behind[q] == s:
                self.v += self._errors[q]

    def follow(self, s: int) -> None:
        """First order: note the rate's gradient; v goes on unchanged but for the query losses at theta_s."""
        self.rates.along(s, self.v)
        self.pulled_back(s)

    def start_gradient(self, out: Array, second_order: bool) -> None:
        """Write the derivative with respect to phi_0, summed over tasks, to out (c,)."""
        queries = self._errors[len(self._phi) - 1 :]
        total = self.v + self._dropped if second_order else sum(queries[1:], queries[0])
        np.add.reduce(total[..., 0, :], axis=-2, out=out)
