"""Hydra's launchers, made ready: signals reach this process alone, and no more workers start than there are jobs."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict, read_write

from maml_exp.config.plain import as_plain
from maml_exp.core import checks

if TYPE_CHECKING:
    from maml_exp.sweep.session import Session

HERE = ("hydra._internal.core_plugins.basic_launcher", "hydra_plugins.maml_exp.")  # need no shield
AS_THEY_START = {"_target_": "hydra.utils.get_method", "path": "maml_exp.sweep.workers.end_with_parent"}


def prepare_launcher(hydra: DictConfig, jobs: int | None, session: Session) -> None:
    """Ready the launcher of a sweep of so many jobs at once (None: not known)."""
    launcher = hydra.launcher
    target = launcher.get("_target_", "")
    if "joblib_launcher" in target:
        _prepare_joblib(launcher, jobs)
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


def _prepare_joblib(launcher: DictConfig, jobs: int | None) -> None:
    """Start no more workers than jobs, and have each end with this process, also while it starts."""
    import multiprocessing.resource_tracker
    from inspect import signature

    import joblib.externals.loky.backend.resource_tracker

    # starting these later would lift the mask
    multiprocessing.resource_tracker.ensure_running()
    joblib.externals.loky.backend.resource_tracker.ensure_running()
    with read_write(launcher), open_dict(launcher):
        asked = launcher.get("n_jobs")
        workers = joblib.effective_n_jobs(1 if asked is None else asked)
        launcher.n_jobs = min(workers, jobs or workers)
        if "backend_kwargs" in signature(joblib.Parallel.__init__).parameters:  # joblib 1.5 and later
            launcher.initializer = AS_THEY_START
            launcher.initargs = [os.getpid()]
