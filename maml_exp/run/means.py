"""Means of what iterations measured, for a row of scalars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from maml_exp.core.training import StepMetrics
from maml_exp.store import metrics_file as metrics


class Means:
    """The metrics of all iterations since the last row.

    An iteration is only put beside the others; they are added, in their order, when somebody asks.

    Args:
        sums: what `sums` gave, to go on from.
    """

    def __init__(self, sums: Mapping[str, float] | None = None):
        self._sums = dict(sums or {})
        self._waiting: list[StepMetrics] = []
        self.add = self._waiting.append  # takes an iteration's metrics

    def sums(self) -> dict[str, float]:
        """Sums by tag, and their "count"."""
        if self._waiting:
            *of_all, extras = zip(*self._waiting, strict=True)
            for tag, values in zip(metrics.TRAINING_TAGS, of_all, strict=True):
                self._add(tag, values)
            for name in dict.fromkeys(name for some in extras for name in some):
                self._add(metrics.extra_tag(name), [some[name] for some in extras if name in some])
            self._add("count", [1.0] * len(self._waiting))
            self._waiting.clear()
        return dict(self._sums)

    def _add(self, tag: str, values: Iterable[float]) -> None:
        total = self._sums.get(tag, 0.0)
        for value in values:  # one by one: `sum` rounds in another way from Python 3.12 on
            total += value
        self._sums[tag] = total

    def take(self) -> dict[str, float]:
        """Means by tag; the next ones are of the iterations from here on."""
        sums = self.sums()
        self._sums.clear()
        count = sums.pop("count")
        return {tag: total / count for tag, total in sums.items()}
