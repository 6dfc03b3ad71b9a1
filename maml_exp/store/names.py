"""Names of folders that every file system takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from maml_exp.config.labels import method_label
from maml_exp.config.overrides import as_text
from maml_exp.config.plain import flatten
from maml_exp.config.schema import Config
from maml_exp.config.usual import changes
from maml_exp.store.records import BOOKKEEPING

LONGEST_NAME = 120  # characters of a job's folder; file systems allow 255 bytes


def safe_name(text: str) -> str:
    """Part of a folder name: odd characters become _, long ones are cut."""
    name = re.sub(r"[^\w.,=+-]+", "_", str(text))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "~"


def joined(words: Sequence[str], longest: int, separator: str = ",") -> str:
    """As many of the words as there is room for, and the number of the others, as +3: a value is never cut to another.

    A first word that is too long itself is cut, and ends in ~.
    """
    if len(separator.join(words)) <= longest:
        return separator.join(words)
    for count in reversed(range(1, len(words))):
        text = separator.join([*words[:count], f"+{len(words) - count}"])
        if len(text) <= longest:
            return text
    rest = f"{separator}+{len(words) - 1}" if len(words) > 1 else ""
    return words[0][: longest - len(rest) - 1] + "~" + rest


def run_name(config: Config) -> str:
    """The name in a run's folder: the one it was given, as it is, or its method and what differs from the default."""
    if config.name:
        return config.name
    differs = changes(flatten(config.to_dict()), BOOKKEEPING - {"seed"})
    words = [f"{key}={as_text(value)}" for key, value in differs.items() if key.split(".")[0] != "algorithm"]
    return joined([safe_name(word) for word in (method_label(config.algorithm), *words)], LONGEST_NAME - 20)
