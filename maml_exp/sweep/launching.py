"""What our own launcher does: jobs of Hydra's in the worker processes that resuming uses, too."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from hydra import version
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

import maml_exp.sweep.hydra_run  # noqa: F401  has Hydra know the schema, also in a worker
from maml_exp.config.composing import HYDRA_DEFAULTS
from maml_exp.run.outcome import Outcome
from maml_exp.run.progress import is_quiet
from maml_exp.store import run_folder as states
from maml_exp.store.files import failure
from maml_exp.sweep.job import objective_of
from maml_exp.sweep.plan import describe_outcome, stop_file
from maml_exp.sweep.session import collecting, current
from maml_exp.sweep.workers import NOT_STARTED, in_processes


class Shared(NamedTuple):
    """What all jobs of a sweep are made of."""

    hydra_context: HydraContext
    config: DictConfig
    task_function: TaskFunction


class HydraJob(NamedTuple):
    """One of Hydra's jobs, to be made in a worker."""

    shared: Shared
    number: int
    overrides: list[str]

    @property
    def path(self) -> Path:
        """The job's folder; one with its number alone where that has not been made."""
        folder = Path(self.shared.config.hydra.sweep.dir)
        return next(folder.glob(f"{self.number}_*"), folder / str(self.number))

    def make(self, stop: Path) -> Outcome:
        """Compose and run it, as every launcher of Hydra's does; the job looks for the file `stop` itself."""
        setup_globals()
        for defaults in HYDRA_DEFAULTS.values():  # of another process, which Hydra's main has not told
            version.setbase(defaults)
        Plugins.instance()  # finds the options of hydra/launcher and the like that are installed
        JobRuntime.instance().set("name", self.shared.config.hydra.job.name)
        config = self.shared.hydra_context.config_loader.load_sweep_config(self.shared.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = str(self.number)
            config.hydra.job.num = self.number
        with collecting() as ours:
            try:
                run_job(
                    hydra_context=self.shared.hydra_context,
                    task_function=self.shared.task_function,
                    config=config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            except OSError as error:  # Hydra's own files
                return Outcome(states.FAILED, self.path, f"cannot write {failure(error, self.path)}")
        return ours.outcome or Outcome(states.FAILED, self.path, "it has no outcome")


def launch_in_workers(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run jobs in `launcher.jobs` processes at the same time; raises SystemExit once they were asked to stop."""
    setup_globals()
    shared = Shared(launcher.hydra_context, launcher.config, launcher.task_function)
    work = {n: HydraJob(shared, first + n, list(overrides)) for n, overrides in enumerate(job_overrides)}
    stop, outcomes = stop_file(Path(launcher.config.hydra.sweep.dir)), {}
    with closing(in_processes(work, launcher.jobs, stop)) as made:
        for number, outcome in made:
            outcomes[number] = outcome
            if outcome.message != NOT_STARTED and not is_quiet():
                print(f"{outcome.folder.name}: {describe_outcome(outcome)}", flush=True)
    if any(outcome.state == states.INTERRUPTED for outcome in outcomes.values()):
        session = current()
        if session is not None:
            session.received = session.received or signal.SIGINT  # by the file: as under the basic launcher
        raise SystemExit(128 + signal.SIGINT)
    return [_returned(work[n].overrides, outcomes[n]) for n in sorted(work)]


def _returned(overrides: list[str], outcome: Outcome) -> JobReturn:
    """What Hydra wants to know of a job."""
    made = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    made.return_value = objective_of(outcome)
    return made
