"""`maml-exp rerun`: run a saved configuration again, in a new folder, and compare."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maml_exp.comparison.differences import Differences, compare_runs, print_section, require_finished
from maml_exp.config.saved import check_complete, load_plain_config, open_run
from maml_exp.config.schema import Config, from_dict
from maml_exp.core.checks import SettingError
from maml_exp.run.run import execute
from maml_exp.store.run_folder import RunFolder, new_folder


def run_rerun(arguments: Sequence[str]) -> int:
    """Run a saved configuration again, with overrides if given, and compare. Exit status 0: identical; 3: not."""
    parser = argparse.ArgumentParser(prog="maml-exp rerun", description=run_rerun.__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("overrides", nargs="*", help="settings to change, as in inner.lr=0.02 or model=one_hidden")
    options = parser.parse_args(arguments)

    original = open_run(options.run)
    config = saved_config_with(original, options.overrides)
    if not options.overrides:
        require_finished(original)
    path = new_folder(new_run_path(config), options.overrides)
    outcome = execute(config, path)
    if outcome.verdict is None:
        return outcome.exit_status
    print(f"{outcome.verdict.table()}\n\n{outcome.folder}\n")
    found = compare_runs(original, RunFolder(path), shared_steps_only=True)
    if options.overrides:
        print_section("configuration", found.config)
        return 0
    return report(found, original)


def report(found: Differences, original: RunFolder) -> int:
    """Say whether a rerun repeated the original, and if not, where they part and what may be why."""
    unfinished = "" if original.summary.is_file() else ", as far as the original went"
    if found.identical:
        print(f"identical{unfinished}: parameters, every row of metrics.csv and the evaluation equal {original.path}")
        return 0
    print_section("results", found.results, most=5)
    print_section("environment", found.environment)
    return 3


def saved_config_with(run: RunFolder, overrides: Sequence[str]) -> Config:
    """A run's saved configuration with overrides in it, checked against today's schema; raises `SettingError`."""
    plain = load_plain_config(run)
    for override in overrides:
        apply_override(plain, override)
    check_complete(plain, run.config)
    try:
        return from_dict(plain)
    except SettingError as error:
        raise SettingError(f"{run.config}: {error}") from error


def apply_override(plain: dict[str, Any], override: str) -> None:
    """Set one key, or a whole group from conf/ (model=one_hidden), in a plain configuration."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
        value = parsed.value()
    except HydraException as error:
        raise SettingError(f"{override} is not a setting such as inner.lr=0.02") from error
    if not parsed.key_or_group:
        raise SettingError(f"{override} is not a setting such as inner.lr=0.02")
    if parsed.is_sweep_override() or parsed.is_delete() or parsed.package is not None:
        raise SettingError(f"{override} is not usable here: give one value, as in inner.lr=0.02")
    group, _, key = parsed.key_or_group.rpartition(".")
    if not group and isinstance(plain.get(key), dict):
        plain[key] = {**plain[key], **group_option(key, str(value))}
    elif group and not isinstance(plain.setdefault(group, {}), dict):
        raise SettingError(f"{override}: {group} is not a group of settings")
    else:
        (plain[group] if group else plain)[key] = value


def group_option(group: str, option: str) -> dict[str, Any]:
    """The settings in conf/<group>/<option>.yaml."""
    import yaml

    from maml_exp.sweep.hydra_run import conf_dir

    options = {path.stem: path for path in (conf_dir() / group).glob("*.yaml")}
    if option not in options:
        raise SettingError(f"{group}={option} is not usable: it must be one of {', '.join(sorted(options))}")
    return yaml.safe_load(options[option].read_text(encoding="utf-8"))


def new_run_path(config: Config) -> Path:
    """Where a run started now belongs: runs/<date>/<time>-<name> below the working directory."""
    return Path("runs") / time.strftime("%Y-%m-%d") / f"{time.strftime('%H-%M-%S')}-{config.label}"
