"""Where the time of one `maml-exp` command goes.

    python scripts/profile/command.py [overrides]            a run
    python scripts/profile/command.py -m overrides           a sweep

Functions are timed by wrapping them, not by a profiler, which would weigh Python over numpy.
"""

from __future__ import annotations

import sys
import time

STARTED = time.perf_counter()  # before anything of ours, or numpy, is imported

import tempfile  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from maml_exp.cli import main  # noqa: E402

SPENT: dict[str, float] = defaultdict(float)
CALLS: dict[str, int] = defaultdict(int)
FIRST: dict[str, float] = {}


def timed(owner: Any, name: str, part: str) -> None:
    """Wrap a function so that its time counts as `part`."""
    function: Callable = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = time.perf_counter()
        FIRST.setdefault(part, before - sum(SPENT.values()))  # what was timed by then is no start-up
        try:
            return function(*args, **kwargs)
        finally:
            SPENT[part] += time.perf_counter() - before
            CALLS[part] += 1

    setattr(owner, name, wrapper)


def profile(overrides: list[str]) -> None:
    """Run the command in a temporary folder and print a table."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    from maml_exp.config import schema as config
    from maml_exp.core.training import Trainer
    from maml_exp.run import run as runner
    from maml_exp.run.metrics_log import MetricsLog

    parts = {
        "training": (Trainer, "train_step"),
        "small evaluations": (runner.LiveRun, "_small_evaluation"),
        "logging": (MetricsLog, "write"),
        "checkpoints": (runner.LiveRun, "_save"),
        "final evaluation": (runner, "evaluate_finally"),
        "plots": (runner.LiveRun, "_plot"),
    }
    sweep = overrides[:1] == ["-m"]
    if sweep:
        parts |= {
            "composing (Hydra)": (ConfigLoaderImpl, "load_sweep_config"),
            "checking settings": (config, "from_omegaconf"),
            "opening folder, logs": (runner.LiveRun, "_open"),
        }
    for part, (owner, name) in parts.items():
        timed(owner, name, part)
    with tempfile.TemporaryDirectory() as folder:
        where = ["-m", f"hydra.sweep.dir={folder}/sweep", *overrides[1:]] if sweep else [f"hydra.run.dir={folder}"]
        status = main(where if sweep else [*where, *overrides])
    total = time.perf_counter() - STARTED
    if status:
        sys.exit(status)
    report(total, list(parts), jobs=CALLS["final evaluation"])


def report(total: float, parts: list[str], jobs: int) -> None:
    """Print where the time went; of a sweep also milliseconds a job."""
    a_job = (lambda seconds: f"{1e3 * seconds / jobs:>10.1f}") if jobs > 1 else (lambda seconds: "")
    print(f"\n{'part':<22}{'seconds':>9}{'share':>8}{'calls':>8}{'ms a job' if jobs > 1 else '':>10}")
    start_up = FIRST["training"] - STARTED
    rows = [("start-up", start_up, 1), *((part, SPENT[part], CALLS[part]) for part in parts)]
    rows.append(("everything else", total - sum(seconds for _, seconds, _ in rows), 1))
    for part, seconds, calls in rows:
        print(f"{part:<22}{seconds:>9.3f}{seconds / total:>8.1%}{calls:>8}{a_job(seconds)}")
    print(f"{'total':<22}{total:>9.3f}{'':>16}{a_job(total)}")
    work = sum(SPENT[part] for part in ("training", "small evaluations", "final evaluation", "plots"))
    if jobs > 1:
        print(f"outside training, evaluation and plots: {1e3 * (total - work) / jobs:.0f} ms a job")
    else:
        print(f"{CALLS['training'] / SPENT['training']:.0f} iterations a second")


if __name__ == "__main__":
    profile(sys.argv[1:])
