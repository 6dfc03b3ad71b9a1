"""Where the time of one training iteration goes: which products of which layer, at which rate.

    python scripts/profile/iteration.py --width 40 --steps 1

Every method of every layer, the activation and the optimizer are timed by wrapping them, over many iterations. So these
are made as the first ones are: a replayed iteration (core/replay) makes the same calls without what is around them.
Flops are those of the matrix products; one BLAS thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import counted
import numpy as np
from threadpoolctl import threadpool_limits

from maml_exp.config.composing import compose
from maml_exp.core.inner.layers.pairs import PairedLayer
from maml_exp.core.problem import Problem
from maml_exp.core.training import Trainer, make_learner

Parts = dict[tuple[str, str], list[float]]  # (what, method): a number an iteration
PASSES = ("bind", "forward", "learn", "backward")
PULL_BACK = ("start_pull_back", "r_forward", "r_backward", "pulled_back", "gradient")


def watched(trainer: Trainer, clock: Callable[[], float]) -> Parts:
    """By part, how far `clock` went within its calls, one sum an iteration; calls count from now on.

    Makes one iteration first, in which the learner makes its buffers.
    """
    sums: Parts = {}

    def timed(function: Callable, *part: str) -> Callable:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            before = clock()
            result = function(*args, **kwargs)
            sums[part][-1] += clock() - before
            return result

        sums[part] = []
        return wrapper

    trainer.learner = make_learner(trainer.problem, replays=False)
    trainer.train_step(trainer.init(0))
    (computed,) = trainer.learner._replayed.values()
    loop = computed._state.loop
    (family,) = trainer.problem.drawn_from
    family.sample = timed(family.sample, "tasks", "drawn")
    for number, layer in enumerate(loop.layers, start=1):
        kind = "pairs" if isinstance(layer, PairedLayer) else "multiplied out"
        name = f"layer {number} ({layer.n - layer.bias_is_data} x {layer.m}, {kind})"
        for method in PASSES + PULL_BACK:
            setattr(layer, method, timed(getattr(layer, method), name, method))
    stack = loop._stack
    stack._value = timed(stack._value, "activation", "value")
    stack._slope = timed(stack._slope, "activation", "slope")
    optimizer = trainer._optimizer
    update = timed(optimizer.update, "optimizer", "update")
    trainer._optimizer = SimpleNamespace(init=optimizer.init, update=update)
    return sums


def run(trainer: Trainer, sums: Parts, iterations: int) -> np.ndarray:
    """The whole times (iterations,) of so many iterations, in seconds."""
    state, whole = trainer.init(0), []
    for _ in range(iterations):
        for part in sums.values():
            part.append(0.0)
        started = time.perf_counter()
        state, _ = trainer.train_step(state)
        whole.append(time.perf_counter() - started)
    return np.array(whole)


def flops_of(problem: Problem) -> Parts:
    """The flops of one iteration, by part: all the core's buffers count."""
    made = 0

    def add(left: np.ndarray, right: np.ndarray, result: np.ndarray) -> None:
        nonlocal made
        made += counted.flops(left, result)

    with counted.counting(add):
        trainer = Trainer(problem)
        sums = watched(trainer, lambda: made)
        run(trainer, sums, 1)
    return sums


def print_parts(seconds: Parts, flops: Parts, whole: np.ndarray) -> None:
    """A line a part: microseconds (medians), share, rate."""
    total, known = float(np.median(whole)), 0.0
    print(f"{'':<34}{'':<18}{'us':>8}{'share':>8}{'GF/s':>8}")
    for part, times in seconds.items():
        median = float(np.median(times))
        if 1e6 * median < 0.5:
            continue
        known += median
        rate = f"{flops[part][0] / median / 1e9:>8.1f}" if flops[part][0] else ""
        print(f"{part[0]:<34}{part[1]:<18}{1e6 * median:>8.1f}{median / total:>8.1%}{rate}")
    rest = total - known
    print(f"{'products with slopes, metrics, Python':<52}{1e6 * rest:>8.1f}{rest / total:>8.1%}")
    print(f"{'whole iteration':<52}{1e6 * total:>8.1f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=40)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=500)
    options = parser.parse_args(arguments)
    if min(options.width, options.shots, options.iterations) < 1 or options.steps < 0:
        parser.error("--width, --shots and --iterations must be at least 1, --steps at least 0")
    width, shots = options.width, options.shots
    sizes = [f"model.hidden=[{width},{width}]", f"inner.steps={options.steps}"]
    problem = compose([*sizes, f"task.shots={shots}", f"task.query={shots}"]).problem
    with threadpool_limits(1):
        trainer = Trainer(problem)
        seconds = watched(trainer, time.perf_counter)
        whole = run(trainer, seconds, options.iterations)
        print_parts(
            seconds, flops_of(problem), whole
        )  # in this order: freed memory would cost what is timed page faults


if __name__ == "__main__":
    main()
