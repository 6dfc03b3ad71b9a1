"""The flat vector of meta-parameters and its named parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Layout:
    """Named parts of one flat vector (P,), one behind the other: theta, and what else a learner learns."""

    sizes: Mapping[str, int]

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each part lies."""
        found, start = {}, 0
        for name, size in self.sizes.items():
            found[name] = slice(start, start + size)
            start += size
        return found

    @property
    def size(self) -> int:
        """P, the length of the vector."""
        return sum(self.sizes.values())

    @cached_property
    def _only(self) -> str | None:
        return next(iter(self.sizes)) if len(self.sizes) == 1 else None

    def parts(self, vector: Array) -> dict[str, Array]:
        """A vector (P,) or (R, P) by the names of its parts: views of it, or itself where it has one part."""
        if self._only:
            return {self._only: vector}
        return {name: vector[..., part] for name, part in self.slices.items()}
