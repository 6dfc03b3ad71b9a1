"""A sweep's folder: its plan, how its jobs ended, and stopping it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maml_exp.config.overrides import keys_of, parse_all, split_sweep
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.run.run import Outcome
from maml_exp.run.text_table import as_text
from maml_exp.store import run_folder as states
from maml_exp.store.files import read_json, write_json
from maml_exp.store.run_folder import PLAN_FILE, RunFolder


def stop_file(folder: Path) -> Path:
    """The file in a sweep's folder that asks its jobs, wherever they run, to save and end."""
    return folder / ".stop"


@dataclass(frozen=True)
class Sweep:
    """What a sweep set out to do."""

    folder: Path
    overrides: list[str]  # as given, sweeps included
    constant: list[str]  # keys of those that every job shares
    jobs: list[list[str]]  # each job's overrides; empty where the sweeper decides as it goes
    made_folder: bool = False  # whether the folder was not there before

    @classmethod
    def plan(cls, folder: Path, overrides: Sequence[str], made_folder: bool) -> Sweep:
        """Expand a sweep's overrides into jobs, and write them down before the first starts."""
        parsed = parse_all(overrides)
        by_key = {override.key: override for override in parsed}  # the last one of a key counts
        constant = [key for key, override in by_key.items() if not override.sweeps]
        jobs = split_sweep(parsed)
        sweep = cls(folder, list(overrides), constant, jobs, made_folder)
        write_json(folder / PLAN_FILE, {"overrides": sweep.overrides, "constant": constant, "jobs": jobs})
        return sweep

    @classmethod
    def load(cls, folder: Path) -> Sweep:
        """A sweep that was written down, checked; raises `SettingError`."""
        try:
            plan = read_json(folder / PLAN_FILE)
            sweep = cls(folder, plan["overrides"], plan["constant"], plan["jobs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingError(f"{folder / PLAN_FILE} cannot be read: {error}") from error
        lists = [sweep.overrides, sweep.constant, sweep.jobs, *(sweep.jobs if isinstance(sweep.jobs, list) else [])]
        texts = [text for part in lists if isinstance(part, list) for text in part if part is not sweep.jobs]
        if not all(isinstance(part, list) for part in lists) or not all(isinstance(text, str) for text in texts):
            raise SettingError(f"{folder / PLAN_FILE} is not a sweep's plan")
        _refuse_links(folder)
        return sweep

    def swept(self, overrides: Sequence[str]) -> str:
        """Those of a job's overrides in which jobs differ."""
        return ",".join(o for o in overrides if not keys_of([o]) & set(self.constant)) or "(no override)"

    def folders(self) -> list[RunFolder]:
        """The jobs' folders there are, in the order of their numbers."""
        paths = self.folder.glob("*/.hydra/overrides.yaml")
        found = [RunFolder(path.parent.parent) for path in paths if not path.parent.parent.is_symlink()]
        return sorted(found, key=lambda run: (job_number(run.path), run.path.name))

    def take_back(self) -> None:
        """Delete what was written for a sweep that cannot start."""
        for name in (PLAN_FILE, "multirun.yaml"):  # ours, and Hydra's
            (self.folder / name).unlink(missing_ok=True)
        if self.made_folder:
            with suppress(OSError):  # somebody else put something there
                self.folder.rmdir()

    def report(self) -> bool:
        """Print a table of the jobs; returns whether any of them did not finish."""
        rows = [self._row(run) for run in self.folders()]
        missing = max(0, len(self.jobs) - len(rows))
        print("\n" + as_text([["job", "status", "objective", "error"], *rows]))
        finished = sum(row[1] == states.FINISHED for row in rows)
        not_started = f", {missing} not started" if missing else ""
        print(f"\n{finished} of {len(rows) + missing} jobs finished{not_started}: {self.folder}")
        ended = (states.FINISHED, states.DIVERGED)
        if missing or any(row[1] not in ended for row in rows):
            print(f"to go on with those that did not: maml-exp resume {self.folder}")
        return finished < len(rows) + missing

    def _row(self, run: RunFolder) -> list[str]:
        """Name, status, objective and error of a job."""
        status = run.read_status()
        error = str(status.get("error") or "").split("; try")[0].splitlines()
        return [run.path.name, str(status.get("state")), _number(run), error[0][:100] if error else ""]


def _refuse_links(folder: Path) -> None:
    """Raise `SettingError` for a link where a sweep keeps a job or a file: it would decide where we write."""
    for name in os.listdir(folder):
        if re.match(r"\d+(_|$)", name):
            door.require_kind(folder / name, "a folder")
        elif name in (PLAN_FILE, "multirun.yaml", stop_file(folder).name, ".lock"):
            door.require_kind(folder / name, "a file")


def job_number(path: Path) -> int:
    """The number that a job's folder name starts with, or one beyond all."""
    digits = path.name.split("_")[0]
    return int(digits) if digits.isdecimal() else 10**9


def _number(run: RunFolder) -> str:
    try:
        objective: Any = read_json(run.summary)["objective"]
        return "diverged" if objective is None else f"{objective:.4g}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "-"


def describe_outcome(outcome: Outcome) -> str:
    """A job's end in a line."""
    if outcome.evaluation is None:
        return f"{outcome.state}: {outcome.message}"
    return f"{outcome.state}, objective {outcome.evaluation.objective():.4g}"
