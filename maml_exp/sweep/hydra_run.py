"""Where Hydra meets the runner: composing configurations, and Hydra's command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from maml_exp.config import schema
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.sweep import callbacks as jobs
from maml_exp.sweep.session import RefusedError, session

# When this module is imported, which worker processes of every launcher do, Hydra knows the schema.
ConfigStore.instance().store("config_schema", Config)
OmegaConf.register_new_resolver("maml_exp.safe", jobs.safe_name, replace=True)


LAUNCHERS = {"joblib": "joblib", "submitit": "slurm", "ray": "ray"}  # name's start: the extra that installs it


def conf_dir() -> Path:
    """The configuration files: beside the package in a checkout, inside it in a wheel."""
    package = Path(schema.__file__).resolve().parent.parent
    candidates = (package / "conf", package.parent / "conf")
    return next(path for path in candidates if (path / "config.yaml").is_file())


def launch(arguments: Sequence[str]) -> int:
    """Run Hydra's command line; returns the exit status. Raises `SettingError`."""
    with arguments_of("maml-exp", arguments), friendly_errors(arguments), session() as ours:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(jobs.job)()
    if ours.ended_by is not None and ours.received is None:
        print(f"maml-exp: the sweep ended early: {explain(ours.ended_by, arguments)}", file=sys.stderr)
    return ours.report()


def compose(overrides: Sequence[str]) -> Config:
    """The configuration for these overrides, without running anything; raises `SettingError`."""
    with friendly_errors(overrides), hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return schema.from_omegaconf(hydra.compose("config", list(overrides)))


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
def friendly_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's and OmegaConf's complaints into a `SettingError` of a line or two."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints the error, with a traceback, and exits
    try:
        yield
    except RefusedError as refused:
        raise SettingError(refused.message) from refused
    except SettingError:
        raise
    except Exception as error:  # Hydra raises plain ValueErrors too for what a user typed
        if before == "1":
            raise
        raise SettingError(explain(error, overrides)) from error
    finally:
        if before is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def explain(error: BaseException, overrides: Sequence[str]) -> str:
    """Hydra's complaint, or the one of OmegaConf's behind it, in a line or two."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    if cause is not None:
        return schema.explain(cause)
    group = unknown_option(error, overrides)
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line]
    message = " ".join(lines)[:300] or type(error).__name__
    culprit = getattr(error, "override", None) or " ".join(overrides)[:100]
    return group or (message if culprit in message else f"{culprit}: {message}")


def unknown_option(error: BaseException, overrides: Sequence[str]) -> str | None:
    """What to say where a group was given an option that it does not have; None if that is not the trouble."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        extra = next((name for start, name in LAUNCHERS.items() if option.startswith(start)), None)
        install = f"; for this launcher: pip install 'maml-exp[{extra}]'" if group == "hydra/launcher" and extra else ""
        return f"{group}={option} is not usable: it must be one of {', '.join(sorted(error.options))}{install}"
    for override in overrides:
        group, separator, option = override.lstrip("+").partition("=")
        options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")) if group.isidentifier() else []
        if separator and options and option not in options:
            return f"{override} is not usable: {group} must be one of {', '.join(options)}"
    return None
