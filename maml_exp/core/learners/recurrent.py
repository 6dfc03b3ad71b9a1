"""A recurrent network that reads a support set point by point (RL^2: Duan et al. 2016; Hochreiter et al. 2001; the LSTM
of Gers et al. 2000). Its backward pass is in docs/learners.md, "A network that reads".

Rows are u = [x, y, 0] of a support point and [x, 0, 1] of a query point. K support points are read one after the other,
in the order in which the family draws them; then every query point is read by a branch of its own from the same state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.arrays import flat, rows_product
from maml_exp.core.checks import setting
from maml_exp.core.learners._at_once import AtOnceLearner, AtOnceSettings
from maml_exp.core.learners.base import Gradient
from maml_exp.core.network import INITIALIZERS
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch

Array = np.ndarray
FORGET_BIAS = 1.0  # so that a new cell remembers (Gers et al. 2000)


@dataclass
class Settings(AtOnceSettings):
    """A long short-term memory that reads points; of model, its initializer alone has a say."""

    learner: str = "recurrent"
    units: int = setting(64, "of the memory", checks.integer(1, 10**4))


class Learner(AtOnceLearner):
    """An LSTM and a linear readout.

    The vector of meta-parameters has these parts:

        theta      [W_u; W_h; b] (n + m + 1 + units + 1, 4 units), columns of the gates i, f, o and of the proposal g
        readout    [W; b] (units + 1, m)
    """

    def __init__(self, problem: Problem, **options: Any):
        super().__init__(problem, **options)
        self.units = problem.algorithm.units
        self.inputs = problem.family.inputs + problem.family.outputs + 1
        self._shapes = {
            "theta": (self.inputs + self.units + 1, 4 * self.units),
            "readout": (self.units + 1, problem.family.outputs),
        }
        self.layout = Layout({name: rows * columns for name, (rows, columns) in self._shapes.items()})

    def init(self, rng: np.random.Generator) -> Array:
        """Both matrices by model.initializer, the bias of the forget gate larger by 1."""
        draw, parts = INITIALIZERS[self.problem.model.initializer], []
        for rows, columns in self._shapes.values():
            parts.append(draw(rng, rows - 1, columns))
        parts[0][-1, self.units : 2 * self.units] += FORGET_BIAS
        return np.concatenate([matrix.ravel() for matrix in parts]).astype(self.problem.dtype)

    def _matrices(self, vector: Array) -> tuple[Array, Array]:
        """Views of both parts, of their shapes."""
        theta, readout = (part.reshape(self._shapes[name]) for name, part in self.layout.parts(vector).items())
        return theta, readout

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The derivative of the query loss."""
        theta, readout = self._matrices(vector)
        reading = Reading(theta, self.units, batch.x_support, batch.y_support, batch.x_query)
        losses = self.losses(reading.output @ readout[:-1] + readout[-1], batch)

        gradient = np.empty_like(vector)
        of_theta, of_readout = self._matrices(gradient)
        rows_product(flat(reading.output), flat(losses.d), of_readout[:-1])
        np.sum(losses.d, axis=(0, 1), out=of_readout[-1])
        reading.backward(losses.d @ readout[:-1].T, of_theta)
        return Gradient(gradient, losses.query, losses.before)

    def predict(self, vector: Array, x_support: Array, y_support: Array, x: Array) -> Array:
        """Predictions at x, every one from the state behind the last support point."""
        theta, readout = self._matrices(vector)
        return Reading(theta, self.units, x_support, y_support, x).output @ readout[:-1] + readout[-1]

    def reference_prediction(self, parts: Mapping[str, Array], x_support: Array, y_support: Array, x: Array) -> Array:
        """One task, one point at a time, gate by gate."""
        theta, readout = (parts[name].reshape(shape) for name, shape in self._shapes.items())
        units, outputs = self.units, y_support.shape[-1]
        w_i, w_f, w_o, w_g = (theta[:, gate * units : (gate + 1) * units] for gate in range(4))

        def read(u: Array, h: Array, c: Array) -> tuple[Array, Array]:
            row = np.concatenate([u, h, [1.0]])
            keep = c / (1 + np.exp(-(row @ w_f)))
            write = np.tanh(row @ w_g) / (1 + np.exp(-(row @ w_i)))
            return np.tanh(keep + write) / (1 + np.exp(-(row @ w_o))), keep + write

        h, c = np.zeros(units), np.zeros(units)
        for point, target in zip(x_support, y_support, strict=True):
            h, c = read(np.concatenate([point, target, [0.0]]), h, c)
        branches = [read(np.concatenate([point, np.zeros(outputs), [1.0]]), h, c)[0] for point in x]
        return np.stack(branches) @ readout[:-1] + readout[-1]

    @property
    def describes(self) -> str:
        """The cell in a few words."""
        return f"an LSTM of {self.units} units that reads points"

    @property
    def network_label(self) -> str:
        """From a point to a prediction."""
        return f"{self.inputs}-{self.units}-{self.problem.family.outputs} LSTM"


class Reading:
    """Tasks read by a cell, forward and backward.

    A step takes a = u W_u + h W_h + b (T, 4 H) to gates i, f, o = sigmoid(a), g = tanh(a), and

        c' = f c + i g        h' = o tanh(c')

    Query points share the product h_K W_h: it and its derivatives are those of one more row a task.

    Args:
        theta: [W_u; W_h; b].
        units: H.
        x_support, y_support, x: (T, K, n), (T, K, m) and (T, Q, n).

    Attributes:
        output: h behind every query point (T, Q, H).
    """

    def __init__(self, theta: Array, units: int, x_support: Array, y_support: Array, x: Array):
        tasks, shots, _ = x_support.shape
        self._units, self._theta, dtype = units, theta, theta.dtype
        self._w_u, self._w_h, bias = theta[: -units - 1], theta[-units - 1 : -1], theta[-1]
        zero, one = np.zeros((tasks, shots, 1), dtype), np.ones((*x.shape[:2], 1), dtype)
        no_target = np.zeros((*x.shape[:2], y_support.shape[2]), dtype)
        u = np.concatenate([x_support, y_support, zero], axis=2)
        self._u = np.ascontiguousarray(u.swapaxes(0, 1))  # (K, T, n + m + 1): a step's rows together
        self._u_query = np.concatenate([x, no_target, one], axis=2)

        self._h, self._c = (np.zeros((shots + 1, tasks, units), dtype) for _ in range(2))
        self._tanh_c = np.empty((shots, tasks, units), dtype)
        self._gates = self._u @ self._w_u
        self._gates += bias
        for k in range(shots):
            gates = self._gates[k]
            gates += self._h[k] @ self._w_h
            self._step(gates, self._c[k], self._c[k + 1], self._tanh_c[k], self._h[k + 1])

        self._gates_query = (flat(self._u_query) @ self._w_u).reshape(*x.shape[:2], -1)
        self._gates_query += (self._h[-1] @ self._w_h + bias)[:, None]
        state, self._tanh_c_query, self.output = (np.empty((*x.shape[:2], units), dtype) for _ in range(3))
        self._step(self._gates_query, self._c[-1][:, None], state, self._tanh_c_query, self.output)

    def _step(self, a: Array, c: Array, c_next: Array, tanh_c: Array, h: Array) -> None:
        """Make gates of a (..., 4 H), in place, and write c', tanh(c') and h'."""
        units = self._units
        a[..., : 3 * units] *= 0.5  # sigmoid(a) = (1 + tanh(a / 2)) / 2
        np.tanh(a, out=a)
        a[..., : 3 * units] += 1
        a[..., : 3 * units] *= 0.5
        i, f, o, g = (a[..., gate * units : (gate + 1) * units] for gate in range(4))
        np.multiply(f, c, out=c_next)
        c_next += i * g
        np.tanh(c_next, out=tanh_c)
        np.multiply(o, tanh_c, out=h)

    def _step_back(self, gates: Array, c: Array, tanh_c: Array, dh: Array, dc: Any, da: Array) -> Array:
        """Write da (..., 4 H) from the derivatives of h' and c'; returns that of c.

        With dc = dc' + dh o (1 - tanh^2 c'):  da = [dc g i (1 - i), dc c f (1 - f), dh tanh(c') o (1 - o),
        dc i (1 - g^2)], columns as in a; what goes back to c is dc f.
        """
        units = self._units
        i, f, o, g = (gates[..., gate * units : (gate + 1) * units] for gate in range(4))
        da_i, da_f, da_o, da_g = (da[..., gate * units : (gate + 1) * units] for gate in range(4))
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        np.multiply(dh, tanh_c, out=da_o)
        np.multiply(dc, g, out=da_i)
        np.multiply(dc, c, out=da_f)
        da[..., : 3 * units] *= gates[..., : 3 * units]
        da[..., : 3 * units] *= 1 - gates[..., : 3 * units]
        np.multiply(dc, i, out=da_g)
        da_g *= 1 - g * g
        return dc * f

    def backward(self, dh: Array, out: Array) -> None:
        """Write the derivative with respect to theta to out, from that of the output, dh (T, Q, H)."""
        shots, units = len(self._u), self._units
        da_query = np.empty_like(self._gates_query)
        dc = self._step_back(self._gates_query, self._c[-1][:, None], self._tanh_c_query, dh, 0, da_query).sum(axis=1)
        da = np.empty((shots + 1, *self._gates.shape[1:]), dh.dtype)  # the last row: what all branches ask of h_K W_h
        np.sum(da_query, axis=1, out=da[-1])
        w_h_t = np.ascontiguousarray(self._w_h.T)
        for k in reversed(range(shots)):
            dc = self._step_back(self._gates[k], self._c[k], self._tanh_c[k], da[k + 1] @ w_h_t, dc, da[k])

        rows_product(flat(self._h), flat(da), out[-units - 1 : -1])
        out[: -units - 1] = flat(self._u).T @ flat(da[:-1]) + flat(self._u_query).T @ flat(da_query)
        np.dot(np.ones(da.shape[0] * da.shape[1], da.dtype), flat(da), out=out[-1])
