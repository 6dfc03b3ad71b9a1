"""Hydra's command line: `maml-exp key=value ...` and `maml-exp -m key=a,b ...`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from pathlib import Path
from warnings import catch_warnings, filterwarnings

import hydra
from hydra.core.plugins import Plugins
from hydra.types import TaskFunction
from omegaconf import OmegaConf

from maml_exp.config.composing import HYDRA_DEFAULTS, check_typed, conf_dir, explain, friendly_errors, teach_hydra
from maml_exp.config.overrides import in_quotes
from maml_exp.core.checks import SettingError
from maml_exp.store.names import safe_name
from maml_exp.sweep.command_line import for_hydra, read
from maml_exp.sweep.job import job, rest_job
from maml_exp.sweep.plan import Sweep
from maml_exp.sweep.session import RefusedError, Rest, session
from maml_exp.sweep.workers import Work

# When this module is imported, which worker processes of every launcher do, Hydra knows the schema and our plugins:
# by its place, where Hydra has yet to look for plugins, and by its class, where it has, as for a run from Python.
teach_hydra()
sys.path.append(str(Path(__file__).with_name("plugins")))
for plugin in ("CheckingSweeper", "RestSweeper", "WorkersLauncher"):
    Plugins.instance().register(getattr(import_module("hydra_plugins.maml_exp"), plugin))
# OmegaConf 2.4, which Hydra 1.4 needs, warns of the older name; in 2.3 the newer one is that of something older still
has_newer_name = "replace" in signature(OmegaConf.register_resolver).parameters
register_resolver = OmegaConf.register_resolver if has_newer_name else OmegaConf.register_new_resolver
register_resolver("maml_exp.safe", safe_name, replace=True)  # type: ignore[call-arg]

# Hydra 1.4 warns of every class that a configuration names; a list of those allowed would refuse a user's own callbacks
OURS_NAMED = r"hydra.utils.instantiate\(\) resolved _target_='maml_exp\."


def launch(arguments: Sequence[str]) -> int:
    """Run Hydra's command line; returns the exit status. Raises `SettingError`."""
    arguments = for_hydra(arguments)
    given = read(arguments)
    if not given.shell_completion:  # of which the last word is half a one
        check_typed(given.overrides, can_sweep=given.multirun)
    return _launch(arguments, job)


def launch_rest(sweep: Sweep, work: Sequence[Work], launcher: Sequence[str]) -> int:
    """Have one of Hydra's launchers do what is left of a sweep, which is held; returns the exit status.

    `launcher` are overrides, as hydra/launcher=joblib; nothing that the sweep's plan holds reaches Hydra: a job is
    told its folder alone.
    """
    for one in work:
        if "$" in one.path.name:
            raise SettingError(f"{one.path} has a name with a $ in it, which Hydra would replace; rename the folder")
    settings = [
        "hydra.mode=MULTIRUN",
        "hydra/sweeper=checking",
        "hydra.sweeper._target_=hydra_plugins.maml_exp.RestSweeper",
        f"hydra.sweep.dir={in_quotes(str(sweep.folder))}",
        "hydra.output_subdir=null",  # what is saved in the jobs' folders is kept
    ]
    return _launch([*launcher, *settings], rest_job, Rest(sweep, [one.path for one in work]))


def _launch(arguments: Sequence[str], task: TaskFunction, rest: Rest | None = None) -> int:
    if "${" in (here := os.getcwd()):
        raise SettingError(f"{here}: Hydra takes '${{' in the working directory's name for a reference; work elsewhere")
    try:
        with arguments_of("maml-exp", arguments), friendly_errors(arguments), session() as ours, catch_warnings():
            filterwarnings("ignore", OURS_NAMED)
            ours.rest = rest
            hydra.main(config_path=str(conf_dir()), config_name="config", **HYDRA_DEFAULTS)(task)()
    except RefusedError as refused:
        raise SettingError(refused.message) from refused
    if ours.ended_by is not None and ours.received is None:
        print(f"maml-exp: the sweep ended early: {explain(ours.ended_by, arguments)}", file=sys.stderr)
    return ours.report()


@contextmanager
def arguments_of(program: str, arguments: Sequence[str]) -> Iterator[None]:
    """Have Hydra read these arguments; it looks at sys.argv alone."""
    before = sys.argv
    sys.argv = [program, *arguments]
    try:
        yield
    finally:
        sys.argv = before
