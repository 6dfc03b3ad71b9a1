"""`maml-exp compare`: groups of runs beside each other, in tables and figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from maml_exp.commands import parser_of
from maml_exp.commands.plot import FORMATS
from maml_exp.comparison.comparison import Comparison
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.store.files import write_atomically
from maml_exp.store.run_folder import create_folder


def run_compare(arguments: Sequence[str]) -> int:
    """Group runs by what differs apart from the seed; write tables and figures."""
    parser = parser_of("compare", run_compare)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a run, a sweep, or a folder of them")
    parser.add_argument("--out", type=Path, help="where to write (default: runs/compare/<date>-<time>)")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only runs with this setting")
    parser.add_argument("--format", choices=FORMATS, default="png", help="of the figures")
    parser.add_argument("--style", help="a matplotlib style on top of ours, as in ggplot")
    parser.add_argument("--panels", action="store_true", help="draw one task with every group (reads checkpoints)")
    parser.add_argument("--no-figures", action="store_true", help="tables only")
    options = parser.parse_args(arguments)

    if options.out is not None and door.kind_of(options.out) not in (None, "a folder", "a link"):
        raise SettingError(f"--out {options.out} is not usable: there is {door.kind_of(options.out)}; name a folder")
    comparison = Comparison.of(options.paths, options.where)
    out = options.out or create_folder(Path("runs") / "compare" / time.strftime("%Y-%m-%d-%H-%M-%S"))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "comparison.md", comparison.markdown.encode())
    write_atomically(out / "comparison.csv", comparison.csv.encode())
    print(comparison.text)
    if not options.no_figures:
        for path in draw(comparison, out, options):
            print(path)
    print(out)
    return 0


def draw(comparison: Comparison, out: Path, options: argparse.Namespace) -> list[Path]:
    """Draw the figures there is something to draw for; returns their paths."""
    from maml_exp.comparison import figures as plots
    from maml_exp.comparison.panels import draw_panels

    groups, keys, shots = comparison.groups, comparison.keys, comparison.shots
    names = ("adaptation", "learning", "sweep", "panels")
    adaptation, learning, sweep, panels = (out / f"{name}.{options.format}" for name in names)
    plots.draw_adaptation(groups, shots, adaptation, options.style)
    drawn = [adaptation]
    if plots.draw_learning(groups, comparison.ranked_shots, learning, options.style):
        drawn.append(learning)
    if plots.draw_sweep(groups, keys, sweep, options.style):
        drawn.append(sweep)
    if options.panels:
        if draw_panels(groups, panels, options.style):
            drawn.append(panels)
        else:
            print(
                "maml-exp: no panels.* is drawn: --panels needs finished runs of two or more groups, with a checkpoint "
                "each, on curves that are not a table's",
                file=sys.stderr,
            )
    return drawn
