"""Finding runs and reading what comparing them needs: small text files, no checkpoint, thousands in seconds."""

from __future__ import annotations

import os
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from maml_exp.config.plain import flatten
from maml_exp.config.saved import load_facts, load_plain_config
from maml_exp.core.checks import SettingError
from maml_exp.core.losses import MEAN_SQUARED_ERROR, MEASURES, Measure
from maml_exp.core.tasks import TASKS, families
from maml_exp.core.tasks._columns import is_flat
from maml_exp.data import door
from maml_exp.data.npz import read_arrays
from maml_exp.data.texts import for_terminal
from maml_exp.store import run_folder as states
from maml_exp.store.files import failure, read_json
from maml_exp.store.metrics_file import evaluation_tag, number_in, table
from maml_exp.store.run_folder import RunFolder

Array = np.ndarray
MOST_BASELINES = 50
# settings that change neither what is learned nor what is measured
BOOKKEEPING = {
    "schema",
    "seed",
    "name",
    "training.log_every",
    "training.evaluate_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.log_curvature",
    "evaluation.tasks_in_training",
    "evaluation.baselines",
    "evaluation.plots",
}


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run without its checkpoints."""

    folder: Path
    state: str
    settings: dict[str, Any]  # dotted
    # by shots: mean, median, diverged (number of tasks), random, random_median, each (steps + 1); empty if unfinished
    results: dict[int, dict[str, Array]]
    objective: float  # NaN where there is none
    sha256: str | None
    lr: float  # of the evaluation's gradient steps; NaN if unfinished
    judged_on: dict[str, Any]  # what decides the tasks of its evaluation: runs can be compared where this is the same
    objective_step: int = 0  # that the objective is about: the one trained for, unless the run was told otherwise
    baselines: dict[int, dict[str, float]] = field(default_factory=dict)  # mean errors of what needed no training
    judged_tasks: Any = None  # how many there were: a table may have fewer groups than were asked for
    measure: Measure = MEAN_SQUARED_ERROR  # how its errors are shown

    def task_errors(self, shots: int, baseline: str | None = None) -> Array | None:
        """Errors (tasks, steps + 1) of the trained parameters, or (tasks,) of a baseline; None where there are none."""
        try:
            tasks, steps = int(self.judged_on["evaluation.tasks"]), len(self.results[shots]["mean"]) - 1
            arrays = read_evaluation(RunFolder(self.folder), len(self.results), tasks, steps)
            errors = arrays[f"{baseline or 'trained'}_K{shots}"]
        except Exception:  # numpy raises whatever damage makes it stumble over
            return None
        steps_made = () if baseline else (steps + 1,)
        fits = errors.ndim > 0 and errors.shape[1:] == steps_made and errors.dtype.kind == "f"
        return errors.astype(float) if fits else None

    @property
    def seed(self) -> Any:
        """The run's seed."""
        seed = self.settings.get("seed")
        return seed if isinstance(seed, int) else str(seed)


def read_evaluation(run: RunFolder, shots: int, tasks: int, steps: int) -> dict[str, Array]:
    """The arrays of evaluation.npz, of so many numbers of shots, tasks and steps; raises OSError or ValueError.

    Or what damage makes zipfile and numpy raise.
    """
    largest = 10_000_000 + 2 * shots * tasks * (steps + 1 + MOST_BASELINES) * 8
    return read_arrays(run.evaluation, r"[a-z_]{1,40}_K\d{1,5}|reference", largest)


def find_runs(paths: Sequence[Path]) -> Iterator[RunFolder]:
    """Every run at or below the paths, each once, in the order of their names; raises `SettingError`."""
    seen: set[Path] = set()
    for path in paths:
        states.require_folder(path)
        for run in _walk(path):
            if (resolved := run.resolve()) not in seen:
                seen.add(resolved)
                yield RunFolder(run)


def no_run(paths: Sequence[Path]) -> SettingError:
    """What to say where no run was found."""
    empty, hint = next((path for path in paths if door.kind_of(path / states.PLAN_FILE) is not None), None), ""
    if empty is not None:
        starts = (
            f"maml-exp resume {quote(str(empty))} starts them"
            if _plans_jobs(empty)
            else "start it again, as it was started"
        )
        hint = f": {empty} is a sweep whose jobs have not begun; {starts}"
    return SettingError(f"no run found in {', '.join(map(str, paths))}{hint}")


def _plans_jobs(sweep: Path) -> bool:
    """Whether a sweep's plan names its jobs; that of another sweeper, which chooses them as it goes, does not."""
    try:
        return bool(read_json(sweep / states.PLAN_FILE)["jobs"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _walk(path: Path) -> Iterator[Path]:
    """Depth first; a run's own folders are not searched."""
    try:
        if door.kind_of(path / ".hydra" / "config.yaml") is not None:
            yield path
            return
        with os.scandir(path) as entries:
            folders = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    except OSError as error:
        print(f"maml-exp: passed over: {for_terminal(failure(error, path))}", file=sys.stderr)
        return
    for name in sorted(folders, key=_natural):
        yield from _walk(path / name)


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Orders 2_b before 10_a: the first group of a sweep is that of its first job."""
    parts = re.split(r"(\d+)", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def read_run(run: RunFolder) -> RunRecord:
    """A run's settings, state and results; raises `SettingError` for a configuration that is not of our kind."""
    plain = load_plain_config(run.config)
    settings = flatten(plain)
    state, nan = run.state(), float("nan")
    if state != states.FINISHED:
        return RunRecord(run.path, state, settings, {}, nan, None, nan, judged_on(plain, _remembered(run, plain)))
    try:
        summary = read_json(run.summary)
        evaluation = summary["evaluation"]
        results = {int(k): _results(part) for k, part in evaluation["shots"].items()}
        objective, lr = _float(summary["objective"]), _float(evaluation["lr"])
        sha256, tasks = str(summary["parameters_sha256"]), judged_on(plain, evaluation.get("fingerprint"))
        step = _objective_step(evaluation, settings, min(len(part["mean"]) for part in results.values()) - 1)
        baselines = _baselines(evaluation.get("baselines", {}), set(results))
        judged, measure = evaluation.get("tasks"), MEASURES[evaluation.get("measure", MEAN_SQUARED_ERROR.name)]
        return RunRecord(
            run.path, state, settings, results, objective, sha256, lr, tasks, step, baselines, judged, measure
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return RunRecord(run.path, "unreadable", settings, {}, nan, None, nan, judged_on(plain))


def _objective_step(evaluation: dict[str, Any], settings: dict[str, Any], last: int) -> int:
    """As the summary says, or, of the first version, whose summary does not, as the settings do; up to the last one."""
    told = evaluation.get("objective")
    step = told.get("steps") if isinstance(told, dict) else settings.get("evaluation.objective_steps")
    if not isinstance(step, int):
        step = max(int(settings.get("inner.steps") or 0), 1)
    return min(max(step, 0), last)


@dataclass(frozen=True)
class RunLine:
    """What a list of runs says of one: less than `RunRecord`, and quicker to read."""

    folder: Path
    state: str  # as in status.json; "killed" where its process is gone, "unreadable" where its settings are
    settings: dict[str, Any]  # dotted; empty if unreadable
    objective: float  # NaN where there is none
    when: str  # of the last change of its state, ISO 8601; empty where that is unknown
    error: str  # why it ended, or why it cannot be read


def read_line(run: RunFolder) -> RunLine:
    """What a list says of a run, whatever is damaged of it."""
    status = run.read_status()
    state, error = run.state(status), str(status.get("error") or "")
    when = str(status.get("updated") or "")
    objective = float("nan")
    try:
        settings = flatten(load_plain_config(run.config))
        if state == states.FINISHED:
            objective = _float(read_json(run.summary)["objective"])
    except SettingError as damage:
        return RunLine(run.path, "unreadable", {}, objective, when, str(damage))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return RunLine(run.path, "unreadable", settings, objective, when, f"{run.summary} is damaged")
    return RunLine(run.path, state, settings, objective, when, error)


def judged_on(plain: dict[str, Any], fingerprint: Any = None) -> dict[str, Any]:
    """What decides the tasks of an evaluation: the family's fingerprint, as the run saved it or as its settings say."""
    task, evaluation = (part if isinstance(part := plain.get(key), dict) else {} for key in ("task", "evaluation"))
    if not isinstance(fingerprint, dict):
        fingerprint = _fingerprint(task)
    found = flatten({"task": fingerprint})
    return found | {f"evaluation.{key}": evaluation.get(key) for key in ("seed", "tasks", "grid")}


def _remembered(run: RunFolder, plain: dict[str, Any]) -> Any:
    """The fingerprint of tasks from data, as an unfinished run wrote it down; None where there is none."""
    try:
        if TASKS.get(plain["task"].get("name")).Settings.reader is None:
            return None
        facts = load_facts(run.path)
        if facts is None or not is_flat(facts["fingerprint"]):
            return None
        return facts["fingerprint"] | {"support_rows": max(plain["evaluation"]["shots"])}
    except (SettingError, LookupError, TypeError, AttributeError):
        return None


def _fingerprint(task: dict[str, Any]) -> dict[str, Any]:
    """A family's fingerprint from its settings; the settings themselves where it is not there or they are damaged."""
    try:
        return families(TASKS.get(task.get("name")).Settings(**task))[0].fingerprint()
    except (TypeError, ValueError, OSError, ArithmeticError, MemoryError):
        return {key: value for key, value in task.items() if key not in ("shots", "query")}


def _results(part: dict[str, Any]) -> dict[str, Array]:
    trained, random = part["trained"], part["random"]
    numbers = {
        "mean": trained["mean"],
        "median": trained["median"],
        "random": random["mean"],
        "random_median": random["median"],
    }
    found = {name: np.array([_float(value) for value in values]) for name, values in numbers.items()}
    # the first version counted errors that are not finite
    found["diverged"] = np.array(trained.get("diverged", trained.get("nonfinite")), dtype=int)
    if {array.shape for array in found.values()} != {(max(1, len(found["mean"])),)}:
        raise ValueError("statistics of different numbers of steps")
    return found


def _baselines(part: dict[str, Any], shots: set[int]) -> dict[int, dict[str, float]]:
    """Mean errors by number of shots and baseline; older versions had none."""
    by_shots = {int(k): results for k, results in part.items()}
    return {
        k: {str(name): _float(numbers["mean"]) for name, numbers in list(by_shots[k].items())[:MOST_BASELINES]}
        for k in sorted(shots & set(by_shots))
    }


def _float(value: Any) -> float:
    """A number of summary.json, where null stands for one that is not finite."""
    return float("inf") if value is None else float(value)


def learning_curve(run: RunFolder, shots: int, step: int) -> tuple[Array, Array]:
    """Iterations and mean held-out errors (N,) after `step` gradient steps on `shots` points, of a run's metrics.csv.

    Both are empty where no small evaluation was made. Raises `SettingError` for a damaged file.
    """
    tag = evaluation_tag(shots, "mean", step)
    iterations, errors = array("q"), array("d")
    names, rows = table(run.metrics)
    if tag not in names:
        return np.empty(0), np.empty(0)
    place = names.index(tag)
    for cells in rows:
        if cells[place]:
            iterations.append(int(cells[0]))
            errors.append(number_in(run.metrics, cells[place]))
    return np.array(iterations), np.array(errors)
