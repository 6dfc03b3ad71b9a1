"""Where Hydra meets the runner: composing configurations, single runs and multiruns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from maml_exp.core.errors import SettingError
from maml_exp.experiment import config as schema
from maml_exp.experiment.config import Config
from maml_exp.experiment.folder import INTERRUPTED, create_folder
from maml_exp.experiment.runner import Outcome, execute


class RunFailedError(Exception):
    """A single run that did not finish; its outcome says how."""

    def __init__(self, outcome: Outcome):
        super().__init__(outcome.message)
        self.outcome = outcome


class Refused(SystemExit):
    """A mistake found inside one of Hydra's callbacks, which swallow every Exception."""

    def __init__(self, message: str):
        super().__init__(1)
        self.message = message


def conf_dir() -> Path:
    """The configuration files: beside the package in a checkout, inside it in a wheel."""
    package = Path(schema.__file__).resolve().parent.parent
    candidates = (package / "conf", package.parent / "conf")
    return next(path for path in candidates if (path / "config.yaml").is_file())


class Guard(Callback):
    """Checks the configuration and claims the folder before anything is written."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a single run."""
        try:
            checked = schema.from_omegaconf(without_hydra(config))
            chosen = any(item.startswith("hydra.run.dir=") for item in config.hydra.overrides.hydra)
            path = Path(config.hydra.run.dir)
            folder = create_folder(path if chosen else path.with_name(f"{path.name}-{checked.label}"), exact=chosen)
        except SettingError as error:
            raise Refused(str(error)) from error
        with read_write(config.hydra.run):
            config.hydra.run.dir = str(folder)


def without_hydra(config: DictConfig) -> DictConfig:
    """The job's part of a composed configuration."""
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def job(composed: DictConfig) -> float:
    """Hydra's task function: one run; returns the number that sweepers minimise."""
    config = schema.from_omegaconf(composed)
    outcome = execute(config, Path(HydraConfig.get().runtime.output_dir))
    if outcome.state == INTERRUPTED:
        raise SystemExit(outcome.exit_status)  # a sweep must not go on with its next job
    if outcome.verdict is None:
        raise RunFailedError(outcome)
    print(outcome.verdict.table())
    print(f"\n{outcome.folder}")
    return outcome.verdict.objective()


def launch(arguments: Sequence[str]) -> None:
    """Run Hydra's command line; raises `SettingError` or `RunFailedError`."""
    register()
    with arguments_of("maml-exp", arguments), friendly_errors():
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()


def compose(overrides: Sequence[str]) -> Config:
    """The configuration for these overrides, without running anything; raises `SettingError`."""
    register()
    with friendly_errors(), hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return schema.from_omegaconf(hydra.compose("config", list(overrides)))


def register() -> None:
    """Make the schema known to Hydra."""
    ConfigStore.instance().store("config_schema", Config)


@contextmanager
def arguments_of(program: str, arguments: Sequence[str]) -> Iterator[None]:
    """Have Hydra read these arguments; it looks at sys.argv alone."""
    before = sys.argv
    sys.argv = [program, *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Turn Hydra's and OmegaConf's complaints into a `SettingError` of a line or two."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints the error, with a traceback, and exits
    try:
        yield
    except Refused as refused:
        raise SettingError(refused.message) from refused
    except (RunFailedError, SettingError):
        raise
    except Exception as error:  # Hydra raises plain ValueErrors too for what a user typed
        if before == "1":
            raise
        raise SettingError(explain(error)) from error
    finally:
        if before is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def explain(error: BaseException) -> str:
    """Hydra's complaint, or the one of OmegaConf's behind it, in a line or two."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option} is not usable: it must be one of {', '.join(sorted(error.options))}"
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    if cause is not None:
        return schema.explain(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line]
    return " ".join(lines)[:300] or type(error).__name__
