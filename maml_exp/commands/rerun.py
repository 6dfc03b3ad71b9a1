"""`maml-exp rerun`: run a saved configuration again, in a new folder, and compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maml_exp.commands import parser_of
from maml_exp.comparison.differences import Differences, compare_runs, print_section, require_finished
from maml_exp.config.composing import with_option
from maml_exp.config.overrides import parse, parse_all
from maml_exp.config.plain import put
from maml_exp.config.saved import complete_config, load_facts, load_plain_config
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.run.execution import execute
from maml_exp.store.memory import require_memory, require_tasks
from maml_exp.store.names import run_name
from maml_exp.store.run_folder import RunFolder, new_folder, new_run_path, open_run


def run_rerun(arguments: Sequence[str]) -> int:
    """Run a saved configuration again, with overrides if given, and compare. Exit status 0: identical; 3: not."""
    parser = parser_of("rerun", run_rerun)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument(
        "overrides", nargs="*", default=[], help="settings to change, as in inner.lr=0.02 or model=one_hidden"
    )
    options = parser.parse_args(arguments)

    original = open_run(options.run)
    parse_all(options.overrides)  # names a word that the shell has split
    config = saved_config_with(original, options.overrides)
    changes = [text for text in options.overrides if parse(text).key != "task.file"]  # that gives a table again
    if not changes:
        require_finished(original)
    require_tasks(config)
    require_memory(config)
    _say_changed_data(original, config)
    path = new_folder(new_run_path(run_name(config)), options.overrides)
    outcome = execute(config, path)
    if outcome.evaluation is None:
        return outcome.exit_status
    print(f"{outcome.report()}\n")
    found = compare_runs(original, RunFolder(path), shared_steps_only=True)
    if changes:
        print_section("configuration", found.config)
        return 0
    return report(found, original)


def _say_changed_data(original: RunFolder, config: Config) -> None:
    """Warn where the data of the tasks is not what it was: what is run is then something else."""
    facts, before = config.problem.family.facts(), load_facts(original.path)
    if facts is None or before is None:
        return
    was, now = (part.get("counts", {}) for part in (before, facts))
    if was.get("file_sha256") != now["file_sha256"]:
        same = before.get("fingerprint", {}).get("content") == facts["fingerprint"]["content"]
        what = "other bytes, but the same rows" if same else "other rows, so results will differ"
        sizes = f"{was.get('rows')} rows of {was.get('groups')} groups, now {now['rows']} of {now['groups']}"
        print(
            f"maml-exp: {config.task.named_data} has changed since the run: {what} ({sizes})",
            file=sys.stderr,
            flush=True,
        )


def report(found: Differences, original: RunFolder) -> int:
    """Say whether a rerun repeated the original, and if not, where they part and what may be why."""
    if found.identical and found.same_parameters:
        print(f"identical: parameters, every row of metrics.csv and the evaluation equal {original.path}")
        return 0
    if found.identical:
        print(f"identical, as far as both went: every row of metrics.csv up to there equals {original.path}")
        return 0
    print_section("results", found.results, most=5)
    if found.same_parameters:
        print("the parameters are the same to the bit: what differs is how they were measured")
    print_section("environment", found.environment)
    return 3


def saved_config_with(run: RunFolder, overrides: Sequence[str]) -> Config:
    """The saved configuration with changes; raises `SettingError`."""
    plain = load_plain_config(run.config)
    for override in sorted(overrides, key=lambda text: not _is_option(plain, text)):  # as Hydra does, options first
        apply_override(plain, override)
    try:
        config = complete_config(plain, run.config)
        typed = any(parse(text).key == "task.file" for text in overrides)
        return config.reading() if typed else config
    except SettingError as error:
        if overrides and _is_complete(load_plain_config(run.config), run.config):  # so it is not the file's fault
            raise SettingError(str(error).removeprefix(f"{run.config}: ")) from error
        raise


def _is_complete(plain: dict[str, Any], path: Path) -> bool:
    try:
        complete_config(plain, path)
    except SettingError:
        return False
    return True


def _is_option(plain: dict[str, Any], text: str) -> bool:
    """Whether an override chooses a whole group's option."""
    return isinstance(plain.get(parse(text).key), dict)


def apply_override(plain: dict[str, Any], text: str) -> None:
    """Set one key, or choose a whole group's option (model=one_hidden), in a plain configuration."""
    override = parse(text)
    if override.sweeps:
        raise SettingError(f"{text} gives several values; rerun makes one run: give one value, as in inner.lr=0.02")
    key, value = override.key, override.value
    if _is_option(plain, text):
        with_option(plain, key, str(value))
        return
    try:
        put(plain, key, value)
    except ValueError as error:
        raise SettingError(f"{text}: {error}") from error
