"""Logged numbers: one row a logged step, in metrics.csv and, the same, in TensorBoard.

A resumed run writes the event file anew from metrics.csv, so that TensorBoard shows every point once.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from maml_exp.config.overrides import keys_of
from maml_exp.config.plain import flatten
from maml_exp.config.schema import Config, to_yaml
from maml_exp.config.usual import CHOSEN_BY, changes
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.training import StepMetrics
from maml_exp.data import door
from maml_exp.run.tensorboard import Board
from maml_exp.store.files import failure, naming, read_json, write_atomically
from maml_exp.store.metrics_file import (
    CLOCK_TAGS,
    TRAINING_TAGS,
    Row,
    as_line,
    cells,
    columns,
    extra_tag,
    final_tags,
    holds_errors,
)
from maml_exp.store.records import BOOKKEEPING
from maml_exp.store.run_folder import PLAN_FILE, RunFolder

log = logging.getLogger("maml_exp")


MOST_WAITING = 1000  # iterations whose metrics are not yet added


class Means:
    """The metrics of all iterations since the last row.

    An iteration is only put beside the others; they are added, in their order, when somebody asks, or they are many.

    Args:
        sums: what `sums` gave, to go on from.
    """

    def __init__(self, sums: Mapping[str, float] | None = None):
        self._sums = dict(sums or {})
        self._waiting: list[StepMetrics] = []

    def add(self, values: StepMetrics) -> None:
        """Take an iteration's metrics."""
        self._waiting.append(values)
        if len(self._waiting) == MOST_WAITING:
            self.sums()

    def sums(self) -> dict[str, float]:
        """Sums by tag, and their "count"."""
        if self._waiting:
            *of_all, extras = zip(*self._waiting, strict=True)
            for tag, values in zip(TRAINING_TAGS, of_all, strict=True):
                self._add(tag, values)
            for name in dict.fromkeys(name for some in extras for name in some):
                self._add(extra_tag(name), [some[name] for some in extras if name in some])
            self._sums["count"] = self._sums.get("count", 0.0) + len(self._waiting)
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


class MetricsLog:
    """Writes rows to metrics.csv and TensorBoard; each is with the system before `write` returns."""

    def __init__(self, folder: RunFolder, config: Config, learner: BaseLearner, rows: list[Row]):
        """Start a log that already holds `rows`."""
        self._names, self._path = columns(config, learner), folder.metrics
        self._measure = learner.problem.family.loss.measure
        self.board = Board(folder.path)
        self.board.text("config", "```yaml\n" + to_yaml(config) + "```")
        settings = config.to_dict()
        self.board.session_start(hparams(settings), final_tags(config), _first_columns(folder, settings))
        lines = [as_line(self._names), *(as_line(cells(row, self._names)) for row in rows)]
        write_atomically(folder.metrics, "".join(lines).encode())
        self._file = door.open_to_append(folder.metrics)
        for row in rows:
            self._show(row)

    def write(self, row: Row) -> None:
        """Log one row: `step` and any of the columns."""
        row = {**row, "time/unix": time.time()}
        with naming(self._path):
            self._file.write(as_line(cells(row, self._names)))
            self._file.flush()
        self._show(row)

    def sync(self) -> None:
        """Have the rows on the disk: no checkpoint is ahead of the rows before it."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def _show(self, row: Row) -> None:
        shown = {tag: float(value) for tag, value in row.items() if tag != "step" and tag not in CLOCK_TAGS[1:]}
        shown |= {tag: self._measure.of(value) for tag, value in shown.items() if holds_errors(tag)}
        self.board.scalars(shown, int(row["step"]), row["time/unix"])

    def close(self, success: bool) -> None:
        """End the run's session in TensorBoard and close both files; what does not fit on the disk is only named."""
        for step in (self._file.close, lambda: self.board.session_end(success), self.board.close):
            try:
                step()
            except OSError as error:
                log.warning("cannot write %s", failure(error, self._path))


def hparams(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, dotted, as the HParams tab takes them: numbers, booleans and texts."""
    plain = (bool, int, float, str)
    return {name: value if isinstance(value, plain) else str(value) for name, value in flatten(settings).items()}


def _first_columns(folder: RunFolder, settings: dict[str, Any]) -> set[str]:
    """The settings that stand first in the HParams tab: swept ones, of a run alone those that are not the default."""
    differing = changes(flatten(settings), BOOKKEEPING - {"seed"})
    return {CHOSEN_BY.get(key, key) for key in _swept_keys(folder) or differing}


def _swept_keys(folder: RunFolder) -> set[str]:
    """The keys in which the jobs of the sweep around a folder differ; none where there is no sweep."""
    try:
        plan = read_json(folder.path.parent / PLAN_FILE)
        return keys_of(plan["jobs"][0]) - set(plan["constant"])  # all jobs have the same keys
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()
