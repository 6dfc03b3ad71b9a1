"""Sizes that cannot work, refused before anything is trained: by the memory they would take."""

from __future__ import annotations

import os

import numpy as np

from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.training import make_learner


def require_memory(config: Config) -> None:
    """Raise `SettingError`, naming the setting, for what would take more memory than this process can have."""
    most = _available()
    for setting, needed in _needed(config):
        if needed > most:
            raise SettingError(
                f"{setting} is not usable: it would take {needed / 2**30:.1f} GiB of memory, "
                f"of the {most / 2**30:.1f} GiB there are; make it smaller"
            )


def require_tasks(config: Config) -> None:
    """Raise `SettingError` where tasks cannot be drawn or judged as it is asked for; opens a table of the user's."""
    config.problem.family.require_shots(max(config.evaluation.shots))


def _needed(config: Config) -> list[tuple[str, float]]:
    """Rough lower bounds in bytes, each with the setting that is the first to make smaller."""
    problem, judged, training = config.problem, config.evaluation, config.training
    family, item = problem.family, 8 if config.dtype == "float64" else 4
    numbers = family.inputs + family.outputs
    width = max(problem.network.sizes)
    learner = make_learner(problem)

    def tasks_of(count: int) -> float:  # points of every task, and float64 errors after every step
        errors = 2 * len(judged.shots) * (config.evaluation_steps + 1)
        points = family.support_points(max(judged.shots)) + judged.grid
        return float(count) * (np.dtype(family.held_out_dtype).itemsize * numbers * points + 8 * errors)

    return [
        (learner.sized_by, 6.0 * learner.layout.size * item),
        (f"evaluation.tasks={judged.tasks}", tasks_of(judged.tasks)),
        (f"evaluation.tasks_in_training={judged.tasks_in_training}", tasks_of(judged.tasks_in_training)),
        (f"evaluation.validation_tasks={judged.validation_tasks}", tasks_of(judged.validation_tasks)),
        (f"evaluation.grid={judged.grid}", 8.0 * item * judged.grid * (numbers + width)),
        (
            f"training.meta_batch={training.meta_batch}",
            float(item)
            * training.meta_batch
            * (family.support_points(max(config.task.all_shots)) + 1)
            * (numbers + 2 * sum(problem.network.sizes)),
        ),
    ]


def _available() -> float:
    """Bytes of memory that there are, or that a limit leaves to this process."""
    most = float("inf")
    try:
        most = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        import resource

        for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            soft, _ = resource.getrlimit(limit)
            if soft != resource.RLIM_INFINITY:
                most = min(most, float(soft))
    except (ImportError, AttributeError, ValueError, OSError):  # Windows
        pass
    return most
