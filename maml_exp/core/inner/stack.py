"""Layers on top of each other, with one activation, and a normalisation if there is one, between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from maml_exp.core.inner.layers.layer import Layer, Part
from maml_exp.core.inner.layers.layer_norm import normalisation
from maml_exp.core.network import Network

Array = np.ndarray
NUMBERS_AT_ONCE = 2**16  # hidden values of a layer in predictions, for some tasks at a time: they stay in the cache


class Stack:
    """The passes through layers; what lies below the first and above the last is the caller's.

    Args:
        layers: from the bottom.
        network: what stands behind every layer but the last.
        step_count: S.
    """

    def __init__(self, layers: Sequence[Layer], network: Network, step_count: int):
        self.layers, self.top = list(layers), layers[-1]
        self._step_count = step_count
        self._value, self._slope, self._curvature = network.activation
        passes = len(layers[0].inputs)
        self._norms = [normalisation(network.layer_norm, step_count, passes) for _ in layers[1:]]
        # layer i and the one above it, whose inputs are behind activation i
        self._from_the_top = list(enumerate(pairwise(layers)))[::-1]
        self._slopes = [layer.like_inputs() for layer in layers[1:]]
        self._hidden: dict[int, Array] = {}  # of predictions
        self._backs: dict[tuple[int, int], Array] = {}  # u W^T before f'(z): only f'' needs them again

    def forward(self, r: int) -> Array:
        """The last layer's z (T, K, m), from the first layer's inputs, in a buffer that is used again (section 2)."""
        z = self.layers[0].forward(r)
        for layer, norm, slopes in zip(self.layers[1:], self._norms, self._slopes, strict=True):
            z = norm.forward(r, z)
            h = self._value(z, out=layer.inputs[r])
            self._slope(z, h, out=slopes[r])
            z = layer.forward(r)
        return z

    def backward(self, r: int) -> None:
        """Every layer's errors u, from those of the last one (section 3)."""
        keeps = r < self._step_count and self._curvature
        for index, (below, layer) in self._from_the_top:
            u = layer.backward(r, out=below.errors[r])
            if keeps:
                self._backs[index, r] = u.copy()
            u *= self._slopes[index][r]
            self._norms[index].backward(r, u)

    def predict(self, columns: Array, r: int) -> Array:
        """The last layer's z^T (T, m, Q) at theta_r for the columns (T, n + 1, Q) of the first; keeps nothing."""
        *tasks, _, points = columns.shape
        predictions = np.empty_like(columns, order="C", shape=(*tasks, self.top.m, points))
        at_once = max(1, NUMBERS_AT_ONCE // (max(1, points) * max(layer.n + 1 for layer in self.layers)))
        for part in _parts(tasks, at_once):
            self._predict(columns[part], r, part, predictions[part])
        return predictions

    def _predict(self, columns: Array, r: int, part: Part, out: Array) -> None:
        """Write z^T of some of the tasks to out."""
        *tasks, _, points = columns.shape
        for index, layer in enumerate(self.layers[:-1]):
            above = self._columns(index, (*tasks, layer.m + 1, points), columns.dtype)
            z = layer.predict(columns, r, part, out=above[..., :-1, :])
            self._norms[index].columns(z)
            self._value(z, out=z)
            columns = above
        self.top.predict(columns, r, part, out)

    def _columns(self, index: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Columns (T, n + 1, Q) that end in 1, which later predictions use again: new ones cost page faults."""
        kept = self._hidden.get(index)
        if kept is None or kept.shape[1:] != shape[1:] or len(kept) < shape[0]:
            kept = self._hidden[index] = np.empty(shape, dtype)
            kept[..., -1, :] = 1
        return kept[: shape[0]]

    def r_forward(self, s: int) -> list[Array]:
        """R of what goes into activations, then of the last layer's z (section 8).

        R{z} = R{h} W + h V + c, R{h'} = f'(z) R{z}.
        """
        rz, rzs = self.layers[0].r_forward(s), []
        for layer, norm, slopes in zip(self.layers[1:], self._norms, self._slopes, strict=True):
            rzs.append(norm.r_forward(s, rz))
            np.multiply(slopes[s], rzs[-1], out=layer.r_inputs[s])
            rz = layer.r_forward(s)
        return [*rzs, rz]

    def r_backward(self, s: int, rzs: list[Array]) -> None:
        """R{u'} = (R{u} W^T + u V^T) f'(z) + (u W^T) f''(z) R{z}, from R{u} of the last layer (section 8)."""
        curvature = self._curvature
        for index, (below, layer) in self._from_the_top:
            slope = self._slopes[index][s]
            ru = np.multiply(layer.r_backward(s), slope, out=below.r_errors[s])
            if curvature:
                ru += self._backs[index, s] * curvature(layer.inputs[s], slope) * rzs[index]
            self._norms[index].r_backward(s, ru)


def _parts(tasks: Sequence[int], at_once: int) -> Iterator[Part]:
    """All tasks, (T,) or (R, T), so many at a time: some of a run's, or all of some runs."""
    *runs, count = tasks
    if not runs:
        yield from ((some,) for some in _slices(count, at_once))
    elif count <= at_once:
        yield from ((some, slice(None)) for some in _slices(runs[0], at_once // max(1, count)))
    else:
        yield from ((run, some) for run in _slices(runs[0], 1) for some in _slices(count, at_once))


def _slices(count: int, at_once: int) -> Iterator[slice]:
    for start in range(0, count, at_once):
        yield slice(start, min(start + at_once, count))
