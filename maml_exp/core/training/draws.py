"""Meta-batches from generators: of one run or of several at once, without Python's part where that can be replayed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from maml_exp.core.replay import Replayed
from maml_exp.core.replay.tape import is_ours
from maml_exp.core.tasks.base import Batch, TaskFamily

Array = np.ndarray
Asked = list[tuple[str, Any]]  # a generator's methods and the shapes that they are asked for, in order
MOST_ATTEMPTS = 20  # at having a family replayed


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

    Where a family of ours draws the same numbers every time, by `random` and `standard_normal` alone, what it computes
    from them is replayed (core/replay). If not, it is asked as ever, as another's family is: nobody can know whether it
    looks at its numbers in a way that a check would miss.

    Args:
        family: of tasks.
        tasks: T.
        dtype: of the points.
        runs: () of one run, (R,) of several, whose batches have an axis more, (R, T, ...).
    """

    def __init__(self, family: TaskFamily, tasks: int, dtype: str, runs: tuple[int, ...] = ()):
        self._family, self._dtype, self._axes = family, dtype, (*runs, tasks)
        self._attempts = MOST_ATTEMPTS if is_ours(family) else 0  # that are left
        self._asked: Asked = []
        self._computed: Replayed | None = None

    def __call__(self, rng: Any) -> Batch:
        """The next meta-batch of a generator, or of `Streams`."""
        if self._computed is not None and self._computed.is_trusted:
            return self._computed(*_drawn(rng, self._asked))
        if self._attempts == 0:
            return self._sampled(self._family, rng)
        self._attempts -= 1
        return self._watched(rng)

    @property
    def is_replayed(self) -> bool:
        """Whether the family's part is made without Python's."""
        return self._computed is not None and self._computed.is_trusted

    def _sampled(self, family: TaskFamily, rng: Any) -> Batch:
        batch = family.sample(rng, math.prod(self._axes), self._dtype)
        if len(self._axes) == 1:
            return batch
        return Batch(*(points.reshape(*self._axes, *points.shape[1:]) for points in batch))

    def _watched(self, rng: Any) -> Batch:
        """A meta-batch; its numbers are drawn once more, and it is computed from them alone, until that is trusted."""
        again, noting = deepcopy(rng), _noting(rng)
        batch = self._sampled(self._family, noting)
        numbers = _drawn(again, noting.asked)
        if not numbers or _states(again) != _states(rng):  # it has drawn in another way, too
            self._attempts = 0
            return batch
        if noting.asked != self._asked:
            self._asked, self._computed = noting.asked, Replayed(self._from_numbers, self._family)
        assert self._computed is not None  # something was asked for
        try:
            self._computed(*numbers)
        except Exception:  # with other numbers it would draw others
            self._attempts = 0
        return batch

    def _from_numbers(self, family: TaskFamily, *numbers: Array) -> Batch:
        return self._sampled(family, _Given(numbers))


def _drawn(rng: Any, asked: Asked) -> list[Array]:
    return [getattr(rng, method)(shape) for method, shape in asked]


def _states(rng: Any) -> list[Any]:
    generators = rng.generators if isinstance(rng, Streams) else [rng]
    return [generator.bit_generator.state for generator in generators]


class _Notes:
    """Notes what a generator is asked for; what is drawn in another way shows in its state alone."""

    def random(self, size: Any = None, **options: Any) -> Any:
        return self._noted("random", size, **options)

    def standard_normal(self, size: Any = None, **options: Any) -> Any:
        return self._noted("standard_normal", size, **options)

    def _noted(self: Any, method: str, size: Any, **options: Any) -> Any:
        if size is not None:
            self.asked.append((method, size))
        return getattr(super(), method)(size, **options)


class _Noting(_Notes, np.random.Generator):  # type: ignore[misc]  # asked by shape, at most
    """Shares its state with a generator."""

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng.bit_generator)
        self.asked: Asked = []


class _NotingStreams(_Notes, Streams):  # type: ignore[misc]  # it is asked as they are
    """Shares their generators with others."""

    def __init__(self, streams: Streams):
        super().__init__(streams.generators)
        self.asked: Asked = []


def _noting(rng: Any) -> Any:
    return _NotingStreams(rng) if isinstance(rng, Streams) else _Noting(rng)


class _Given(np.random.Generator):
    """Draws what it is given."""

    def __init__(self, numbers: Sequence[Array]):
        super().__init__(np.random.PCG64(0))
        self._numbers = iter(numbers)

    def random(self, *_: Any, **__: Any) -> Any:
        return next(self._numbers)

    def standard_normal(self, *_: Any, **__: Any) -> Any:
        return next(self._numbers)
