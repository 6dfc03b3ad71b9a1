"""Checkpoints: npz files without pickles that hold all a run needs to go on, or that are refused.

Arrays `vector` (P,), `moment_0` ... and one JSON text `record` with the step, the optimizer's count, the states of
both generators, where the named parts of the vector lie, the running sums of the metrics, the seconds spent, what the
runner watches, what a family remembers of its data, the resolved configuration and a SHA-256 over all of it. A file
is written beside its place, flushed to the disk, then renamed. Format 1, of the first version, had the vector as
`theta` and no generator of the learner's.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.core.optimizers.base import OptimizerState
from maml_exp.core.training import TrainState, streams
from maml_exp.data import door
from maml_exp.data.npz import read_arrays
from maml_exp.store.files import write_arrays

FORMAT = 2
BEST = "best.npz"  # beside the newest ones: the one with the best objective on validation tasks
NEXT_BEST = "best_next.npz"  # that takes its place once one of the newest knows of it
LARGEST = 8 * 2**30  # bytes, of a network whose size is not known
LARGEST_RECORD = 10_000_000  # bytes; ours have some thousand
NAMES = r"record|vector|theta|moment_\d{1,2}"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and why."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    state: TrainState
    config: dict[str, Any]  # resolved, plain
    sums: dict[str, float]  # of the metrics since the last logged row
    seconds: float  # spent training
    parts: dict[str, int]  # sizes of the named parts of the vector, in their order
    watched: dict[str, Any] = field(default_factory=dict)  # health and validation; nothing in older ones
    data: dict[str, Any] | None = None  # what a family remembers of the data that its tasks come from


def file_name(step: int) -> str:
    """step_00010000.npz: the names sort as the steps do."""
    return f"step_{step:08d}.npz"


def save(folder: Path, checkpoint: Checkpoint, name: str | None = None) -> Path:
    """Write a checkpoint, named after its step or as told, and return its path; raises OSError naming the file."""
    state = checkpoint.state
    arrays = {"vector": state.vector} | {f"moment_{i}": moment for i, moment in enumerate(state.optimizer.moments)}
    record = {
        "format": FORMAT,
        "step": state.step,
        "count": state.optimizer.count,
        "generator": state.rng.bit_generator.state,
        "learner_generator": state.learner_rng.bit_generator.state,
        "parts": checkpoint.parts,
        "sums": checkpoint.sums,
        "seconds": checkpoint.seconds,
        "watched": checkpoint.watched,
        "config": checkpoint.config,
    }
    if checkpoint.data is not None:
        record["data"] = checkpoint.data
    record["sha256"] = digest(arrays, record)
    path = folder / (name or file_name(state.step))
    write_arrays(path, {"record": np.array(json.dumps(record)), **arrays}, own_folder=True)
    return path


def load(path: Path, largest: int = LARGEST) -> Checkpoint:
    """Read and verify a checkpoint of at most `largest` bytes.

    Raises `CheckpointError` for anything but a whole one of ours, and OSError where the system does not let us look.
    """
    try:
        arrays = read_arrays(path, NAMES, largest, own_folder=True)
        record = json.loads(str(arrays.pop("record")))
        expected = record.pop("sha256")
        if record["format"] not in (1, FORMAT):
            raise CheckpointError(f"{path} has format {record['format']!r}; this version reads formats up to {FORMAT}")
        if digest(arrays, record) != expected:
            raise CheckpointError(f"{path} is damaged: its checksum does not match")
        if record["format"] == 1:
            _bring_up_from_1(arrays, record)
        return _from_parts(arrays, record)
    except (CheckpointError, OSError, MemoryError):
        raise
    except door.DoorError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # numpy raises whatever damage makes it stumble over
        raise CheckpointError(f"{path} is not a readable checkpoint ({error})") from error


def _bring_up_from_1(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
    """Format 1 as format 2: its learners drew nothing, so their generator is where the seed puts it."""
    arrays["vector"] = arrays.pop("theta")
    record["parts"] = {"theta": arrays["vector"].size}
    record["learner_generator"] = streams(record["config"]["seed"])[2].bit_generator.state


def _from_parts(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Checkpoint:
    vector, moments = arrays["vector"], tuple(arrays[f"moment_{i}"] for i in range(len(arrays) - 1))
    if any((moment.shape, moment.dtype) != (vector.shape, vector.dtype) for moment in moments):
        raise ValueError("its moments do not fit its parameters")
    parts = {str(name): int(size) for name, size in record["parts"].items()}
    if sum(parts.values()) != vector.size:
        raise ValueError("its named parts do not fit its parameters")
    sums = {str(tag): float(total) for tag, total in record["sums"].items()}
    watched = {str(name): dict(value) for name, value in record.get("watched", {}).items()}
    if not all(_is_of_numbers(watched.get(name)) for name in ("health", "validation")):
        raise ValueError("what it remembers of the training is not made of numbers")
    generators = _generator(record["generator"]), _generator(record["learner_generator"])
    optimizer = OptimizerState(int(record["count"]), moments)
    state = TrainState(vector, optimizer, int(record["step"]), *generators)
    data = None if record.get("data") is None else dict(record["data"])
    return Checkpoint(state, record["config"], sums, float(record["seconds"]), parts, watched, data)


def _is_of_numbers(value: Any) -> bool:
    """Whether a value is a number, nothing, or lists and dictionaries of these."""
    if isinstance(value, dict):
        return all(map(_is_of_numbers, value.values()))
    if isinstance(value, list):
        return all(map(_is_of_numbers, value))
    return value is None or isinstance(value, (int, float))


def _generator(state: dict[str, Any]) -> np.random.Generator:
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return rng


def digest(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the arrays and over the record."""
    total = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def parameters_sha256(vector: np.ndarray) -> str:
    """SHA-256 of the parameters' bytes: two runs with the same are equal to the bit."""
    return hashlib.sha256(np.ascontiguousarray(vector).tobytes()).hexdigest()


def listed(folder: Path) -> list[Path]:
    """The checkpoint files in a folder, newest step first; raises `SettingError` for a folder that is a link."""
    names = [name for name in door.names_in(folder) if re.fullmatch(r"step_\d{8,10}\.npz", name)]
    return sorted((folder / name for name in names), key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The step in a checkpoint's file name."""
    return int(path.stem.removeprefix("step_"))


def settle_best(folder: Path) -> None:
    """Have the next best checkpoint, if there is one, take the place of the best one."""
    if door.kind_of(folder / NEXT_BEST) is not None:
        door.rename(folder / NEXT_BEST, BEST)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints (0 keeps all)."""
    for path in listed(folder)[keep:] if keep else []:
        door.remove(path, own_folder=True)
