"""Having runs: finished ones are reused, interrupted ones resumed, missing ones run, several at a time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maml_exp.core.errors import SettingError
from maml_exp.experiment.collect import RunRecord, read_run
from maml_exp.experiment.config import Config
from maml_exp.experiment.folder import DIVERGED, FINISHED, INTERRUPTED, RunFolder
from maml_exp.experiment.hydra_app import compose
from maml_exp.experiment.provenance import config_sha256
from maml_exp.experiment.runner import execute

BASE = Path("runs") / "reproduce"
Overrides = tuple[str, ...]


def ensure(wanted: Sequence[Overrides], jobs: int) -> dict[Overrides, RunRecord]:
    """A record of a finished run for every set of overrides; raises `SettingError` if one cannot be had."""
    configs = {overrides: compose(overrides) for overrides in dict.fromkeys(wanted)}
    folders = {overrides: RunFolder(BASE / _name(config)) for overrides, config in configs.items()}
    ended = (FINISHED, DIVERGED)
    missing = [key for key, folder in folders.items() if folder.read_status().get("state") not in ended]
    print(f"{len(configs)} runs, {len(configs) - len(missing)} of them finished before")
    _run_all({key: (configs[key], folders[key].path) for key in missing}, jobs)
    return {overrides: read_run(folder) for overrides, folder in folders.items()}


def _name(config: Config) -> str:
    """A folder name that reads well and is the configuration's own."""
    model, inner = config.model, config.inner
    steps = "" if config.algorithm.name == "joint" else f"-lr{inner.lr:g}x{inner.steps}"
    oracle = "-oracle" if config.task.oracle else ""
    network = f"{'x'.join(map(str, model.hidden))}-{model.activation}"
    start = f"{config.algorithm.name}{oracle}-{network}{steps}-K{config.task.shots}-seed{config.seed}"
    return f"{start}-{config_sha256(config)[:8]}"


def _run_all(tasks: Mapping[Overrides, tuple[Config, Path]], jobs: int) -> None:
    if not tasks:
        return
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn"), initializer=_quiet)
    futures = {pool.submit(_run, config, path): key for key, (config, path) in tasks.items()}
    try:
        for future in tqdm(as_completed(futures), total=len(futures), unit="run", file=sys.stdout, mininterval=5):
            state, message = future.result()
            if state == INTERRUPTED:
                raise KeyboardInterrupt
            if state not in (FINISHED, DIVERGED):  # that a run diverges is a result too
                raise SettingError(f"{' '.join(futures[future])}: {state}, {message}")
    finally:
        pool.shutdown(cancel_futures=True)


def _quiet() -> None:
    """The runs' own progress goes to their logs; the sum of it is what the terminal shows."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between runs; within one the run catches it


def _run(config: Config, path: Path) -> tuple[str, str]:
    path.mkdir(parents=True, exist_ok=True)
    outcome = execute(config, path, resume=RunFolder(path).status.is_file())
    return outcome.state, outcome.message


def task_errors(run: RunRecord, shots: int, which: str = "trained") -> np.ndarray:
    """Errors (tasks, steps + 1) of every evaluation task."""
    with np.load(RunFolder(run.folder).evaluation, allow_pickle=False) as arrays:
        return arrays[f"{which}_K{shots}"].astype(np.float64)
