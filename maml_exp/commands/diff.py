"""`maml-exp diff`: in what two runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maml_exp.commands import parser_of
from maml_exp.comparison.differences import compare_runs, print_section
from maml_exp.store.run_folder import open_run


def run_diff(arguments: Sequence[str]) -> int:
    """Print in what two runs differ. Exit status 0: the results are identical; 3: they are not."""
    parser = parser_of("diff", run_diff)
    parser.add_argument("run_a", type=Path)
    parser.add_argument("run_b", type=Path)
    options = parser.parse_args(arguments)
    found = compare_runs(open_run(options.run_a), open_run(options.run_b))
    for title, lines in (("configuration", found.config), ("environment", found.environment)):
        print_section(title, lines)
    print_section("results", found.results, most=10)
    return 0 if found.identical else 3
