"""What a run says while it runs: a log file in its folder, and a progress bar or log lines on the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from maml_exp.data import door
from maml_exp.data.texts import for_terminal

log = logging.getLogger("maml_exp")
SECONDS_BETWEEN_LINES = 5.0


class _Floor:
    """Which run has the word, by its folder; None: whoever speaks."""

    path: Path | None = None


def give_word_to(path: Path | None) -> None:
    """Have what is said from now on be that run's, where several in this process log to files of their own."""
    _Floor.path = path


def is_quiet() -> bool:
    """Whether the terminal is to show results, warnings and errors alone: `maml-exp -q`, in worker processes, too."""
    return bool(os.environ.get("MAML_EXP_QUIET"))


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Log to `path`, a file in a run's folder, in full and to the terminal in short."""
    file, terminal = _File(path), logging.StreamHandler(sys.stderr)
    file.setFormatter(_Clean("%(asctime)s %(levelname)s %(message)s"))
    terminal.setFormatter(_Short("%(message)s"))
    terminal.setLevel(logging.WARNING if is_quiet() else logging.INFO)
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in (file, terminal):
        handler.addFilter(lambda record: _Floor.path is None or _Floor.path == path.parent)
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in (file, terminal):
            log.removeHandler(handler)
            handler.close()


class _File(logging.StreamHandler):
    """A log file that a full disk cuts short, without a traceback for every line."""

    def __init__(self, path: Path):
        super().__init__(door.open_to_append(path))

    def close(self) -> None:
        """Close the file, too."""
        with contextlib.suppress(OSError):
            self.stream.close()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Let the line go: the error that filled the disk is on the terminal."""


class _Clean(logging.Formatter):
    """Lines in which nothing is left for a terminal to act on."""

    def format(self, record: logging.LogRecord) -> str:
        return for_terminal(super().format(record))


class _Short(logging.Formatter):
    """No traceback on the terminal: it is in the run's log."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return for_terminal(prefix + record.getMessage())


class Progress:
    """A progress bar on a terminal; elsewhere a log line every few seconds."""

    def __init__(self, start: int, total: int, name: str):
        self._stack, self._total, self._step = contextlib.ExitStack(), total, start
        self._last_line, self._first = time.monotonic(), True
        self._bar = None
        if sys.stderr.isatty() and not is_quiet():
            self._bar = tqdm(total=total, initial=start, desc=name, unit="it", leave=False, dynamic_ncols=True)
            self._stack.enter_context(logging_redirect_tqdm([log]))

    def update(self, step: int, loss: float) -> None:
        """Show that `step` iterations are made and the latest meta-loss."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"meta-loss {loss:.4g}", refresh=False)
            self._bar.update(step - self._step)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES or step == self._total:
            self._last_line = time.monotonic()
            log.info("iteration %d of %d: meta-loss %.4g", step, self._total, loss)
        self._step = step

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._stack.close()
