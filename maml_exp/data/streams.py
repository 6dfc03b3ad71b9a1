"""Standard output and error that do not end a run: closed, full, gone, or without the letters for what is printed."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Sturdy:
    """A stream for `print` that drops what cannot be written, and remembers why."""

    def __init__(self, stream: Any):
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text; returns its length, as streams do."""
        with self._remembering():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand what was written to the system."""
        with self._remembering():
            self._stream.flush()

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def sturdy_streams() -> Iterator[Sturdy]:
    """Have standard output and error be sturdy while inside; yields the output."""
    for number in range(3):  # or the next file that is opened gets the number, and what is printed
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    made = []
    for stream in before:
        if stream is None:
            stream = open(os.devnull, "w")  # noqa: SIM115  for the life of the process
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        made.append(Sturdy(stream))
    sys.stdout, sys.stderr = made
    try:
        yield made[0]
    finally:
        for stream in made:
            stream.flush()
        # what could not be written would be tried again at the end of the process, and be its exit status
        sys.stdout, sys.stderr = (None if stream.error else old for stream, old in zip(made, before, strict=True))
