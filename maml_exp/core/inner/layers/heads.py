"""Two last layers beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maml_exp.core.inner.layers.layer import EVERY, Layer, Part
from maml_exp.core.inner.passes import Pass

Array = np.ndarray


class TwoHeads:
    """A last layer of support passes and another one of query passes ("Two heads"; Finn et al. 2017b, section 4.3).

    The support loss does not see the second one, so it does not move. Each runs in every pass, on no points where
    the pass is the other one's: so both have the products of all passes, and none of them costs anything.

    Args:
        make: makes a layer for the passes that it is given.
        passes: of the whole network.
        shared: makes one that does not move.
        step_count: S, the number of support passes.
    """

    def __init__(
        self,
        make: Callable[[Sequence[Pass]], Layer],
        shared: Callable[[Sequence[Pass]], Layer],
        passes: Sequence[Pass],
        step_count: int,
    ):
        self.step_count = step_count
        support, query = passes[:step_count], passes[step_count:]
        self.of_support = make((*support, *(p._replace(points=0) for p in query)))
        self.of_query = shared((*(p._replace(points=0) for p in support), *query))
        first, second = self.of_support, self.of_query
        self.inputs = first.inputs[:step_count] + second.inputs[step_count:]
        self.errors = first.errors[:step_count] + second.errors[step_count:]
        self.r_inputs, self.r_errors = first.r_inputs, first.r_errors
        self.rates, self.n, self.m = first.rates, first.n, first.m

    def bind(self, matrix: Array) -> None:
        """Take the query head's [W; b]; the support head has its own `bind`."""
        self.of_query.bind(matrix)

    def like_inputs(self) -> list[Array]:
        """Other arrays of the shapes of the inputs, each for the pass's own head."""
        first, second = self.of_support.like_inputs(), self.of_query.like_inputs()
        return first[: self.step_count] + second[self.step_count :]

    def forward(self, r: int) -> Array:
        """h_r W + b of the pass's own head (T, K, m)."""
        first, second = self.of_support.forward(r), self.of_query.forward(r)
        return first if r < self.step_count else second

    def predict(self, columns: Array, r: int, part: Part = EVERY, out: Array | None = None) -> Array:
        """[W; b]^T [h^T; 1] of the query head: what is judged."""
        return self.of_query.predict(columns, r, part, out)

    def backward(self, r: int, out: Array | None = None) -> Array:
        """u_r W^T of the pass's own head (T, K, n)."""
        if r < self.step_count:
            return self.of_support.backward(r, out)
        self.of_support.backward(r)
        return self.of_query.backward(r, out)

    def learn(self, r: int) -> None:
        """Make step r of the support head."""
        self.of_support.learn(r)

    def start_pull_back(self) -> None:
        """v = 0 in the support head."""
        self.of_support.start_pull_back()

    def pulled_back(self, s: int) -> None:
        """Add step s's pairs to v."""
        self.of_support.pulled_back(s)

    def follow(self, s: int) -> None:
        """First order: v is zero in the support head, and so is its rate's gradient."""
        self.of_support.follow(s)

    def r_forward(self, s: int) -> Array:
        """R{z_s} of the support head."""
        return self.of_support.r_forward(s)

    def r_backward(self, s: int) -> Array:
        """R{.} of the errors below the support head."""
        return self.of_support.r_backward(s)

    def gradient(self, out: Array, second_order: bool) -> None:
        """Write the query head's gradient to out (n + 1, m): the query rows alone."""
        self.of_query.gradient(out, second_order=False)
