"""Our sweepers and our launcher.

They stand in this folder since Hydra takes sweepers and launchers from the namespace `hydra_plugins` alone;
`maml_exp.sweep.hydra_run` puts the folder above on the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from maml_exp.config.messages import known_names
from maml_exp.config.overrides import Override, in_quotes, parse_all
from maml_exp.config.schema import check_values
from maml_exp.core import checks


class CheckingSweeper(BasicSweeper):
    """Hydra's basic sweeper, but quicker with its check of a sweep's jobs.

    It finds what cannot be composed before the first job starts."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Raise `SettingError` or one of Hydra's errors for a job that cannot be composed.

        Hydra's own check composes every job, as its launchers do again: twice 0.07 s. Jobs that differ in the values
        of single settings alone compose alike: one of them is composed, and each value checked against its type.
        """
        assert self.config is not None  # after setup
        names = set(known_names(self.config))
        alike: dict[tuple[str, ...], Sequence[str]] = {}
        values: dict[str, Override] = {}
        for texts in batch:
            plain = {o.text: o for o in parse_all(texts) if o.is_plain and o.key in names}
            alike.setdefault(tuple(text for text in texts if text not in plain), texts)
            values |= plain
        super().validate_batch_is_legal(list(alike.values()))
        check_values(self.config, ((override.key, override.value) for override in values.values()))


class RestSweeper(BasicSweeper):
    """Hands what is left of a sweep to the launcher: a job for each folder, which says what is to be done there."""

    def sweep(self, arguments: list[str]) -> Any:
        """Have the launcher make the jobs that the session holds."""
        from maml_exp.sweep.session import current

        session = current()
        if session is None or session.rest is None:
            raise checks.SettingError("hydra_plugins.maml_exp.RestSweeper is for maml-exp resume")
        assert self.launcher is not None  # after setup
        jobs = [[f"hydra.sweep.subdir={in_quotes(path.name)}"] for path in session.rest.folders]
        made = self.launcher.launch(jobs, initial_job_idx=0)
        return [job.return_value for job in made]  # raises what a job raised, which a run's end never is


class WorkersLauncher(Launcher):
    """Runs a sweep's jobs in worker processes of this program: `maml-exp -m --jobs 2`.

    Args:
        jobs: processes; None: one for each core.
        together: whether the runs of a process go in lockstep where that pays.
    """

    def __init__(self, jobs: int | None = None, together: bool = True):
        self.jobs, self.together = jobs, together

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what jobs are made of."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run these jobs; returns what they come to, in their order."""
        from maml_exp.sweep.launching import launch_in_workers

        return launch_in_workers(self, job_overrides, initial_job_idx)
