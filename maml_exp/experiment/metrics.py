"""Logged numbers: one row a logged step, in metrics.csv and, the same, in TensorBoard.

The only module that imports tensorboardX. metrics.csv is the record; the event file can be written anew from it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from maml_exp.experiment.folder import write_atomically

if TYPE_CHECKING:
    from maml_exp.experiment.config import Config

TRAINING_TAGS = ("meta/loss", "meta/support_loss", "meta/grad_norm")
CLOCK_TAGS = ("time/iterations_per_second", "time/seconds", "time/unix")  # the columns that no rerun repeats
PLOTTED_CLOCK_TAGS = CLOCK_TAGS[:1]  # of these, what TensorBoard shows


def evaluation_tag(shots: int, statistic: str, step: int) -> str:
    """Tag of a small evaluation's statistic: a group per number of support points."""
    return f"evaluation_K{shots}/{statistic}_step_{step:02d}"


def columns(config: Config) -> list[str]:
    """All columns of metrics.csv, known before the first row."""
    evaluation = config.evaluation
    tags = []
    if config.training.evaluate_every:
        for shots in evaluation.shots:
            for statistic in ("mean", "median"):
                tags += [evaluation_tag(shots, statistic, step) for step in range(evaluation.steps + 1)]
    return ["step", *TRAINING_TAGS, *CLOCK_TAGS, *tags]


class MetricsLog:
    """Writes rows to metrics.csv and TensorBoard; every row is handed to the system before `write` returns."""

    def __init__(self, folder: Path, csv_path: Path, names: list[str], rows: list[dict[str, float]] | None = None):
        """Start a log; with `rows`, go on with one that holds exactly these rows."""
        self._names = names
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        from tensorboardX import SummaryWriter

        # a suffix of our own: names have one-second resolution, and a second writer would truncate the first
        self._board = SummaryWriter(str(folder), flush_secs=2, filename_suffix=f".{time.time_ns()}")
        lines = [_line(names), *(_line(self._cells(row)) for row in rows or [])]
        write_atomically(csv_path, "".join(lines).encode())
        self._file = open(csv_path, "a", newline="", encoding="utf-8")  # noqa: SIM115  closed in close()
        for row in rows or []:
            self._show(row)

    def write(self, row: dict[str, float]) -> None:
        """Log one row: `step` and any of the columns."""
        row = {**row, "time/unix": time.time()}
        self._file.write(_line(self._cells(row)))
        self._file.flush()
        self._show(row)

    def sync(self) -> None:
        """Have the rows on the disk: no checkpoint is ahead of the rows before it."""
        os.fsync(self._file.fileno())

    def _cells(self, row: dict[str, float]) -> list[str]:
        return [_text(row[name]) if name in row else "" for name in self._names]

    def _show(self, row: dict[str, float]) -> None:
        for tag, value in row.items():
            if tag != "step" and (tag not in CLOCK_TAGS or tag in PLOTTED_CLOCK_TAGS):
                self._board.add_scalar(tag, float(value), int(row["step"]), walltime=row["time/unix"])

    def text(self, tag: str, markdown: str) -> None:
        """Show a text in TensorBoard."""
        self._board.add_text(tag, markdown)

    def image(self, tag: str, png: Path, step: int) -> None:
        """Show a PNG file in TensorBoard."""
        import numpy as np
        from PIL import Image

        with Image.open(png) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._board.add_image(tag, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is pending and close both files."""
        self._file.close()
        self._board.close()


def _text(value: float) -> str:
    """The shortest text that reads back to the same number."""
    return str(value) if isinstance(value, int) else repr(float(value))


def _line(cells: list[str]) -> str:
    """A line of CSV; no column name or number needs quoting."""
    return ",".join(cells) + "\n"


def read_rows(path: Path, last_step: int | None = None) -> list[dict[str, float]]:
    """Rows of a metrics.csv, those up to `last_step`; a line torn by a crash is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    rows = [_row(names, line) for names in whole[:1] for line in whole[1:]]
    return [row for row in rows if row and (last_step is None or row["step"] <= last_step)]


def _row(names: str, line: str) -> dict[str, float] | None:
    """One line's numbers by column, or None for a line that is not a row."""
    try:
        cells = zip(names.strip().split(","), line.strip().split(","), strict=True)
        row = {name: float(cell) for name, cell in cells if cell}
        return {**row, "step": int(row["step"])}
    except (ValueError, KeyError, OverflowError):
        return None
