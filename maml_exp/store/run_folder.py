"""A run's folder: its layout, its status, and who may write to it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.store.files import failure, read_json, timestamp, write_atomically, write_json
from maml_exp.store.system import try_to_lock

PLAN_FILE = "sweep.json"  # in a sweep's folder: what its jobs are
LOCK_FILE = ".lock"
RUNNING, FINISHED, FAILED, DIVERGED, INTERRUPTED = "running", "finished", "failed", "diverged", "interrupted"
KILLED = "killed"  # stands in no file: see `RunFolder.state`


class HeldError(SettingError):
    """Another live process writes to a folder: nothing may be written there, not even that."""


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
        self.data = self.path / "data.json"
        self.checkpoints = self.path / "checkpoints"
        self.plots = self.path / "plots"

    def clear_half_written(self) -> None:
        """Delete temporary files that a killed process left behind."""
        for folder in (self.path, self.config.parent, self.checkpoints, self.plots):
            for name in os.listdir(folder) if folder == self.path else door.names_in(folder):
                if name.startswith(".") and name.endswith(".tmp"):
                    door.remove(folder / name, own_folder=folder != self.path)

    def require_own(self) -> None:
        """Refuse a folder in which something that a run reads or writes is a link or of another kind.

        A link in a stranger's folder must not decide where we write, nor a pipe hold us up. Raises `SettingError`.
        """
        files = [self.log, self.metrics, self.status, self.summary, self.provenance, self.evaluation, self.data]
        files += [self.path / LOCK_FILE, self.path / "provenance.diff", self.config, self.overrides]
        try:
            for folder in (self.config.parent, self.checkpoints, self.plots):
                door.require_kind(folder, "a folder")
            for file in files:
                door.require_kind(file, "a file")
        except OSError as error:
            raise SettingError(f"cannot look at {failure(error)}") from error

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

    def state(self, status: dict[str, Any] | None = None) -> str:
        """As status.json says, but "killed" of a run whose process is gone; "unknown" where nothing is said.

        `status` is what `read_status` gave, where that has been asked.
        """
        status = self.read_status() if status is None else status
        is_killed = status.get("state") == RUNNING and self.has_lost_its_process(status)
        return KILLED if is_killed else str(status.get("state"))

    def has_ended(self) -> bool:
        """Whether there is nothing left to do: it diverged, or finished and says with what result."""
        state = self.read_status().get("state")
        return state == DIVERGED or (state == FINISHED and self.has_results())

    def was_refused(self) -> bool:
        """Whether its settings could not be used, so that it would fail again."""
        status = self.read_status()
        return (status.get("state"), status.get("iterations")) == (FAILED, 0)

    def has_results(self) -> bool:
        """Whether there is a summary, and not a damaged one; one that we may not read is there."""
        try:
            summary = read_json(self.summary)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        except ValueError:
            return False
        return isinstance(summary, dict) and "evaluation" in summary

    def has_lost_its_process(self, status: dict[str, Any]) -> bool:
        """Whether the process that wrote a status ran on this machine and is no more."""
        pid = status.get("pid")
        if os.name != "posix" or not isinstance(pid, int) or pid <= 0 or status.get("host") != socket.gethostname():
            return False  # on Windows the question itself would end it
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # somebody else's, or no process's number
            return False
        return False


def create_folder(path: Path, exact: bool = False) -> Path:
    """Make a new folder that no other run has: `path`, or path-2, path-3 ... where that exists.

    With `exact` only an absent or empty `path` will do; else `SettingError`. Making the folder, or in an empty one its
    lock file, is what claims it, so two runs started in the same instant get two folders.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if exact and path.is_dir() and not any(path.iterdir()):
            if not os.access(path, os.W_OK | os.X_OK):
                raise SettingError(f"cannot write in {path}: no permission, or a file system to read only")
            with suppress(FileExistsError):  # claimed in the same instant
                (path / LOCK_FILE).touch(exist_ok=False)
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
        raise SettingError(f"cannot create {failure(error, path)}") from error
    raise SettingError(
        f"{path} exists already; give another folder, or resume that run: maml-exp resume {quote(str(path))}"
    )


def new_run_path(name: str) -> Path:
    """Where a run started now belongs: runs/<date>/<time>-<name> below the working directory."""
    return Path("runs") / time.strftime("%Y-%m-%d") / f"{time.strftime('%H-%M-%S')}-{name}"


def new_folder(path: Path, overrides: Sequence[str]) -> Path:
    """`create_folder` for a run that Hydra does not start, with what was typed for it, as Hydra writes it."""
    empty = path.is_dir() and not any(path.iterdir())  # made by a launcher
    path = create_folder(path, exact=empty)
    write_atomically(path / ".hydra" / "overrides.yaml", "".join(f"- {o}\n" for o in overrides).encode(), True)
    return path


@contextmanager
def locked(path: Path, otherwise: str = "is being written by another process (see its status.json)") -> Iterator[None]:
    """Hold the folder of a run or a sweep; raises `HeldError` if another live process does.

    The system drops the lock with the process that holds it, however that ends.
    """
    try:
        file = door.open_to_lock(path / LOCK_FILE)
    except OSError as error:
        raise SettingError(f"cannot write in {path}: {failure(error)}") from error
    with file:
        if not try_to_lock(file):
            raise HeldError(f"{path} {otherwise}")
        yield


def _no_run(path: Path) -> str:
    """What to say of a folder that is no run: a sweep, perhaps, or a folder of runs."""
    inside = sorted(config.parent.parent for config in path.glob("*/.hydra/config.yaml"))
    is_sweep = door.kind_of(path / PLAN_FILE) is not None
    if is_sweep and not inside:
        return f"{path} is a sweep without any run yet; maml-exp resume {quote(str(path))} starts its jobs"
    if is_sweep:
        return f"{path} is a sweep; give one of its {len(inside)} jobs, as {inside[0]}"
    if inside:
        return f"{path} is a folder of runs; give one of the {len(inside)}, as {inside[0]}; maml-exp list {path}"
    return f"{path} is not a run: it has no .hydra/config.yaml"


def open_run(path: Path | str) -> RunFolder:
    """The run in a folder; raises `SettingError` where there is none."""
    folder = RunFolder(path)
    require_folder(folder.path)
    folder.require_own()
    if door.kind_of(folder.config) is None:
        raise SettingError(_no_run(folder.path))
    return folder


def require_folder(path: Path) -> None:
    """Raise `SettingError` for what is no folder, or one that may not be looked into."""
    if not os.path.isdir(path):  # Path.is_dir raises for some names
        raise SettingError(f"{path} is not a folder")
    if not os.access(path, os.R_OK | os.X_OK):
        raise SettingError(f"{path} cannot be read: Permission denied")
