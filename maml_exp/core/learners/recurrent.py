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
from maml_exp.core.arrays import Workspace
from maml_exp.core.checks import setting
from maml_exp.core.learners._at_once import AtOnceLearner, AtOnceSettings
from maml_exp.core.learners.base import Gradient
from maml_exp.core.learners.blocks.cell import Cell, initial_cell
from maml_exp.core.network import INITIALIZERS
from maml_exp.core.parameters import Layout
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import Batch

Array = np.ndarray


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
        self._workspace = Workspace()
        self.layout = Layout({name: rows * columns for name, (rows, columns) in self._shapes.items()})

    def init(self, rng: np.random.Generator) -> Array:
        """Both matrices by model.initializer, the bias of the forget gate larger by 1."""
        initializer = self.problem.model.initializer
        theta = initial_cell(initializer, rng, self.inputs, self.units)
        readout = INITIALIZERS[initializer](rng, self.units, self.problem.family.outputs)
        return np.concatenate([theta.ravel(), readout.ravel()]).astype(self.problem.dtype)

    def _matrices(self, vector: Array) -> tuple[Array, Array]:
        """Views of both parts, of their shapes."""
        theta, readout = (part.reshape(self._shapes[name]) for name, part in self.layout.parts(vector).items())
        return theta, readout

    def meta_gradient(self, vector: Array, batch: Batch, rng: np.random.Generator, progress: float) -> Gradient:
        """The derivative of the query loss."""
        theta, readout = self._matrices(vector)
        reading = Reading(theta, batch.x_support, batch.y_support, batch.x_query, self._workspace)
        losses = self.losses(_read_out(reading, readout), batch)

        gradient = np.empty_like(vector)
        of_theta, of_readout = self._matrices(gradient)
        d = np.ascontiguousarray(losses.d.T)  # (m, Q, T)
        of_readout[:-1] = _flat(reading.output) @ _flat(d).T
        np.sum(d, axis=(1, 2), out=of_readout[-1])
        reading.backward((readout[:-1] @ _flat(d)).reshape(reading.output.shape), of_theta)
        return Gradient(gradient, losses.query, losses.before)

    def predict(self, vector: Array, x_support: Array, y_support: Array, x: Array) -> Array:
        """Predictions at x, every one from the state behind the last support point."""
        theta, readout = self._matrices(vector)
        return _read_out(Reading(theta, x_support, y_support, x, self._workspace), readout)

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
    def sized_by(self) -> str:
        """Its units."""
        return f"algorithm.units={self.units}"

    @property
    def network_label(self) -> str:
        """From a point to a prediction."""
        return f"{self.inputs}-{self.units}-{self.problem.family.outputs} LSTM"


def _flat(columns: Array) -> Array:
    """Columns (H, Q, T) beside each other (H, Q T)."""
    return columns.reshape(len(columns), -1)


def _read_out(reading: Reading, readout: Array) -> Array:
    """Predictions (T, Q, m)."""
    z = readout[:-1].T @ _flat(reading.output) + readout[-1][:, None]
    return np.ascontiguousarray(z.reshape(-1, *reading.output.shape[1:]).T)


class Reading:
    """Tasks read by a cell, forward and backward, a column for every task (`Cell`).

    Query points share the product with h_K: it and its derivatives are those of one more column a task.

    Args:
        theta: [W_u; W_h; b] (n + m + 1 + H + 1, 4 H).
        x_support, y_support, x: (T, K, n), (T, K, m) and (T, Q, n).
        workspace: holds all of this until the next reading with it.

    Attributes:
        output: h behind every query point (H, Q, T).
    """

    def __init__(
        self,
        theta: Array,
        x_support: Array,
        y_support: Array,
        x: Array,
        workspace: Workspace | None = None,
    ):
        (tasks, shots, n), m, queries = x_support.shape, y_support.shape[2], x.shape[1]
        self._dtype, self._workspace = theta.dtype, workspace or Workspace()
        self._cell = Cell(theta, self._workspace)
        units, inputs, weights = self._cell.units, self._cell.inputs, self._cell.weights

        self._columns = self._empty("columns", shots + 1, len(theta), tasks)  # [u h 1] of every step; the last u is 0
        self._columns[:-1, :n] = x_support.transpose(1, 2, 0)
        self._columns[:-1, n : n + m] = y_support.transpose(1, 2, 0)
        self._columns[:, n + m : inputs] = self._columns[-1, :inputs] = self._columns[0, inputs:-1] = 0
        self._columns[:, -1] = 1
        h = self._columns[:, inputs:-1]
        self._c, self._tanh_c = self._empty("c", shots + 1, units, tasks), self._empty("tanh c", shots, units, tasks)
        self._c[0] = 0
        self._gates = self._empty("gates", shots, 4 * units, tasks)
        for k in range(shots):
            np.matmul(weights, self._columns[k], out=self._gates[k])
            self._cell.step(self._gates[k], self._c[k], self._c[k + 1], self._tanh_c[k], h[k + 1])

        self._u = np.zeros((inputs, queries, tasks), theta.dtype)  # of query points
        self._u[:n] = x.transpose(2, 1, 0)
        self._u[-1] = 1
        self._query_gates = self._empty("query gates", 4 * units, queries, tasks)
        np.matmul(weights[:, :inputs], _flat(self._u), out=_flat(self._query_gates))
        self._query_gates += (weights @ self._columns[-1])[:, None]
        names = ("query c", "query tanh c", "output")
        state, self._query_tanh_c, self.output = (self._empty(name, units, queries, tasks) for name in names)
        self._cell.step(self._query_gates, self._c[-1][:, None], state, self._query_tanh_c, self.output)

    def _empty(self, name: str, *shape: int) -> Array:
        return self._workspace.empty(name, shape, self._dtype)

    def backward(self, dh: Array, out: Array) -> None:
        """Write the derivative with respect to theta to out, from that of the output, dh (H, Q, T)."""
        cell, gates = self._cell, self._query_gates
        query_da = self._empty("query da", *gates.shape)
        dc = cell.step_back(gates, self._c[-1][:, None], self._query_tanh_c, dh, 0, query_da).sum(axis=1)
        da = self._empty("da", len(query_da), query_da.shape[2])
        np.sum(query_da, axis=1, out=da)  # what all branches ask of the product with h_K
        np.matmul(self._columns[-1], da.T, out=out)
        out[: cell.inputs] += _flat(self._u) @ _flat(query_da).T
        for k in reversed(range(len(self._gates))):
            dh = cell.into_h(da)
            dc = cell.step_back(self._gates[k], self._c[k], self._tanh_c[k], dh, dc, da)
            out += self._columns[k] @ da.T
