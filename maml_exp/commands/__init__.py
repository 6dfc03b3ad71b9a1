"""The verbs of the command line, a file each: what help shows and `cli` calls."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from maml_exp.core.checks import SettingError

QUIET_VARIABLE = "MAML_EXP_QUIET"  # in the environment, so that worker processes see it; read in run/progress.py
ENDS = "exit status: 0 done; 1 a mistake, or it failed"
STOPPED = "; 130 or 143 stopped, by Ctrl-C or SIGTERM"


class Verb(NamedTuple):
    """One verb; its file, named after it, has a function run_<verb>(arguments) -> exit status."""

    usage: str  # what follows the verb
    meaning: str
    ends: str = ENDS


VERBS = {
    "list": Verb("[PATH] [--where K=V]", "runs, a line each: state, what differs, objective, when"),
    "resume": Verb(
        "RUN [--jobs 2]",
        "go on with an interrupted run or sweep, here or by a launcher, to the same bits",
        ENDS + STOPPED,
    ),
    "rerun": Verb(
        "RUN [key=value ...]",
        "run a saved configuration again, in a new folder, and compare",
        f"{ENDS}; 3 without changes: the results are not identical{STOPPED}",
    ),
    "diff": Verb(
        "RUN_A RUN_B",
        "configuration, environment and results in which two runs differ",
        "exit status: 0 the results are identical; 3 they are not; 1 a mistake",
    ),
    "compare": Verb("PATH...", "tables and figures of many runs beside each other"),
    "adapt": Verb("RUN POINTS.csv", "adapt what a run learned to your points, and predict"),
    "plot": Verb("RUN [--format pdf]", "draw a run's figures again"),
    "gradcheck": Verb(
        "[key=value ...]",
        "prove the hand-derived gradients, a line a check",
        "exit status: 0 every check passes; 1 one fails, or a mistake",
    ),
    "settings": Verb("[GROUP]", "every setting: default, unit, bounds, meaning"),
    "completion": Verb("bash", "what has the shell complete verbs, runs and settings"),
}


class VerbParser(argparse.ArgumentParser):
    """Its mistakes cost a line and the exit status of all other mistakes."""

    def error(self, message: str) -> NoReturn:
        """Raise `SettingError`."""
        unknown, _, given = message.partition("unrecognized arguments: ")
        if given and not unknown:
            from maml_exp.config.messages import closest

            meant = closest(given.split()[0].partition("=")[0], self._option_string_actions)
            message = f"{given} is not understood" + (f"; did you mean {meant}?" if meant else "")
        raise SettingError(f"{message}; {self.prog} --help says more")


def parser_of(name: str, function: Callable[..., Any]) -> VerbParser:
    """The parser of a verb; what it does is said by its function, how it ends in the list above."""
    return VerbParser(prog=f"maml-exp {name}", description=function.__doc__, epilog=VERBS[name].ends)


FILE = "task.file="


def given_file(text: str) -> str:
    """The path of task.file=PATH, that of a saved run's table; raises `SettingError` for another setting."""
    if not text.startswith(FILE) or text == FILE:
        raise SettingError(
            f"{text} is not usable here: a saved run keeps its settings; the table may be given: {FILE}PATH"
        )
    return text.removeprefix(FILE)
