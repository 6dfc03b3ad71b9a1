"""Files that are either whole or not there, and small JSON files: what we write, through the door of `data`."""

from __future__ import annotations

import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.data.door import failure, naming, read_json
from maml_exp.data.door import write as write_atomically

__all__ = [
    "disk_trouble",
    "failure",
    "finite_or_none",
    "naming",
    "read_json",
    "timestamp",
    "write_arrays",
    "write_atomically",
    "write_json",
]


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON: a number that is not finite becomes null."""
    text = json.dumps(finite_or_none(value), indent=2, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


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


def write_arrays(path: Path, arrays: dict[str, np.ndarray], own_folder: bool = False) -> None:
    """Write arrays to an npz file, whole or not at all; raises OSError naming the file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub has room for one keyword that is no array
    write_atomically(path, buffer.getvalue(), own_folder)


def disk_trouble(error: OSError, path: Path) -> str:
    """What went wrong with the files of the run in the folder `path`."""
    if not os.path.isdir(path):
        return f"{path} is not there any more; was it moved or deleted while it ran? Its name is needed to go on"
    return f"cannot write {failure(error, path)}"
