"""The multilayer perceptron: its layout in one flat vector, and how it is initialised.

A network's parameters are one flat vector theta of P numbers: for each layer its weights W (n, m) in
row-major order, then its bias b (m). `Network.matrices(theta)` gives, without copying, the stacked
(n + 1, m) matrix [W; b] of every layer: the bias is the row that meets a constant input 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from maml_exp.core import checks
from maml_exp.core.activations import ACTIVATIONS, Activation
from maml_exp.core.checks import Check, setting

Array = np.ndarray
LAYER_NORM_EPSILON = 1e-5  # beside the variance: of a point whose numbers are all alike, nothing is left


def _are_widths(value: Any) -> bool:
    is_list = isinstance(value, (list, tuple)) and 1 <= len(value) <= 100
    return is_list and all(checks.is_integer(width, 1, 10**5) for width in value)


WIDTHS = Check(_are_widths, lambda: "a list of 1 to 100 widths, each from 1 to 100000, as in [40,40]")


@dataclass
class ModelSettings(checks.Settings):
    """A multilayer perceptron between the task's inputs and outputs."""

    section: ClassVar[str] = "model"
    hidden: list[int] = setting([40, 40], "width of every hidden layer", WIDTHS)
    activation: str = setting("relu", "behind every hidden layer", checks.one_of(lambda: ACTIVATIONS))
    initializer: str = setting(
        "uniform_fan_in", "how weights and biases are drawn", checks.one_of(lambda: INITIALIZERS)
    )
    layer_norm: bool = setting(False, "every hidden layer is normalised before its activation", checks.boolean())


@dataclass(frozen=True)
class Network:
    """sizes = (inputs, hidden ..., outputs); one activation behind every layer but the last.

    With `layer_norm`, outputs of a hidden layer are normalised before the activation (core/inner/layers/layer_norm.py).
    """

    sizes: tuple[int, ...]
    activation_name: str = "relu"
    layer_norm: bool = False

    @property
    def activation(self) -> Activation:
        """f, f', f'' of the hidden layers."""
        return ACTIVATIONS[self.activation_name]

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(n, m) = (inputs, outputs) of every layer."""
        return tuple(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    @cached_property
    def _layout(self) -> list[tuple[slice, tuple[int, int]]]:
        """Of every layer's [W; b], its part of theta and its shape."""
        ends = np.cumsum([(n + 1) * m for n, m in self.shapes]).tolist()
        return [(slice(end - (n + 1) * m, end), (n + 1, m)) for end, (n, m) in zip(ends, self.shapes, strict=True)]

    @property
    def parameter_count(self) -> int:
        """P, the length of the flat parameter vector."""
        return self._layout[-1][0].stop

    def matrices(self, theta: Array) -> list[Array]:
        """Views of theta (P,): [W; b] (n + 1, m) for every layer; (R, n + 1, m) of theta (R, P)."""
        if theta.ndim == 1:
            return [theta[part].reshape(shape) for part, shape in self._layout]
        return [theta[..., part].reshape(-1, *shape) for part, shape in self._layout]

    def task_matrices(self, thetas: Array) -> list[Array]:
        """Views of a theta for every task (T, P): [W; b] (T, n + 1, m) for every layer."""
        return [thetas[:, part].reshape(len(thetas), *shape) for part, shape in self._layout]

    def predict(self, theta: Array, x: Array) -> Array:
        """Outputs (..., m) for inputs x (..., n)."""
        h = x
        *hidden, last = self.matrices(theta)
        for matrix in hidden:
            h = self.behind(h @ matrix[:-1] + matrix[-1])
        return h @ last[:-1] + last[-1]

    def behind(self, z: Array) -> Array:
        """What the next layer sees (..., m) of a hidden layer's outputs z."""
        return self.activation.value(normalised(z) if self.layer_norm else z)

    @property
    def label(self) -> str:
        """Sizes and what stands behind hidden layers, as in 1-40-40-1 relu."""
        return f"{'-'.join(map(str, self.sizes))} {self.activation_name}{' layer norm' * self.layer_norm}"


def normalised(z: Array) -> Array:
    """Z (..., m) less its mean, over its standard deviation."""
    centred = z - z.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + LAYER_NORM_EPSILON)


def uniform_fan_in(rng: np.random.Generator, n: int, m: int) -> Array:
    """[W; b] (n + 1, m), all uniform in +-1/sqrt(n): PyTorch's default for a linear layer."""
    bound = 1.0 / np.sqrt(n)
    return rng.uniform(-bound, bound, size=(n + 1, m))


def truncated_normal(rng: np.random.Generator, n: int, m: int, std: float = 0.01) -> Array:
    """[W; b] (n + 1, m): W normal with `std`, redrawn beyond two std; b zero (Finn et al. 2017, their code)."""
    weights = rng.standard_normal((n, m))
    while (outside := np.abs(weights) > 2.0).any():
        weights[outside] = rng.standard_normal(int(outside.sum()))
    return np.vstack([std * weights, np.zeros((1, m))])


INITIALIZERS: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "uniform_fan_in": uniform_fan_in,
    "truncated_normal": truncated_normal,
}


def initial_parameters(
    network: Network, initializer: str, rng: np.random.Generator, dtype: np.dtype | str | type = np.float32
) -> Array:
    """theta (P,), drawn in float64 and rounded, so that every dtype starts from the same network."""
    drawn: Sequence[Array] = [INITIALIZERS[initializer](rng, n, m).ravel() for n, m in network.shapes]
    return np.concatenate(drawn).astype(dtype)
