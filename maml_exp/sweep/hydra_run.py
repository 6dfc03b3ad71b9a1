"""Hydra's command line: `maml-exp key=value ...` and `maml-exp -m key=a,b ...`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from omegaconf import OmegaConf

from maml_exp.config.composing import conf_dir, explain, friendly_errors, teach_hydra
from maml_exp.core.checks import SettingError
from maml_exp.store.names import safe_name
from maml_exp.sweep.job import job
from maml_exp.sweep.session import RefusedError, session

# When this module is imported, which worker processes of every launcher do, Hydra knows the schema.
teach_hydra()
sys.path.append(str(Path(__file__).with_name("plugins")))  # where Hydra finds conf/hydra/sweeper/checking.yaml's class
OmegaConf.register_new_resolver("maml_exp.safe", safe_name, replace=True)


def launch(arguments: Sequence[str]) -> int:
    """Run Hydra's command line; returns the exit status. Raises `SettingError`."""
    if "${" in (here := os.getcwd()):
        raise SettingError(f"{here}: Hydra takes '${{' in the working directory's name for a reference; work elsewhere")
    try:
        with arguments_of("maml-exp", arguments), friendly_errors(arguments), session() as ours:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
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
