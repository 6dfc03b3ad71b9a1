"""What our own launcher does: jobs of Hydra's in the worker processes that resuming uses, too."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

import maml_exp.sweep.hydra_run  # noqa: F401  has Hydra know the schema, also in a worker
from maml_exp.config.composing import HYDRA_DEFAULTS, IS_HYDRA_1_3
from maml_exp.config.schema import from_omegaconf
from maml_exp.core.training.lockstep import most_together
from maml_exp.run.execution import Ready
from maml_exp.run.outcome import Outcome
from maml_exp.run.progress import is_quiet
from maml_exp.store import run_folder as states
from maml_exp.store.files import failure
from maml_exp.store.system import available_cores
from maml_exp.sweep.job import objective_of, ready_or_refused, without_hydra
from maml_exp.sweep.plan import describe_outcome, stop_file
from maml_exp.sweep.session import collecting, current
from maml_exp.sweep.workers import NOT_STARTED, in_groups, in_processes

FREE = ("seed", "inner.lr", "optimizer.lr")  # in which runs in lockstep may differ; no choice of a file depends on them


def likeness(overrides: Sequence[str]) -> tuple[str, ...]:
    """What was typed, but for the values of those that are free: jobs that share it may go in lockstep."""
    keys = [text.partition("=")[0] for text in overrides]
    return tuple(key if key in FREE else text for key, text in zip(keys, overrides, strict=True))


class Compositions:
    """Composes jobs, and keeps the last configuration for the next job that is alike.

    From its files Hydra composes one in a tenth of a second: several hundred iterations of a small run.

    Args:
        hydra_context: whose loader composes.
        config: the sweep's own.
    """

    def __init__(self, hydra_context: HydraContext, config: DictConfig):
        self._loader, self._config = hydra_context.config_loader, config
        self._last: tuple[tuple[str, ...], DictConfig] | None = None

    def of(self, overrides: Sequence[str]) -> DictConfig:
        """A job's configuration, to the letter as Hydra composes it; the caller may change it."""
        alike = likeness(overrides)
        if self._last is not None and self._last[0] == alike:
            try:
                if (changed := _changed(deepcopy(self._last[1]), overrides)) is not None:
                    return changed
            except OmegaConfBaseException:  # Hydra says what is wrong with a value
                pass
        composed = self._loader.load_sweep_config(self._config, list(overrides))
        self._last = alike, deepcopy(composed)
        return composed


def _changed(config: DictConfig, overrides: Sequence[str]) -> DictConfig | None:
    """The configuration of a job that is like the one it was composed for, by what Hydra does with a value.

    None where an override like inner={lr: 1} says in another way what is free: their order decides.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    if any(isinstance(override.value(), dict) for override in parsed):
        return None
    for override in parsed:
        if override.key_or_group in FREE:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    of_task = [override for override in parsed if not override.is_hydra_override()]
    config.hydra.overrides.task = [override.input_line for override in of_task]
    if not IS_HYDRA_1_3:  # the name is found when it is asked for
        return config
    naming = config.hydra.job.config.override_dirname
    named = [str(override.input_line) for override in of_task if override.key_or_group not in naming.exclude_keys]
    config.hydra.job.override_dirname = naming.item_sep.join(sorted(named)).replace("=", naming.kv_sep)
    return config


class Shared(NamedTuple):
    """What all jobs of a sweep are made of."""

    hydra_context: HydraContext
    config: DictConfig
    task_function: TaskFunction
    compositions: Compositions


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

    def composed(self) -> DictConfig:
        """Its configuration, as every launcher of Hydra's composes it."""
        config = self.shared.compositions.of(self.overrides)
        with open_dict(config):
            config.hydra.job.id = str(self.number)
            config.hydra.job.num = self.number
        return config

    def make(self, stop: Path) -> Outcome:
        """Compose and run it, as every launcher of Hydra's does; the job looks for the file `stop` itself."""
        with collecting() as ours:
            refused = self._run(self.shared.task_function)
        return refused or ours.outcome or self._without_outcome()

    def ready(self, stop: Path) -> Ready | Outcome:
        """Compose it, and have its folder with what Hydra writes there."""
        found: list[Ready | Outcome] = []

        def note(composed: DictConfig) -> None:
            found.append(ready_or_refused(composed, Path(HydraConfig.get().runtime.output_dir), stop))

        refused = self._run(note)
        return refused or (found[0] if found else self._without_outcome())

    def _without_outcome(self) -> Outcome:
        return Outcome(states.FAILED, self.path, "it has no outcome")

    def _run(self, task: TaskFunction) -> Outcome | None:
        """Have Hydra make its folder and call a function there; an outcome where that cannot be written."""
        setup_globals()
        for defaults in HYDRA_DEFAULTS.values():  # of another process, which Hydra's main has not told
            version.setbase(defaults)
        Plugins.instance()  # finds the options of hydra/launcher and the like that are installed
        JobRuntime.instance().set("name", self.shared.config.hydra.job.name)
        try:
            made = run_job(
                hydra_context=self.shared.hydra_context,
                task_function=task,
                config=self.composed(),
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            made.return_value  # noqa: B018  raises what the task has raised
        except OSError as error:  # Hydra's own files
            return Outcome(states.FAILED, self.path, f"cannot write {failure(error, self.path)}")
        except (Exception, SystemExit) as error:  # the others go on
            return Outcome(states.FAILED, self.path, f"{type(error).__name__}: {error}")
        return None


def launch_in_workers(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run jobs in `launcher.jobs` processes at the same time; raises SystemExit once they were asked to stop.

    With `launcher.together` those of a process go in lockstep where that pays; not what is left of a sweep, of which a
    folder each says what is to be done.
    """
    setup_globals()
    context, config = launcher.hydra_context, launcher.config
    shared = Shared(context, config, launcher.task_function, Compositions(context, config))
    work = {n: HydraJob(shared, first + n, list(overrides)) for n, overrides in enumerate(job_overrides)}
    stop, outcomes = stop_file(Path(launcher.config.hydra.sweep.dir)), {}
    jobs = launcher.jobs or available_cores()
    groups = partial(_groups_of, work, jobs) if launcher.together and not _is_of_rest() else None
    with closing(in_processes(work, jobs, stop, groups)) as made:
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


def _is_of_rest() -> bool:
    session = current()
    return session is not None and session.rest is not None


def _groups_of(work: Mapping[int, HydraJob], processes: int) -> list[Sequence[int]]:
    """Groups of jobs by what was typed; whether they may go in lockstep shows when a worker has composed them."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, job in work.items():
        alike.setdefault(likeness(job.overrides), []).append(number)

    def most(number: int) -> int:
        try:
            return most_together(from_omegaconf(without_hydra(work[number].composed())).reading().problem)
        except Exception:  # it says so itself
            return 1

    return in_groups(list(alike.values()), most, processes)


def _returned(overrides: list[str], outcome: Outcome) -> JobReturn:
    """What Hydra wants to know of a job."""
    made = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    made.return_value = objective_of(outcome)
    return made
