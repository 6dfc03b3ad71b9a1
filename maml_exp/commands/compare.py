"""`maml-exp compare`: groups of runs beside each other, in tables and figures."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maml_exp.commands.plot import FORMATS
from maml_exp.comparison import tables
from maml_exp.comparison.groups import Group, group_runs, shots_and_steps
from maml_exp.config.composing import default_settings
from maml_exp.config.overrides import as_text as override_text
from maml_exp.core.checks import SettingError
from maml_exp.run.text_table import as_text
from maml_exp.store.files import write_atomically
from maml_exp.store.records import BOOKKEEPING, RunRecord, find_runs, read_run
from maml_exp.store.run_folder import create_folder


def run_compare(arguments: Sequence[str]) -> int:
    """Group runs by what differs apart from the seed; write tables and figures."""
    parser = argparse.ArgumentParser(prog="maml-exp compare", description=run_compare.__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run, a sweep, or a folder of them")
    parser.add_argument("--out", type=Path, help="where to write (default: runs/compare/<date>-<time>)")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only runs with this setting")
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the figures")
    parser.add_argument("--style", help="a matplotlib style on top of ours, as in ggplot")
    parser.add_argument("--panels", action="store_true", help="draw MAML, joint and random (reads checkpoints)")
    parser.add_argument("--no-figures", action="store_true", help="tables only")
    options = parser.parse_args(arguments)

    runs = collect(options.paths, options.where)
    groups, keys = group_runs(runs)
    shots = shots_and_steps(groups)
    text, markdown = render(groups, shots)
    out = options.out or create_folder(Path("runs") / "compare" / time.strftime("%Y-%m-%d-%H-%M-%S"))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "comparison.md", markdown.encode())
    write_atomically(out / "comparison.csv", tables.as_csv(groups, shots, keys).encode())
    print(text)
    if not options.no_figures:
        for path in draw(groups, keys, shots, out, options):
            print(path)
    print(out)
    return 0


def collect(paths: Sequence[Path], where: Sequence[str] = ()) -> list[RunRecord]:
    """The runs below the paths that have the settings asked for; those that cannot be read are named."""
    runs = []
    for folder in find_runs(paths):
        try:
            runs.append(read_run(folder))
        except SettingError as error:
            print(f"maml-exp: passed over: {error}", file=sys.stderr)
    for condition in where:
        key, separator, value = condition.partition("=")
        if not separator:
            raise SettingError(f"--where {condition} is not usable: give KEY=VALUE, as in task.shots=10")
        runs = [run for run in runs if _same_value(run.settings.get(key), value)]
    if not runs:
        raise SettingError(f"no run found in {', '.join(map(str, paths))}" + (" with these settings" if where else ""))
    return runs


def _same_value(value: Any, text: str) -> bool:
    """Whether a setting has the value that a text stands for."""
    return str(value).replace(" ", "") == text.replace(" ", "") or (value is None and text == "null")


def render(groups: Sequence[Group], shots: dict[int, int]) -> tuple[str, str]:
    """The comparison as text and as Markdown."""
    tasks = next(run for group in groups for run in group.runs.values()).settings.get("evaluation.tasks")
    found = tables.sections(groups, shots, tasks)
    best = best_command(groups)
    text = "\n\n".join(f"{title}\n{as_text(table)}" for title, table in found)
    markdown = "\n\n".join(f"## {title}\n\n{tables.as_markdown(table)}" for title, table in found)
    return f"{text}\n\nbest: {best}\n", f"{markdown}\n\nBest: `{best}`\n"


def best_command(groups: Sequence[Group]) -> str:
    """The command that runs the group with the lowest objective again."""
    finite = [group for group in groups if math.isfinite(group.objective().mean)]
    if not finite:
        return "no group has a finite objective"
    best = min(finite, key=lambda group: group.objective().mean)
    defaults = default_settings()
    changed = {k: v for k, v in best.settings.items() if k not in BOOKKEEPING and v != defaults.get(k)}
    settings = [shlex.quote(f"{key}={override_text(value)}") for key, value in changed.items()]
    seeds = f"{len(best.runs)} seed{'s' * (len(best.runs) > 1)}"
    return " ".join(["maml-exp", *settings]) + f"   # {tables.show(best.objective())}, {seeds}"


def draw(
    groups: Sequence[Group], keys: Sequence[str], shots: dict[int, int], out: Path, options: argparse.Namespace
) -> list[Path]:
    """Draw the figures there is something to draw for; returns their paths."""
    from maml_exp.comparison import figures as plots

    names = ("adaptation", "training", "sweep", "panels")
    adaptation, training, sweep, panels = (out / f"{name}.{options.format}" for name in names)
    plots.draw_adaptation(groups, shots, adaptation, options.style)
    plots.draw_training(groups, training, options.style)
    drawn = [adaptation, training]
    if plots.draw_sweep(groups, keys, sweep, options.style):
        drawn.append(sweep)
    if options.panels:
        if plots.draw_panels(groups, panels, options.style):
            drawn.append(panels)
        else:
            print("maml-exp: --panels needs a finished maml run and a finished joint run", file=sys.stderr)
    return drawn
