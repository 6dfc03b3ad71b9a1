"""`maml-exp list`: runs, a line each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from maml_exp.commands import parser_of
from maml_exp.comparison.conditions import choose
from maml_exp.config.labels import label_of
from maml_exp.config.overrides import as_text
from maml_exp.config.usual import changes, short_names
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.data.text_table import aligned
from maml_exp.data.texts import one_line
from maml_exp.store import run_folder as states
from maml_exp.store.files import read_json
from maml_exp.store.names import joined
from maml_exp.store.records import BOOKKEEPING, RunLine, find_runs, no_run, read_line
from maml_exp.store.run_folder import PLAN_FILE

RUNS = Path("runs")  # below the working directory, where runs are made
WIDTH = 60  # characters for what differs from the default
HIDDEN = BOOKKEEPING - {"seed", "name"}
HEADING = ["state", "method", "differs from the default in", "objective", "when", "folder"]


class Unit(NamedTuple):
    """What stands together: a sweep's runs, or one run alone."""

    sweep: Path | None
    runs: list[RunLine]

    @property
    def when(self) -> str:
        """Of the newest one."""
        return max(run.when for run in self.runs)


def run_list(arguments: Sequence[str]) -> int:
    """List runs, a line each, the newest last: state, method, what differs from the default, objective, when."""
    parser = parser_of("list", run_list)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="a folder of runs (default: runs)")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only runs with this setting")
    options = parser.parse_args(arguments)
    paths = options.paths or [RUNS]
    if not options.paths and not RUNS.is_dir():
        raise SettingError("there is no folder runs here: give one, as in maml-exp list PATH")
    found = [read_line(folder) for folder in find_runs(paths)]
    if not found:
        raise no_run(paths)
    chosen = choose(found, options.where) if options.where else found
    if not chosen:
        raise SettingError(f"no run found with these settings; {len(found)} have others")
    titles = {unit.sweep: _title(unit) for unit in units(found) if unit.sweep is not None}
    print(as_lines(chosen, titles))
    return 0


def as_lines(runs: Sequence[RunLine], titles_of: Mapping[Path, str]) -> str:
    """The list, the newest last; a sweep's runs stand together, below its title."""
    short = short_names(name for settings in {tuple(run.settings) for run in runs} for name in settings)
    rows, titles = [HEADING], {}
    for unit in sorted(units(runs), key=lambda unit: unit.when):
        if unit.sweep is not None:
            titles[len(rows)] = titles_of[unit.sweep]
        rows += [_row(run, short, run.folder.name if unit.sweep else str(run.folder)) for run in unit.runs]
    lines = aligned(rows).splitlines()
    return "\n".join(line for n, text in enumerate(lines) for line in ([titles[n], text] if n in titles else [text]))


def units(runs: Iterable[RunLine]) -> list[Unit]:
    """Runs, those of a sweep together."""
    found: dict[Path, Unit] = {}
    for run in runs:
        parent = run.folder.parent
        sweep = parent if parent in found or door.kind_of(parent / PLAN_FILE) is not None else None
        found.setdefault(sweep or run.folder, Unit(sweep, [])).runs.append(run)
    return list(found.values())


def _title(unit: Unit) -> str:
    """A sweep's own line."""
    assert unit.sweep is not None
    finished = sum(run.state == states.FINISHED for run in unit.runs)
    return f"{one_line(str(unit.sweep))}: a sweep, {finished} of {_planned(unit)} jobs finished"


def _planned(unit: Unit) -> int:
    """How many jobs a sweep has: those planned, or where another sweeper decided, those there are."""
    assert unit.sweep is not None
    try:
        return max(len(unit.runs), len(read_json(unit.sweep / PLAN_FILE)["jobs"]))
    except (OSError, ValueError, LookupError, TypeError):
        return len(unit.runs)


def _row(run: RunLine, short: dict[str, str], folder: str) -> list[str]:
    if not run.settings:
        return [run.state, "-", joined([run.error], WIDTH, " "), "-", _when(run), folder]
    has_method = any(key.startswith("algorithm.") for key in run.settings)
    method = label_of({k.removeprefix("algorithm."): v for k, v in run.settings.items() if k.startswith("algorithm.")})
    differs = changes(run.settings, HIDDEN)
    words = [f"{short.get(k, k)}={as_text(v)}" for k, v in differs.items() if k.split(".")[0] != "algorithm"]
    return [
        run.state,
        method if has_method else "-",
        joined(words, WIDTH, " ") or "-",
        _objective(run),
        _when(run),
        folder,
    ]


def _objective(run: RunLine) -> str:
    if math.isnan(run.objective):
        return "-"
    return f"{run.objective:.4g}" if math.isfinite(run.objective) else "not finite"


def _when(run: RunLine) -> str:
    """2026-11-25 01:20."""
    return run.when[:16].replace("T", " ") or "-"
