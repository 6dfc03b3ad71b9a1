"""Names of folders that every file system takes."""

from __future__ import annotations

import re

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config

LONGEST_NAME = 120  # characters of a job's folder; file systems allow 255 bytes


def safe_name(text: str) -> str:
    """Part of a folder name: odd characters become _, long ones are cut."""
    name = re.sub(r"[^\w.,=+-]+", "_", str(text))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "~"


def run_name(config: Config) -> str:
    """The name in a run's folder: the one it was given, as it is, or its method's."""
    return config.name or safe_name(method_label(config.algorithm))
