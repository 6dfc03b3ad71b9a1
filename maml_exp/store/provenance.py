"""Where a result came from: code, versions, machine, configuration."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any

import maml_exp
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.tasks.base import TaskFamily
from maml_exp.store.files import read_json, timestamp, write_atomically, write_json
from maml_exp.store.run_folder import RunFolder

PACKAGES = ("maml-exp", "numpy", "hydra-core", "omegaconf", "tensorboardX", "matplotlib", "tqdm", "threadpoolctl")
LARGEST_DIFF = 1_000_000  # bytes


def record_start(folder: RunFolder, config: Config) -> None:
    """Write provenance.json, data.json of tasks from data, and uncommitted changes to our code, unless too many."""
    code, diff = _code()
    record = {
        "command": sys.argv,
        "started": timestamp(),
        "config_sha256": config_sha256(config),
        "seed": config.seed,
        "code": code,
        "environment": environment(),
    }
    if (facts := config.problem.family.facts()) is not None:
        record["data"] = {"file": config.task.named_data, **facts["counts"]}
        write_json(folder.data, facts)  # enough to adapt without the data, and to tell whether it has changed
    write_json(folder.provenance, record)
    if diff:
        write_atomically(folder.path / "provenance.diff", diff.encode())


def require_same_data(folder: RunFolder, family: TaskFamily, known: Any) -> None:
    """Raise `SettingError` where a run would go on with other data than it began with."""
    facts = family.facts()
    if facts is not None and (known is None or known.get("fingerprint") != facts["fingerprint"]):
        raise SettingError(
            f"{family.settings.named_data} has changed since the run began; "
            f"a new run: maml-exp rerun {quote(str(folder.path))}"
        )


def record_resume(folder: RunFolder, config: Config, step: int) -> None:
    """Add a resume to provenance.json: when, from which step, with which code and environment."""
    record = read_record(folder) or {"config_sha256": config_sha256(config), "seed": config.seed}
    resumes = record.get("resumes")
    earlier = resumes if isinstance(resumes, list) else []
    now = {"started": timestamp(), "step": step, "code": _code()[0], "environment": environment()}
    write_json(folder.provenance, {**record, "resumes": [*earlier, now]})


def read_record(folder: RunFolder) -> dict[str, Any]:
    """What provenance.json holds, or nothing where it cannot be read."""
    try:
        record = read_json(folder.provenance)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def config_sha256(config: Config) -> str:
    """SHA-256 of the resolved configuration."""
    return hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()


def environment() -> dict[str, Any]:
    """What outside our code and the configuration can change a result's bits."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "blas": _blas(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
    }


@functools.cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _blas() -> list[dict[str, Any]]:
    """Library, version, core type and threads of the BLAS that numpy uses."""
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture", "num_threads")
    return [{key: lib.get(key) for key in keys} for lib in threadpool_info() if lib.get("user_api") == "blas"]


@functools.cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@functools.cache  # what this process runs does not change with the files
def _code() -> tuple[dict[str, Any], str | None]:
    """The commit of the checkout that our code runs from (None outside one), and its uncommitted changes."""
    root = Path(maml_exp.__file__).resolve().parent.parent
    unknown = {"commit": None, "dirty": None}
    if not (root / ".git").exists():
        return unknown, None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", "maml_exp", "conf")
    if commit is None or changes is None:
        return unknown, None
    diff = _git(root, "diff", "HEAD", "--", "maml_exp", "conf") if changes else None
    small = diff if diff and len(diff) <= LARGEST_DIFF else None
    return {"commit": commit.strip(), "dirty": bool(changes)}, small


def _git(root: Path, *arguments: str) -> str | None:
    try:
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
