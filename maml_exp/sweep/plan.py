"""A sweep's folder: its plan, how its jobs ended, and stopping it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra

from maml_exp.config.overrides import keys_of, parse_all, split_sweep
from maml_exp.config.schema import SCHEMA
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.data.text_table import aligned
from maml_exp.data.texts import one_line
from maml_exp.run.outcome import Outcome
from maml_exp.store import run_folder as states
from maml_exp.store.files import read_json, write_json
from maml_exp.store.run_folder import LOCK_FILE, PLAN_FILE, RunFolder

LAST_UNSAID = 2  # plans of schemas up to this one do not say theirs


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
    schema: int = SCHEMA  # of the settings that these are overrides of

    @classmethod
    def plan(cls, overrides: Sequence[str], expand: bool = True) -> Sweep:
        """Expand a sweep's overrides into jobs; raises `SettingError` where they make none.

        Without `expand` the sweeper chooses the jobs as it goes.
        """
        parsed = parse_all(overrides)
        hydra = GlobalHydra.instance()
        loader = hydra.config_loader() if hydra.is_initialized() else None
        by_key = {override.key: override for override in parsed}  # the last one of a key counts
        constant = [key for key, override in by_key.items() if not override.sweeps]
        return cls(Path(), list(overrides), constant, split_sweep(parsed, loader) if expand else [])

    def written_to(self, folder: Path, made_folder: bool) -> Sweep:
        """Write it down, before the first job starts."""
        plan = {"schema": SCHEMA, "overrides": self.overrides, "constant": self.constant, "jobs": self.jobs}
        write_json(folder / PLAN_FILE, plan)
        return replace(self, folder=folder, made_folder=made_folder)

    @classmethod
    def load(cls, folder: Path) -> Sweep:
        """A sweep that was written down, checked; raises `SettingError`."""
        try:
            plan = read_json(folder / PLAN_FILE)
            schema = int(plan.get("schema", LAST_UNSAID))
            sweep = cls(folder, plan["overrides"], plan["constant"], plan["jobs"], schema=schema)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
        for name in (PLAN_FILE, LOCK_FILE, "multirun.yaml"):  # ours, and Hydra's
            door.remove(self.folder / name)
        if self.made_folder:
            with suppress(OSError):  # somebody else put something there
                self.folder.rmdir()

    def report(self) -> bool:
        """Print a table of the jobs; returns whether any of them did not finish."""
        folders = self.folders()
        rows = [self._row(run) for run in folders]
        missing = max(0, len(self.jobs) - len(rows))
        print("\n" + aligned([["job", "status", "objective", "error"], *rows]))
        finished = sum(row[1] == states.FINISHED for row in rows)
        not_started = f", {missing} not started" if missing else ""
        print(f"\n{finished} of {len(rows) + missing} jobs finished{not_started}: {self.folder}", flush=True)
        ended = (states.FINISHED, states.DIVERGED)
        left = [run for run, row in zip(folders, rows, strict=True) if row[1] not in ended]
        if missing or not all(run.was_refused() for run in left):
            print(f"to go on with those that did not: maml-exp resume {shlex.quote(str(self.folder))}", flush=True)
        return finished < len(rows) + missing

    def _row(self, run: RunFolder) -> list[str]:
        """Name, status, objective and error of a job."""
        status = run.read_status()
        error = str(status.get("error") or "").split("; try")[0].splitlines()
        return [run.path.name, run.state(status), _number(run), error[0][:100] if error else ""]


def _refuse_links(folder: Path) -> None:
    """Raise `SettingError` for a link where a sweep keeps a job or a file: it would decide where we write."""
    for name in os.listdir(folder):
        if re.match(r"\d+(_|$)", name):
            door.require_kind(folder / name, "a folder")
        elif name in (PLAN_FILE, "multirun.yaml", stop_file(folder).name, LOCK_FILE):
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
        return one_line(f"{outcome.state}: {outcome.message}")
    return f"{outcome.state}, objective {outcome.evaluation.objective():.4g}"
