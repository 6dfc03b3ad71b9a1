"""A run's folder: its layout, its status, and files that are either whole or not there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maml_exp.core.checks import SettingError
from maml_exp.store.files import read_json, timestamp, write_atomically, write_json
from maml_exp.store.names import safe_name

try:
    import fcntl
except ImportError:  # Windows: folders are not locked there
    fcntl = None  # type: ignore[assignment]

PLAN_FILE = "sweep.json"  # in a sweep's folder: what its jobs are
RUNNING, FINISHED, FAILED, DIVERGED, INTERRUPTED = "running", "finished", "failed", "diverged", "interrupted"


class RunFolder:
    """Paths of one run and its small JSON files.

    See docs/run-folder.md for what each file holds.
    """

    def __init__(self, path: Path | str):
        self.path, self._started = Path(path), timestamp()
        self.config = self.path / ".hydra" / "config.yaml"
        self.overrides = self.path / ".hydra" / "overrides.yaml"
        self.log = self.path / "maml_exp.log"
        self.metrics = self.path / "metrics.csv"
        self.status = self.path / "status.json"
        self.summary = self.path / "summary.json"
        self.provenance = self.path / "provenance.json"
        self.evaluation = self.path / "evaluation.npz"
        self.checkpoints = self.path / "checkpoints"
        self.plots = self.path / "plots"

    def clear_half_written(self) -> None:
        """Delete temporary files that a killed process left behind."""
        for folder in (self.path, self.config.parent, self.checkpoints):
            for path in folder.glob(".*.tmp"):
                path.unlink()

    @property
    def written(self) -> list[Path]:
        """Everything below the folder that a run opens or makes."""
        files = [self.log, self.metrics, self.status, self.summary, self.provenance, self.evaluation]
        return [*files, self.path / ".lock", self.path / ".hydra", self.config, self.checkpoints, self.plots]

    def write_status(
        self, state: str, step: int, iterations: int, error: str | None = None, notes: Sequence[str] = ()
    ) -> None:
        """Say what has become of the run: one of the states above, iterations made, an error if any, and notes."""
        times = {"started": self._started, "updated": timestamp()}
        process = {"pid": os.getpid(), "host": socket.gethostname(), **times}
        status = {"state": state, "step": step, "iterations": iterations, "error": error, "notes": list(notes)}
        write_json(self.status, {**status, **process})

    def read_status(self) -> dict[str, Any]:
        """The status, or one with state 'unknown' where there is none that can be read."""
        try:
            status = read_json(self.status)
            return status if isinstance(status, dict) else {"state": "unknown"}
        except (OSError, ValueError):
            return {"state": "unknown"}


def create_folder(path: Path, exact: bool = False) -> Path:
    """Make a new folder that no other run has: `path`, or path-2, path-3 ... where that exists.

    With `exact` only an absent or empty `path` will do; else `SettingError`. Making the folder is what
    claims it, so two runs started in the same instant get two folders.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if exact and path.is_dir() and not any(path.iterdir()):
            return path
        for number in range(1, 10_000):
            candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
            try:
                candidate.mkdir()
                return candidate
            except FileExistsError:
                if exact:
                    break
    except OSError as error:
        raise SettingError(f"cannot create {error.filename}: {error.strerror}") from error
    raise SettingError(f"{path} exists already; give another folder, or resume that run: maml-exp resume {path}")


def new_run_path(label: str) -> Path:
    """Where a run started now belongs: runs/<date>/<time>-<label> below the working directory."""
    return Path("runs") / time.strftime("%Y-%m-%d") / f"{time.strftime('%H-%M-%S')}-{safe_name(label)}"


def new_folder(path: Path, overrides: Sequence[str]) -> Path:
    """`create_folder` for a run that Hydra does not start, with what was typed for it, as Hydra writes it."""
    path = create_folder(path)
    write_atomically(path / ".hydra" / "overrides.yaml", "".join(f"- {o}\n" for o in overrides).encode())
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run's folder; raises `SettingError` if another live process does.

    The system drops the lock with the process that holds it, however that ends.
    """
    with open(path / ".lock", "a") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingError(f"{path} is being written by another process (see its status.json)") from error
        yield


def open_run(path: Path | str) -> RunFolder:
    """The run in a folder; raises `SettingError` where there is none."""
    folder = RunFolder(path)
    if not folder.path.is_dir():
        raise SettingError(f"{path} is not a folder")
    if not folder.config.is_file():
        raise SettingError(f"{path} is not a run: it has no .hydra/config.yaml")
    # a link in a stranger's folder must not decide where we write, nor a pipe hold us up
    for written in folder.written:
        if written.is_symlink() or (written.exists() and not (written.is_file() or written.is_dir())):
            raise SettingError(f"{written} is a link or a device; a run's files and folders are its own")
    return folder
