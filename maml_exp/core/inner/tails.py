"""What lies above the last layer: a loss that is given, or one that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_exp.core.inner.layers.layer import SharedLayer
from maml_exp.core.inner.passes import Pass
from maml_exp.core.inner.stack import Stack
from maml_exp.core.losses import Loss, SquaredError
from maml_exp.core.network import Network

Array = np.ndarray


class GivenLoss:
    """A loss of outputs and targets (docs/derivation.md, sections 2 and 8).

    Args:
        loss: of one task.
        passes: for their factors and points.
        outputs: m.
        dtype: of everything.
    """

    def __init__(self, loss: Loss, passes: Sequence[Pass], outputs: int, dtype: np.dtype):
        self._loss = loss
        self._scales = [np.asarray(loss.scale(p.factor, p.points, outputs), dtype) for p in passes]
        self._found: list[Any] = [None] * len(passes)

    def error(self, r: int, z: Array, y: Array, out: Array) -> Any:
        """Write the errors of pass r to out, from outputs z and targets y (T, K, m); returns what `Loss.mean` takes."""
        found = self._found[r] = self._loss.error(z, y, self._scales[r], out=out)
        return found

    def r_error(self, s: int, rz: Array, out: Array) -> None:
        """Write R{u_s} of the outputs to out, from R{z} (T, K, m)."""
        self._loss.r_error(rz, self._found[s], self._scales[s], out=out)


class LearnedLoss:
    """The mean square of a network's outputs on [prediction, what it sees of the point] ("Learned losses").

    Layers above the prediction that do not move. The mixed derivative with respect to their weights is the R pass, V
    being zero there: sum_s h_s^T R{u_s} + R{h_s}^T u_s (Finn et al. 2017b, section 4.3; Yu et al. 2018, section 4.2).

    Args:
        network: of the loss; its inputs are the m outputs of the model, then whatever else it sees.
        reported: the loss by which support points are reported, and nothing else.
        passes: the support passes.
        outputs: m.
        targets: the last m columns of what it is shown are the targets; whether it sees them.
    """

    def __init__(
        self,
        network: Network,
        reported: Loss,
        tasks: tuple[int, ...],
        passes: Sequence[Pass],
        dtype: np.dtype,
        outputs: int,
        targets: bool,
    ):
        self._network, self._reported, self._outputs = network, reported, outputs
        self._seen = slice(None) if targets else slice(None, -outputs)
        none = Pass(len(passes), 0, 0.0)  # no query pass goes through it
        passes = (*passes, none)
        self._layers = [SharedLayer(n, m, tasks, passes, dtype) for n, m in network.shapes]
        self._stack = Stack(self._layers, network, len(passes) - 1)
        for array in self._layers[0].r_inputs:
            array[...] = 0
        self._square = GivenLoss(SquaredError(), passes, network.sizes[-1], dtype)
        self._zero = np.zeros((1, 1, 1), dtype)

    def bind(self, phi: Array) -> None:
        """Take the loss's parameters."""
        for layer, matrix in zip(self._layers, self._network.matrices(phi), strict=True):
            layer.bind(matrix)

    def error(self, r: int, z: Array, y: Array, out: Array) -> Any:
        """Write the errors of the model's outputs z (T, K, m) to out; returns what the reported loss finds at z.

        y (T, K, n + m) is what the loss is shown beside z: the point and its target.
        """
        bottom = self._layers[0]
        m = self._outputs
        bottom.inputs[r][..., :m] = z
        bottom.inputs[r][..., m:] = y[..., self._seen]
        found = self._reported.error(z, y[..., -m:], 1.0, out=out)  # out is written to again below
        self._square.error(r, self._stack.forward(r), self._zero, out=self._stack.top.errors[r])
        self._stack.backward(r)
        out[...] = bottom.backward(r)[..., :m]
        return found

    def r_error(self, s: int, rz: Array, out: Array) -> None:
        """Write R{u_s} of the model's outputs to out, from their R{z} (T, K, m); R{x} = 0 and R{t} = 0."""
        bottom = self._layers[0]
        m = self._outputs
        bottom.r_inputs[s][..., :m] = rz
        rzs = self._stack.r_forward(s)
        self._square.r_error(s, rzs[-1], out=self._stack.top.r_errors[s])
        self._stack.r_backward(s, rzs)
        out[...] = bottom.r_backward(s)[..., :m]

    def gradient(self, out: Array) -> None:
        """Write the derivative with respect to the loss's parameters, summed over tasks, to out."""
        for layer, matrix in zip(self._layers, self._network.matrices(out), strict=True):
            layer.gradient(matrix, second_order=True)


def loss_network(inputs: int, outputs: int, hidden: Sequence[int], targets: bool) -> Network:
    """The network of a learned loss for a model of so many inputs and outputs; its outputs are squared."""
    seen = outputs + inputs + outputs * targets
    return Network((seen, *hidden, outputs), "tanh")
