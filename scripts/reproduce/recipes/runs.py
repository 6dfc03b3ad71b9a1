"""Having runs: finished ones are reused, interrupted ones resumed, missing ones run, several at a time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maml_exp.config.composing import compose
from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.store.provenance import config_sha256
from maml_exp.store.records import RunRecord, read_run
from maml_exp.store.run_folder import DIVERGED, FAILED, FINISHED, INTERRUPTED, RunFolder
from maml_exp.sweep.workers import Work, run_all

BASE = Path("runs") / "reproduce"
Overrides = tuple[str, ...]


def ensure(wanted: Sequence[Overrides], jobs: int) -> dict[Overrides, RunRecord]:
    """A record of a finished run for every set of overrides; raises `SettingError` if one cannot be had."""
    configs = {overrides: compose(overrides).reading() for overrides in dict.fromkeys(wanted)}
    folders = {overrides: RunFolder(BASE / _name(config)) for overrides, config in configs.items()}
    ended = (FINISHED, DIVERGED)
    missing = [key for key, folder in folders.items() if folder.read_status().get("state") not in ended]
    print(f"{len(configs)} runs, {len(configs) - len(missing)} of them finished before")
    work = {key: Work(configs[key], folders[key].path, folders[key].status.is_file()) for key in missing}
    _run_all(work, jobs)
    return {overrides: read_run(folder) for overrides, folder in folders.items()}


def _name(config: Config) -> str:
    """A folder name that reads well and is the configuration's own."""
    model, inner = config.model, config.inner
    makes_steps = getattr(config.algorithm, "outer", "joint") != "joint"
    steps = "" if not makes_steps else f"-lr{inner.lr:g}x{inner.steps}"
    oracle = "-oracle" if getattr(config.task, "oracle", False) else ""
    split = f"-split{config.task.split_seed}" if config.task.reader else ""
    network = f"{'x'.join(map(str, model.hidden))}-{model.activation}"
    start = f"{method_label(config.algorithm)}{oracle}-{network}{steps}-K{config.task.shots}{split}-seed{config.seed}"
    return f"{start}-{config_sha256(config)[:8]}"


def _run_all(work: Mapping[Overrides, Work], jobs: int) -> None:
    """Make the runs, with a bar; raises KeyboardInterrupt once they have ended on a signal."""
    interrupted = False
    bar = tqdm(total=len(work), unit="run", file=sys.stdout, mininterval=5, disable=not work)
    with bar, closing(run_all(work, jobs)) as outcomes:
        for overrides, outcome in outcomes:
            if outcome.state == FAILED:
                raise SettingError(f"{' '.join(overrides)}: failed, {outcome.message}")
            interrupted |= outcome.state == INTERRUPTED  # that a run diverges is a result too
            bar.update(outcome.state != INTERRUPTED)
    if interrupted:
        raise KeyboardInterrupt


def task_errors(run: RunRecord, shots: int, which: str = "trained") -> np.ndarray:
    """Errors (tasks, steps + 1) of every evaluation task."""
    with np.load(RunFolder(run.folder).evaluation, allow_pickle=False) as arrays:
        return arrays[f"{which}_K{shots}"].astype(np.float64)
