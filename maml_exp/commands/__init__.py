"""The verbs of the command line, a file each: what help shows and `cli` calls."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One verb; its file, named after it, has a function run_<verb>(arguments) -> exit status."""

    usage: str  # what follows the verb
    meaning: str


VERBS = {
    "resume": Verb("RUN [--jobs 2 | hydra/launcher=...]", "go on with an interrupted run or sweep, to the same bits"),
    "rerun": Verb("RUN [key=value ...]", "run a saved configuration again, in a new folder, and compare"),
    "diff": Verb("RUN_A RUN_B", "configuration, environment and results in which two runs differ"),
    "compare": Verb("PATH...", "tables and figures of many runs beside each other"),
    "adapt": Verb("RUN POINTS.csv", "adapt what a run learned to your points, and predict"),
    "plot": Verb("RUN [--format pdf]", "draw a run's figures again"),
    "gradcheck": Verb("[key=value ...]", "prove the hand-derived gradients, a line a check"),
    "settings": Verb("[GROUP]", "every setting: default, unit, bounds, meaning"),
}
