"""In what two runs differ: configuration, environment, results to the bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from maml_exp.config.plain import flatten
from maml_exp.config.saved import load_plain_config
from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.data.text_table import digits
from maml_exp.data.texts import one_line
from maml_exp.store import metrics_file as metrics
from maml_exp.store import provenance
from maml_exp.store.files import read_json
from maml_exp.store.run_folder import RunFolder

NOT_COMPARED = ("host",)  # of the environment: a name, not a cause


@dataclass(frozen=True)
class Differences:
    """Each a list of lines for people; all empty for runs that are the same."""

    config: list[str]
    environment: list[str]
    results: list[str]
    same_parameters: bool = False  # both ended, with the same parameters to the bit

    @property
    def identical(self) -> bool:
        """Whether the results are equal to the bit."""
        return not self.results


def compare_runs(a: RunFolder, b: RunFolder, shared_steps_only: bool = False) -> Differences:
    """Compare two runs; with `shared_steps_only` rows beyond the shorter run's last one do not count."""
    records = [provenance.read_record(run) for run in (a, b)]
    environments = [flatten({"code": r.get("code"), **_as_dict(r.get("environment"))}) for r in records]
    return Differences(
        config=_changed(flatten(load_plain_config(a.config)), flatten(load_plain_config(b.config))),
        environment=[line for line in _changed(*environments) if not line.startswith(NOT_COMPARED)],
        results=list(_result_differences(a, b, shared_steps_only)),
        same_parameters=_have_same_parameters(a, b),
    )


def _have_same_parameters(a: RunFolder, b: RunFolder) -> bool:
    sums = {str(_summary(run).get("parameters_sha256")) for run in (a, b)}
    return len(sums) == 1 and "None" not in sums


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _changed(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    keys = [*a, *(key for key in b if key not in a)]
    missing = object()
    return [
        f"{key}: {_shown(a.get(key, missing), missing)} -> {_shown(b.get(key, missing), missing)}"
        for key in keys
        if a.get(key, missing) != b.get(key, missing)
    ]


def _shown(value: Any, missing: object) -> str:
    return "(not there)" if value is missing else str(value)[:100]


def _result_differences(a: RunFolder, b: RunFolder, shared_steps_only: bool) -> Iterator[str]:
    try:
        parting, (count_a, count_b) = _compare_rows(a, b)
    except SettingError as error:
        yield f"metrics.csv cannot be compared: {error}"
        return
    yield from parting
    if not (count_a and count_b if shared_steps_only else count_a or count_b):
        yield "there is nothing to compare: no row of metrics.csv is in both"
        return
    if count_a != count_b:
        if shared_steps_only:
            return
        yield f"metrics.csv has {count_a} rows -> {count_b} rows"
    yield from _summary_differences(_summary(a), _summary(b))


def _summary_differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[str]:
    """The final numbers that differ, in words; what only one of two versions of the program writes does not count."""
    if a.get("parameters_sha256") != b.get("parameters_sha256"):
        yield "the final parameters differ"
    if a.get("objective") != b.get("objective"):
        yield f"objective: {_both(*(summary.get('objective', '(not there)') for summary in (a, b)))}"
    results_a, results_b = (_errors_by_step(summary) for summary in (a, b))
    both = [key for key in results_a if key in results_b]
    differing = [key for key in both if results_a[key] != results_b[key]]
    for shots, step in [key for key in differing if key[1] in metrics.FINAL_STEPS] or differing[:3]:
        yield f"K={shots}, step {step}: {_both(results_a[shots, step], results_b[shots, step])}"
    if results_a.keys() != results_b.keys():
        yield "they were evaluated with other numbers of support points or gradient steps"
    flat_a, flat_b = flatten(a), flatten(b)
    others = [key for key in flat_a if key in flat_b and flat_a[key] != flat_b[key]]
    if others and not differing:
        yield from (f"{key}: {_shown(flat_a[key], None)} -> {_shown(flat_b[key], None)}" for key in others)


def _errors_by_step(summary: dict[str, Any]) -> dict[tuple[str, int], Any]:
    """Mean errors of the trained parameters, by number of shots and gradient step."""
    found: dict[tuple[str, int], Any] = {}
    for shots, results in _as_dict(_as_dict(summary.get("evaluation")).get("shots")).items():
        mean = _as_dict(_as_dict(results).get("trained")).get("mean")
        found |= {(shots, step): value for step, value in enumerate(mean if isinstance(mean, list) else [])}
    return found


def _both(a: Any, b: Any) -> str:
    """Two numbers of summaries; where three digits do not tell them apart, by how much they differ."""
    shown_a, shown_b = _digits(a), _digits(b)
    return f"{shown_a} -> {shown_b}{_relative(a, b) if shown_a == shown_b else ''}"


def _relative(a: Any, b: Any) -> str:
    numbers = [value for value in (a, b) if isinstance(value, (int, float))]
    return f" (relative {abs(a - b) / max(abs(a), 1e-300):.1e})" if len(numbers) == 2 else ""


def _digits(value: Any) -> str:
    """A number of a summary in three digits; null stands for one that is not finite."""
    if value is None:
        return "not finite"
    return digits(value) if isinstance(value, (int, float)) else str(value)[:40]


def _compare_rows(a: RunFolder, b: RunFolder) -> tuple[list[str], tuple[int, int]]:
    """The first row in which they part, and by how much; and the numbers of rows. They are read a line at a time."""
    (names_a, rows_a), (names_b, rows_b) = (metrics.table(run.metrics) for run in (a, b))
    parting: list[str] = []
    counts = [0, 0]
    kept_a, kept_b = (_compared_columns(names) for names in (names_a, names_b))
    for cells_a, cells_b in itertools.zip_longest(rows_a, rows_b):
        counts[0] += cells_a is not None
        counts[1] += cells_b is not None
        if parting or cells_a is None or cells_b is None:
            continue
        if names_a == names_b and [cells_a[i] for i in kept_a] == [cells_b[i] for i in kept_b]:
            continue
        parting += _row_differences(_numbers(a, names_a, cells_a), _numbers(b, names_b, cells_b))
    return parting, (counts[0], counts[1])


def _compared_columns(names: list[str]) -> list[int]:
    """Places of the columns that a rerun repeats."""
    return [place for place, name in enumerate(names) if name not in metrics.CLOCK_TAGS]


def _numbers(run: RunFolder, names: list[str], cells: list[str]) -> metrics.Row:
    """A row without the columns that no rerun repeats; not-a-number compares as infinity does."""
    row = metrics.as_row(run.metrics, names, cells)
    kept = {name: value for name, value in row.items() if name not in metrics.CLOCK_TAGS}
    return {name: value if value == value else float("inf") for name, value in kept.items()}


def _row_differences(row_a: metrics.Row, row_b: metrics.Row) -> list[str]:
    """In what two rows part, and by how much."""
    tag = next((tag for tag in _tags(row_a, row_b) if row_a.get(tag) != row_b.get(tag)), None)
    if tag is None:
        return []
    x, y = row_a.get(tag), row_b.get(tag)
    return [f"metrics.csv parts at step {row_a['step']:g}: {tag} {x} -> {y}{_relative(x, y)}"]


def _tags(row_a: metrics.Row, row_b: metrics.Row) -> list[str]:
    """The tags to compare: of a last row those that both have, since versions write different final numbers."""
    tags = list(dict.fromkeys([*row_a, *row_b]))
    both = [tag for tag in tags if tag in row_a and tag in row_b]
    if metrics.OBJECTIVE_TAG in both:
        return both
    return [tag for tag in tags if tag in both or tag != metrics.EXPLOSIONS_TAG]  # older versions did not count them


def _summary(run: RunFolder) -> dict[str, Any]:
    try:
        summary = _as_dict(read_json(run.summary))
    except (OSError, ValueError):
        return {}
    # the fingerprint says again what the configuration does, and the first version did not write it
    evaluation = {key: value for key, value in _as_dict(summary.get("evaluation")).items() if key != "fingerprint"}
    kept = {key: value for key, value in summary.items() if key not in ("time", "config", "evaluation")}
    return {**kept, "evaluation": evaluation}


def print_section(title: str, lines: list[str], most: int = 100) -> None:
    """Print a heading and the lines below it, or that there is no difference."""
    print(f"{title}: {'identical' if not lines else ''}".rstrip())
    for line in lines[:most]:
        print(f"  {one_line(line)}")
    if len(lines) > most:
        print(f"  and {len(lines) - most} more")


def require_finished(run: RunFolder) -> None:
    """Raise `SettingError` for a run without results."""
    if door.kind_of(run.metrics) is None:
        raise SettingError(f"{run.path} has no metrics.csv: there is nothing to compare with")
