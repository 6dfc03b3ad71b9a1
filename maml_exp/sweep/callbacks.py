"""What Hydra calls before single runs and sweeps: folders are claimed, and mistakes found, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from maml_exp.config import schema
from maml_exp.config.overrides import gives
from maml_exp.config.plain import as_plain
from maml_exp.store.memory import require_tasks
from maml_exp.store.names import run_name
from maml_exp.store.run_folder import create_folder
from maml_exp.sweep.checks import EXPANDING, check_folders
from maml_exp.sweep.job import without_hydra
from maml_exp.sweep.launchers import amend, prepare_launcher
from maml_exp.sweep.plan import Sweep
from maml_exp.sweep.session import RefusedError, current


class Guard(Callback):
    """Checks the configuration and claims the folder before anything is written."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a single run."""
        with refusing():
            checked = schema.from_omegaconf(without_hydra(config)).reading()
            require_tasks(checked)
            path, chosen = Path(config.hydra.run.dir), _chosen(config, "hydra.run.dir")
            folder = create_folder(path if chosen else path.with_name(f"{path.name}-{run_name(checked)}"), exact=chosen)
        with read_write(config.hydra.run):
            config.hydra.run.dir = str(folder)
        if (session := current()) is not None:
            session.folder = folder

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a sweep: what its jobs have in common is checked, its folder made and held, its plan written there."""
        session = current()
        with refusing():
            if session is not None and session.rest is not None:  # what is left of a sweep: it has all that
                session.sweep = session.rest.sweep
                prepare_launcher(config.hydra, len(session.rest.folders), session)
                return
            schema.from_omegaconf(without_hydra(config))
            check_folders(config.hydra)
            # as written: an interpolation is each job's to resolve
            params = as_plain(config.hydra.sweeper).get("params") or {}
            given = as_plain(config.hydra.overrides)["task"]
            overrides = [f"{key}={value}" for key, value in params.items()] + given
            plan = Sweep.plan(overrides, expand=config.hydra.sweeper._target_ in EXPANDING)
            path = Path(config.hydra.sweep.dir)
            made = not path.is_dir()
            folder = create_folder(path, exact=_chosen(config, "hydra.sweep.dir"))
            if session is not None:
                session.hold(folder)
            sweep = plan.written_to(folder.resolve(), made_folder=made or folder != path)
            # jobs see the sweep's folder, and only swept keys in their own folders' names
            excluding = "hydra.job.config.override_dirname.exclude_keys"
            amend(config.hydra, {"hydra.sweep.dir": str(sweep.folder), excluding: list(sweep.constant)})
            if session is not None:
                session.folder, session.sweep = folder, sweep
                prepare_launcher(config.hydra, len(sweep.jobs) or config.hydra.sweeper.get("n_jobs"), session)


@contextmanager
def refusing() -> Iterator[None]:
    """Carry an error past Hydra, which turns Exceptions in callbacks into warnings and goes on."""
    try:
        yield
    except Exception as error:
        raise RefusedError(str(error) or repr(error)) from error


def _chosen(config: DictConfig, key: str) -> bool:
    """Whether the user gave this folder."""
    return gives(config.hydra.overrides.hydra, key)
