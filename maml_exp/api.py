"""The public API: training, opening and comparing runs from Python, and choices of one's own.

Everything here is also reachable as `maml_exp.<name>`; see docs/api.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maml_exp.comparison.comparison import Comparison
from maml_exp.config.choices import hand_to_workers, source_of
from maml_exp.config.composing import compose
from maml_exp.config.overrides import as_text
from maml_exp.config.plain import flatten
from maml_exp.core.checks import SettingError
from maml_exp.core.learners import LEARNERS
from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.registry import Registry
from maml_exp.core.tasks import TASKS
from maml_exp.run.execution import execute
from maml_exp.run.trained import Run
from maml_exp.store.memory import require_memory, require_tasks
from maml_exp.store.names import run_name
from maml_exp.store.run_folder import FINISHED, create_folder, new_folder, new_run_path


def train(*overrides: str, settings: Mapping[str, Any] | None = None, folder: Path | str | None = None) -> Run:
    """Train, evaluate and plot one run, as the command line does; returns it when it is finished.

    Args:
        overrides: as on the command line: "inner.steps=5", "model=one_hidden".
        settings: the same as a mapping, dotted or nested: {"inner.steps": 5} or {"inner": {"steps": 5}}.
        folder: where; None: runs/<date>/<time>-<label> below the working directory.

    Raises:
        SettingError: for settings that cannot be used, and for a run that diverged, failed or was interrupted:
            what it wrote stays in its folder, and the message names it.
    """
    wrong = [text for text in overrides if not isinstance(text, str)]
    if wrong:
        raise SettingError(f'{wrong[0]!r} is no override: train("inner.steps=5", "seed=3"), or settings={{...}}')
    given = [*overrides, *(f"{key}={as_text(value)}" for key, value in flatten(dict(settings or {})).items() if key)]
    config = compose(given).reading()
    require_tasks(config)
    require_memory(config)
    if folder is None:
        path = new_folder(new_run_path(run_name(config)), given)
    else:
        path = create_folder(Path(folder), exact=True)
    outcome = execute(config, path)
    if outcome.state != FINISHED:
        raise SettingError(f"{path}: {outcome.state}, {outcome.message}")
    return Run(path)


def load(folder: Path | str, file: Path | str | None = None) -> Run:
    """Open a run, finished or not; raises `SettingError` where there is none.

    `file` gives the table of its tasks again, which is not opened because a run names it; to adapt, none is needed.
    """
    return Run(folder, file)


def compare(paths: Sequence[Path | str | Run] | Path | str | Run, where: Sequence[str] = ()) -> Comparison:
    """Group runs by what differs apart from the seed.

    Args:
        paths: runs, sweeps, or folders of them.
        where: only runs with these settings, as "task.shots=10".

    Raises `SettingError` where there is no run, or where runs were judged on different tasks.
    """
    several = [paths] if isinstance(paths, (str, Path, Run)) else list(paths)
    return Comparison.of([path.folder if isinstance(path, Run) else Path(path) for path in several], where)


def register_task(name: str, family: type, settings: type) -> None:
    """Make a family of tasks of your own a choice: task=NAME. See `maml_exp.core.tasks.base.TaskFamily`."""
    _register(TASKS, name, Settings=settings, Family=family)


def register_learner(name: str, learner: type, settings: type) -> None:
    """Make a learner of your own a choice: algorithm=NAME. See `maml_exp.core.learners.base.BaseLearner`."""
    _register(LEARNERS, name, Settings=settings, Learner=learner)


def register_optimizer(name: str, settings: type, init: Callable, update: Callable) -> None:
    """Make an optimizer of your own a choice: optimizer=NAME. See `maml_exp.core.optimizers`."""
    _register(OPTIMIZERS, name, Settings=settings, init=init, update=update)


def _register(registry: Registry, name: str, **parts: Any) -> None:
    """Register a choice here, and have worker processes of a sweep do the same."""
    key = registry.key.rpartition(".")[2]
    if getattr(parts["Settings"], key, None) != name:
        raise SettingError(f"{name!r} cannot be registered: its settings must have {key} = {name!r}")
    registry.register(name, **parts)
    place = source_of(parts["Settings"])
    if place is not None:
        hand_to_workers(place)
