"""Groups of runs that differ in the seed alone, and statistics over their seeds."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maml_exp.comparison.conditions import as_condition, choose
from maml_exp.config.choices import CHOICES, settings_class
from maml_exp.config.labels import label_of
from maml_exp.config.usual import CLIP, changes, clip_norm_of
from maml_exp.core.checks import SettingError
from maml_exp.core.losses import MEAN_SQUARED_ERROR, Measure
from maml_exp.core.statistics import (
    Estimate,
    Interval,
    PairedDifference,
    estimate,
    paired_difference,
    trimmed_mean_interval,
)
from maml_exp.store import run_folder as states
from maml_exp.store.records import BOOKKEEPING, RunRecord

Array = np.ndarray
STEPS = "evaluation.steps"
UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))
PRESET = "algorithm.preset"  # the label of a method's settings


@dataclass
class Group:
    """Runs with the same settings but for the seed."""

    settings: dict[str, Any]
    label: str = ""
    runs: dict[Any, RunRecord] = field(default_factory=dict)  # finished, by seed
    unfinished: Counter = field(default_factory=Counter)  # of the others, by state
    repeated: int = 0  # finished runs of a seed that was there already
    _errors: dict[int, dict[Any, Array | None]] = field(default_factory=dict, repr=False)  # by shots and seed

    def add(self, run: RunRecord) -> None:
        """Put a run in its place."""
        if run.state != states.FINISHED:
            self.unfinished[run.state] += 1
        elif run.seed in self.runs:
            self.repeated += 1
        else:
            self.runs[run.seed] = run

    def errors(self, shots: int, step: int) -> dict[Any, float]:
        """Mean errors after `step` gradient steps, by seed."""
        return {
            seed: float(run.results[shots]["mean"][step]) for seed, run in self.runs.items() if shots in run.results
        }

    def estimate(self, shots: int, step: int) -> Estimate:
        """The error over seeds."""
        return estimate(list(self.errors(shots, step).values()))

    def difference(self, other: Group, shots: int, step: int) -> Estimate:
        """This group's error minus the other's, over the seeds that both have, on the same tasks."""
        ours, theirs = self.errors(shots, step), other.errors(shots, step)
        with np.errstate(invalid="ignore"):
            return estimate([np.subtract(ours[seed], theirs[seed]) for seed in ours if seed in theirs])

    def median(self, shots: int, step: int) -> Estimate:
        """The median over tasks, over seeds."""
        runs = [run for run in self.runs.values() if shots in run.results]
        return estimate([float(run.results[shots]["median"][step]) for run in runs])

    def task_errors(self, shots: int, seeds: Sequence[Any] | None = None) -> Array | None:
        """Errors (seeds, tasks, steps + 1) of runs; None where one of them does not have them."""
        if shots not in self._errors:
            self._errors[shots] = {seed: run.task_errors(shots) for seed, run in self.runs.items()}
        wanted = [self._errors[shots].get(seed) for seed in (self.runs if seeds is None else seeds)]
        if not wanted or any(errors is None for errors in wanted):
            return None
        last = min(errors.shape[1] for errors in wanted if errors is not None)
        shapes = {len(errors) for errors in wanted if errors is not None}
        return np.stack([errors[:, :last] for errors in wanted if errors is not None]) if len(shapes) == 1 else None

    def iqm(self, shots: int, step: int) -> Interval:
        """The interquartile mean over seeds and tasks with its 95% interval; NaN where task errors are missing."""
        errors = self.task_errors(shots)
        return UNKNOWN if errors is None else trimmed_mean_interval(errors[..., step])

    def paired(self, other: Group, shots: int, step: int, other_step: int | None = None) -> PairedDifference | None:
        """This group's errors minus the other's (after `other_step`; None: the same), by seed and task.

        None where they share none or errors are missing.
        """
        seeds = [seed for seed in self.runs if seed in other.runs]
        ours, theirs = self.task_errors(shots, seeds), other.task_errors(shots, seeds)
        if ours is None or theirs is None or ours.shape[:2] != theirs.shape[:2]:
            return None
        return paired_difference(ours[..., step], theirs[..., step if other_step is None else other_step])

    def less_than(self, baseline: str, shots: int, step: int) -> PairedDifference | None:
        """A baseline's errors minus this group's, by task; None where one of them is missing."""
        ours = self.task_errors(shots)
        found = next((run.task_errors(shots, baseline) for run in self.runs.values()), None)
        if ours is None or found is None or found.shape != ours.shape[1:2]:
            return None
        return paired_difference(np.broadcast_to(found, ours.shape[:2]), ours[..., step])

    @property
    def measure(self) -> Measure:
        """How its errors are shown; all that can be compared are shown alike."""
        return next((run.measure for run in self.runs.values()), MEAN_SQUARED_ERROR)

    @property
    def objective_step(self) -> int:
        """The gradient step that its runs were trained for, or judged at."""
        return max((run.objective_step for run in self.runs.values()), default=0)

    def last_step(self, shots: int) -> int:
        """The last step that all its runs were evaluated after."""
        return min(len(run.results[shots]["mean"]) for run in self.runs.values()) - 1

    def objective(self) -> Estimate:
        """The number that sweeps minimise, over seeds."""
        return estimate([run.objective for run in self.runs.values()])

    def diverged_tasks(self, shots: int, step: int) -> int:
        """Tasks that diverged, all seeds together."""
        return sum(int(run.results[shots]["diverged"][step]) for run in self.runs.values() if shots in run.results)


def measure_of(groups: Sequence[Group]) -> Measure:
    """How the errors of these groups are shown."""
    return next((group.measure for group in groups if group.runs), MEAN_SQUARED_ERROR)


def baselines(groups: Sequence[Group], shots: int) -> dict[str, float]:
    """Mean errors of what needs no meta-learning, of the first run that has each: all were judged on the same tasks."""
    found: dict[str, float] = {}
    for group in groups:
        for run in group.runs.values():
            found = run.baselines.get(shots, {}) | found
    return found


def group_runs(runs: Sequence[RunRecord]) -> tuple[list[Group], list[str]]:
    """Groups, in the order in which they come, and the settings in which they differ; raises `SettingError`."""
    require_same_tasks(runs)
    groups: dict[tuple, Group] = {}
    for run in runs:
        settings = {key: value for key, value in run.settings.items() if key not in BOOKKEEPING}
        told_apart_by = dict(settings)
        if settings.get(STEPS, 0) is None:
            told_apart_by[STEPS] = _steps_to_judge(settings)
        if CLIP in settings:  # what auto and null of an older run mean is the same with one inner step
            told_apart_by[CLIP] = clip_norm_of(settings)
        key = tuple((name, str(told_apart_by[name])) for name in sorted(told_apart_by))
        groups.setdefault(key, Group(settings)).add(run)
    found = list(groups.values())
    keys = _without_what_presets_say(_differing(found), found)
    for group in found:
        shown = [key for key in keys if _says_more(key, keys) and (key in group.settings or not _is_of_a_choice(key))]
        group.label = ", ".join(_words(key, group.settings) for key in shown) or "all runs"
    return found, keys


def _steps_to_judge(settings: dict[str, Any]) -> Any:
    """What null as evaluation.steps means in a run; null where its settings are damaged, or its learner is not here."""
    own = {key.removeprefix("algorithm."): value for key, value in settings.items() if key.startswith("algorithm.")}
    try:
        return settings_class("algorithm", own.get("learner"))(**own).steps_to_judge(settings["inner.steps"])
    except (TypeError, ValueError, LookupError):
        return None


def _is_of_a_choice(key: str) -> bool:
    """Whether only those have this setting that chose what has it, as sgd's momentum."""
    return key.split(".")[0] in CHOICES


def _differing(groups: Sequence[Group]) -> list[str]:
    """The settings in which groups differ; of those that a choice brings, where groups have them and differ."""
    names = list(dict.fromkeys(key for group in groups for key in group.settings))
    absent = [key for key in names if any(key not in group.settings for group in groups)]
    values = {key: {str(group.settings[key]) for group in groups if key in group.settings} for key in names}
    return [key for key in names if len(values[key]) > 1 or (key in absent and not _is_of_a_choice(key))]


def _without_what_presets_say(keys: list[str], groups: Sequence[Group]) -> list[str]:
    """The keys without what methods bring along: their own settings, where their presets alone tell groups apart.

    And settings of other groups, as reptile's optimizer, where every group has what its method brings.
    """
    if PRESET not in keys:
        return keys
    own = [key for key in keys if key.startswith("algorithm.") and key != PRESET]
    settings = {(str(g.settings.get(PRESET)), *(str(g.settings.get(key)) for key in own)) for g in groups}
    said_by_presets = len(settings) == len({preset for preset, *_ in settings})
    typed = {key for group in groups for key in changes(group.settings)}
    brought = [key for key in keys if not key.startswith("algorithm.") and not {key, key.split(".")[0]} & typed]
    return [key for key in keys if key not in brought and not (said_by_presets and key in own)]


def _says_more(key: str, keys: Sequence[str]) -> bool:
    """Whether a setting belongs in a label: a method's preset stands for what it sets."""
    return PRESET not in keys or not key.startswith("algorithm.") or key == PRESET


def swept_settings(groups: Sequence[Group], keys: Sequence[str]) -> dict[str, list[Any]]:
    """What was swept, and its value in every group: a method is one thing, whatever it sets, and so is an optimizer."""
    everywhere = [key for key in keys if _says_more(key, keys) and all(key in group.settings for group in groups)]
    return {
        _words(key, groups[0].settings).partition("=")[0]: [_value(key, group.settings) for group in groups]
        for key in everywhere
    }


def _value(key: str, settings: dict[str, Any]) -> Any:
    """A setting's value, of a method its name."""
    return _words(key, settings).partition("=")[2] if key == PRESET else settings[key]


def _words(key: str, settings: dict[str, Any]) -> str:
    """A setting in a label; the method is named as everywhere else, by its preset and what was changed of that."""
    if key == PRESET:
        own = {k.removeprefix("algorithm."): v for k, v in settings.items() if k.startswith("algorithm.")}
        return f"algorithm={label_of(own)}"
    return f"{key.removesuffix('.name')}={str(settings.get(key)).replace(' ', '')}"


def require_same_tasks(runs: Sequence[RunRecord]) -> None:
    """Refuse runs that were judged on different tasks: their errors must not be averaged or compared."""
    if not runs:
        raise SettingError("there is no run to compare")
    keys = dict.fromkeys(key for run in runs for key in run.judged_on)
    values = {key: Counter(str(run.judged_on.get(key)) for run in runs) for key in keys}
    lines = []
    for key in [key for key in keys if len(values[key]) > 1]:
        shown = ", ".join(f"{value} ({count} runs)" for value, count in values[key].most_common(4))
        lines.append(f"{key} is {shown}")
    if lines:
        differing = "\n  ".join(lines) if len(lines) > 1 else lines[0]
        separator = "\n  " if len(lines) > 1 else " "
        raise SettingError(
            "these runs were judged on different tasks and cannot be compared:"
            f"{separator}{differing}\n{_way_out(runs, [key for key in keys if len(values[key]) > 1])}"
        )


def _way_out(runs: Sequence[RunRecord], keys: Sequence[str]) -> str:
    """Conditions that leave the largest number of runs that were judged on the same tasks."""
    alike: dict[str, list[RunRecord]] = {}
    for run in runs:
        alike.setdefault(str([run.judged_on.get(key) for key in keys]), []).append(run)
    for group in sorted(alike.values(), key=len, reverse=True):
        settings = group[0].settings
        conditions = [as_condition(key, settings[key]) for key in keys if key in settings]
        left = choose(runs, conditions)
        if left and all(run.judged_on == left[0].judged_on for run in left):
            words = " ".join(f"--where {_quoted(text)}" for text in conditions)
            return f"choose runs that share them ({len(left)} do): {words}"
    return "compare runs of one version of the program and of one family of tasks"


def shots_and_steps(groups: Sequence[Group]) -> dict[int, int]:
    """Numbers of shots that every finished run was evaluated with, and the steps that all of them made."""
    runs = [run for group in groups for run in group.runs.values()]
    if not runs:
        raise SettingError("none of these runs is finished; there is nothing to compare")
    shared = set.intersection(*(set(run.results) for run in runs))
    if not shared:
        raise SettingError("these runs share no number of evaluation.shots; there is nothing to compare")
    return {k: min(len(run.results[k]["mean"]) for run in runs) - 1 for k in sorted(shared)}


def _quoted(text: str) -> str:
    return shlex.quote(text) if "'" in text else f"'{text}'"
