"""Files that are either whole or not there, and small JSON files."""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LARGEST_ARRAYS = 8 * 2**30  # bytes; refuse to read more than that of a stranger's file


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError say which file it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that, killed at any moment, either the old or the new content is there."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON: a number that is not finite becomes null."""
    text = json.dumps(finite_or_none(value), indent=2, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path, largest: int = 50_000_000) -> Any:
    """Read a JSON file of at most `largest` bytes; raises OSError or ValueError."""
    if path.stat().st_size > largest:
        raise ValueError(f"{path} is larger than {largest} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error


def finite_or_none(value: Any) -> Any:
    """The value with every non-finite number in it replaced by None, and numpy's numbers by Python's."""
    if isinstance(value, dict):
        return {str(key): finite_or_none(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [finite_or_none(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def timestamp() -> str:
    """Local time with its offset, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to an npz file, whole or not at all; raises OSError naming the file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub has room for one keyword that is no array
    write_atomically(path, buffer.getvalue())


def read_arrays(path: Path, largest: int = LARGEST_ARRAYS) -> dict[str, np.ndarray]:
    """Arrays of an npz file of at most `largest` bytes; raises OSError, ValueError or what damage makes numpy raise."""
    if path.stat().st_size > largest:
        raise ValueError(f"{path} is larger than {largest} bytes")
    # not np.load, which takes anything else for a pickle, and says how to load that
    with open(path, "rb") as raw, np.lib.npyio.NpzFile(raw, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
