"""What Hydra would let a sweep be told, but its folders could not bear."""

from __future__ import annotations

import re

from omegaconf import DictConfig

from maml_exp.config.overrides import as_text
from maml_exp.config.plain import as_plain
from maml_exp.core.checks import SettingError

# sweepers that make a job of every combination of values; others choose as they go
EXPANDING = (
    "hydra_plugins.maml_exp.CheckingSweeper",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)
NUMBER = re.compile(r"\$\{(hydra[.:])?(hydra\.)?job\.num\}")
SAFE = re.compile(r"\$\{maml_exp\.safe:(\$\{[^{}]*\}|[^{}])*\}")
NAME = re.compile(r"\$\{(hydra[.:])?(hydra\.)?job\.(id|name)\}|\$\{now:[^{}/\\]*\}")


def check_folders(hydra: DictConfig) -> None:
    """Require that every job gets a folder of its own, directly below the sweep's, with the files that are read later.

    Raises `SettingError`.
    """
    plain = as_plain(hydra)  # interpolations as they are written
    subdir, output = str(plain["sweep"]["subdir"]), plain["output_subdir"]
    if output != ".hydra":
        raise SettingError(
            f"hydra.output_subdir={as_text(output)} is not usable: it must be .hydra, where resume looks; leave it out"
        )
    rest = NAME.sub("n", SAFE.sub("s", NUMBER.sub("0", subdir)))
    if not NUMBER.search(subdir) or not re.fullmatch(r"[^/\\${}]+", rest) or rest.startswith("."):
        raise SettingError(
            f"hydra.sweep.subdir={subdir} is not usable: jobs need folders of their own, directly below the sweep's; "
            "leave it out, or give a name with ${hydra.job.num} in it, and settings as in ${maml_exp.safe:${seed}}"
        )
