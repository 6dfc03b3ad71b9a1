"""Meta-batches from generators: of one run or of several at once, without Python's part where that can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_exp.core.replay import Replayed
from maml_exp.core.tasks.base import Batch, TaskFamily

Array = np.ndarray


class Streams:
    """The generators of R runs as one: the first axis of what is drawn is split among them, evenly and in order."""

    def __init__(self, generators: Sequence[np.random.Generator]):
        self.generators = list(generators)

    def random(self, shape: tuple[int, ...]) -> Array:
        """Uniform numbers in [0, 1)."""
        found = np.empty(shape)
        for generator, part in self._parts(found):
            generator.random(out=part)
        return found

    def standard_normal(self, shape: tuple[int, ...]) -> Array:
        """Normal numbers of mean 0 and variance 1."""
        found = np.empty(shape)
        for generator, part in self._parts(found):
            generator.standard_normal(out=part)
        return found

    def _parts(self, found: Array) -> Any:
        return zip(self.generators, found.reshape(len(self.generators), -1), strict=True)


class Draws:
    """Meta-batches of a family, in memory that the next one uses again.

    What a family computes from the numbers that it draws is replayed (core/replay), where it draws the same ones every
    time; if not, it is asked as ever.

    Args:
        family: of tasks.
        tasks: T.
        dtype: of the points.
        runs: () of one run, (R,) of several, whose batches have an axis more, (R, T, ...).
    """

    def __init__(self, family: TaskFamily, tasks: int, dtype: str, runs: tuple[int, ...] = ()):
        self._family, self._dtype, self._axes = family, dtype, (*runs, tasks)
        self._tasks = int(np.prod(self._axes))
        self._asked: list[tuple[str, Any]] = []  # a generator's methods and the shapes they are asked for, in order
        self._computed: Replayed | None = None

    def __call__(self, rng: Any) -> Batch:
        """The next meta-batch of a generator, or of `Streams`."""
        if self._computed is not None and self._computed.is_trusted:
            return self._computed(*[getattr(rng, method)(shape) for method, shape in self._asked])
        noted = _Noted(rng)
        batch = self._sampled(self._family, noted)
        self._watch(noted)
        return batch

    def _sampled(self, family: TaskFamily, rng: Any) -> Batch:
        batch = family.sample(rng, self._tasks, self._dtype)
        if len(self._axes) == 1:
            return batch
        return Batch(*(points.reshape(*self._axes, *points.shape[1:]) for points in batch))

    def _watch(self, noted: _Noted) -> None:
        """Have what was computed from a meta-batch's numbers computed from them again, until that is trusted."""
        if self._computed is None or noted.asked != self._asked:
            self._asked = noted.asked
            watched = bool(noted.asked) and not noted.has_other_use
            self._computed = Replayed(self._from_numbers, self._family, watched)
        if not self._computed.is_given_up:
            self._computed(*noted.numbers)

    def _from_numbers(self, family: TaskFamily, *numbers: Array) -> Batch:
        return self._sampled(family, _Given(numbers))


class _Noted:
    """A generator, or `Streams`, that notes what it is asked for."""

    def __init__(self, rng: Any):
        self._rng = rng
        self.asked: list[tuple[str, Any]] = []
        self.numbers: list[Array] = []
        self.has_other_use = False

    def random(self, shape: Any) -> Array:
        """As asked."""
        return self._drawn("random", shape)

    def standard_normal(self, shape: Any) -> Array:
        """As asked."""
        return self._drawn("standard_normal", shape)

    def _drawn(self, method: str, shape: Any) -> Array:
        numbers = getattr(self._rng, method)(shape)
        self.asked.append((method, shape))
        self.numbers.append(numbers.copy())
        return numbers

    def __getattr__(self, name: str) -> Any:
        self.has_other_use = True
        return getattr(self._rng, name)


class _Given:
    """Stands for a generator that has drawn already."""

    def __init__(self, numbers: Sequence[Array]):
        self._numbers = iter(numbers)

    def random(self, shape: Any) -> Array:
        """The next numbers."""
        return next(self._numbers)

    standard_normal = random
