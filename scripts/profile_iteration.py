"""Where the time of one training iteration goes: which products of which layer, at which rate.

    python scripts/profile_iteration.py --width 40 --steps 1

Every method of every layer is timed by wrapping it, over many iterations; what is left is activations, metrics and
Python. Flops are those of the matrix products; one BLAS thread.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from bench_peers import Case
from threadpoolctl import threadpool_limits

from maml_exp.core.layers import PairedLayer
from maml_exp.core.training import Trainer

METHODS = ("forward", "learn", "backward", "start_pull_back", "r_forward", "r_backward", "pulled_back", "gradient")


class Profile:
    """Seconds and flops of named parts, one sum an iteration."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.flops: dict[tuple[str, str], float] = defaultdict(float)
        self._now: tuple[str, str] | None = None

    def time(self, owner: Any, name: str, part: tuple[str, str]) -> None:
        """Count calls of a function as `part`, from now on."""
        function: Callable = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._now, started = part, time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds[part][-1] += time.perf_counter() - started
            self._now = None
            return result

        setattr(owner, name, timed)

    def start_iteration(self) -> None:
        """From now on times belong to the next iteration."""
        for part in self.seconds:
            self.seconds[part].append(0.0)

    def count_flops(self, run: Callable[[], Any]) -> None:
        """Count the flops of the matrix products of one iteration."""
        matmul = np.matmul

        def counted(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
            result = matmul(a, b, *args, **kwargs)
            if self._now is not None:
                self.flops[self._now] += 2.0 * np.size(result) * np.shape(a)[-1]
            return result

        np.matmul = counted
        try:
            run()
        finally:
            np.matmul = matmul


def profiled(case: Case, iterations: int) -> tuple[Profile, np.ndarray]:
    """The parts of `iterations` iterations, and their whole times (iterations,) in seconds."""
    trainer, profile = Trainer(case.problem), Profile()
    state = trainer.init(0)
    for _ in range(20):
        state, _ = trainer.train_step(state)
    parts = [(trainer._tasks, "sample", ("tasks", "drawn"))]
    for number, layer in enumerate(trainer._meta_gradient.inner_loop.layers, start=1):
        kind = "pairs" if isinstance(layer, PairedLayer) else "multiplied out"
        name = f"layer {number} ({layer.n - layer.ones} x {layer.m}, {kind})"
        parts += [(layer, method, (name, method)) for method in METHODS]
    for owner, name, part in parts:
        profile.seconds[part] = []
        profile.time(owner, name, part)
    whole = []
    for _ in range(iterations):
        profile.start_iteration()
        started = time.perf_counter()
        state, _ = trainer.train_step(state)
        whole.append(time.perf_counter() - started)
    profile.start_iteration()
    profile.count_flops(lambda: trainer.train_step(state))
    return profile, np.array(whole)


def print_parts(profile: Profile, whole: np.ndarray) -> None:
    """A line a part: microseconds (medians), share, rate."""
    total, known = float(np.median(whole)), 0.0
    print(f"{'':<34}{'':<18}{'us':>8}{'share':>8}{'GF/s':>8}")
    for (owner, method), seconds in profile.seconds.items():
        median = float(np.median(seconds[:-1]))
        if 1e6 * median < 0.5:
            continue
        known += median
        flops = profile.flops[owner, method]
        rate = f"{flops / median / 1e9:>8.1f}" if flops else f"{'':>8}"
        print(f"{owner:<34}{method:<18}{1e6 * median:>8.1f}{median / total:>8.1%}{rate}")
    rest = total - known
    print(f"{'activations, Adam, metrics, Python':<52}{1e6 * rest:>8.1f}{rest / total:>8.1%}")
    print(f"{'whole iteration':<52}{1e6 * total:>8.1f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=40)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=500)
    options = parser.parse_args(arguments)
    with threadpool_limits(1):
        print_parts(*profiled(Case(options.width, options.steps, options.shots), options.iterations))


if __name__ == "__main__":
    main()
