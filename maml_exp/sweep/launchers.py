"""Hydra's launchers, made ready: signals reach this process alone, and no more workers start than there are jobs."""

from __future__ import annotations

import os
import signal
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from maml_exp.config.overrides import as_text
from maml_exp.config.plain import as_plain
from maml_exp.core import checks
from maml_exp.sweep.workers import end_with_parent

if TYPE_CHECKING:
    from maml_exp.sweep.session import Session

HERE = ("hydra._internal.core_plugins.basic_launcher", "hydra_plugins.maml_exp.")  # need no shield


def amend(hydra: DictConfig, settings: dict[str, Any]) -> None:
    """Change settings (dotted keys) of a sweep that is composed already, for its jobs, too.

    Hydra composes each job anew, from the overrides: they are what a job sees of it. From 1.4 on Hydra refuses a job
    whose launcher is not the sweep's.
    """
    with read_write(hydra), open_dict(hydra):
        for key, value in settings.items():
            OmegaConf.update(hydra, key.removeprefix("hydra."), value, force_add=True)
            hydra.overrides.hydra.append(f"++{key}={as_text(value)}")


def prepare_launcher(hydra: DictConfig, jobs: int | None, session: Session) -> None:
    """Ready the launcher of a sweep of so many jobs at once (None: not known)."""
    launcher = hydra.launcher
    target = launcher.get("_target_", "")
    if "joblib_launcher" in target:
        _prepare_joblib(hydra, jobs)
    if target.endswith(".WorkersLauncher"):
        checks.optional(checks.integer(1, 1024), "null: one for each core").require(
            "hydra.launcher.jobs", launcher.jobs
        )
        checks.boolean().require("hydra.launcher.together", launcher.get("together", True))
    if not target.startswith(HERE):
        session.shield_workers()
    if "ray_launcher" in target and "ray" in launcher:
        import ray

        settings = as_plain(launcher.ray.init, resolve=True)
        if not settings.get("address"):  # as the launcher would, which finds Ray running; a cluster has its own
            settings.setdefault("object_store_memory", 78643200)
        ray.init(**settings)
        signal.signal(signal.SIGTERM, session.stop)  # Ray installs a handler that aborts


def _prepare_joblib(hydra: DictConfig, jobs: int | None) -> None:
    """Start no more workers than jobs, and have each end with this process, also while it starts."""
    import multiprocessing.resource_tracker

    import joblib.externals.loky.backend.resource_tracker
    from joblib.parallel import BACKENDS, register_parallel_backend

    # starting these later would lift the mask
    multiprocessing.resource_tracker.ensure_running()
    joblib.externals.loky.backend.resource_tracker.ensure_running()
    asked = hydra.launcher.get("n_jobs")
    workers = joblib.effective_n_jobs(1 if asked is None else asked)
    amend(hydra, {"hydra.launcher.n_jobs": min(workers, jobs or workers)})
    if "backend_kwargs" in signature(joblib.Parallel.__init__).parameters:  # joblib 1.5 and later
        ending = {"initializer": end_with_parent, "initargs": [os.getpid()]}
        for name in ("loky", "multiprocessing"):  # Hydra 1.3 takes the first alone
            register_parallel_backend(name, partial(BACKENDS[name], **ending))
