"""The time of an iteration of every gradient method, as a share of maml's.

    python scripts/profile/methods.py --widths 40 256 --rounds 100

All methods of a width and number of inner steps take short turns on one thread. Ratios are of turns of one round, and
what is printed is their median over rounds with quartiles. Two hidden ReLU layers, T = 25, K = Q = 10, settings as in
conf/algorithm; reptile's minibatches have K points. MAML++ is timed as it begins, in first order and with the query
loss of every step; later it costs what lslr costs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "reproduce"))
from recipes.timing import Clock, in_turns

from maml_exp.config.composing import compose
from maml_exp.core.problem import Problem

BASE = "maml"
METHODS = ("fomaml", "lslr", "anil", "boil", "cavia", "mil", "proximal", "reptile", "meta_sgd", "maml_plus_plus")
METHODS += ("two_heads", "learned_loss")
LIMITS = {("lslr", 5): 1.10, ("anil", 5): 0.30, ("cavia", 5): 0.80, ("reptile", 5): 0.60, ("anil", 1): 0.90}  # by S
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TURN = 0.02  # seconds of maml's


def problem_of(method: str, width: int, steps: int) -> Problem:
    """A method's problem."""
    return compose([f"algorithm={method}", f"model.hidden=[{width},{width}]", f"inner.steps={steps}"]).problem


def seconds_of(methods: Sequence[str], width: int, steps: int, rounds: int, clock: Clock) -> dict[str, np.ndarray]:
    """Seconds an iteration of every method and of maml, (rounds,) each."""
    problems = {method: problem_of(method, width, steps) for method in (BASE, *methods)}
    alone = in_turns({BASE: problems[BASE]}, 5, 2, clock)[BASE].min()
    return in_turns(problems, rounds, max(1, round(TURN / alone)), clock)


def shown(seconds: np.ndarray, base: np.ndarray) -> str:
    """The median of the ratios to maml's times (rounds,), and their quartiles."""
    low, middle, high = np.percentile(seconds / base, [25, 50, 75])
    return f"{middle:.2f} [{low:.2f} {high:.2f}]"


def print_table(steps: int, by_width: Mapping[int, Mapping[str, np.ndarray]]) -> None:
    """A line a method, a column a width."""

    def line(name: str, cells: Iterable[str], limit: str = "") -> None:
        print(f"{name:<16}" + "".join(f"{cell:>20}" for cell in cells) + f"   {limit}")

    line(f"S = {steps}", [f"H = {width}" for width in by_width], "limit")
    found = by_width.values()
    for method in [name for name in next(iter(found)) if name != BASE]:
        limit = LIMITS.get((method, steps))
        cells = [shown(seconds[method], seconds[BASE]) for seconds in found]
        line(method, cells, f"{limit:.2f}" if limit else "")
    line(f"{BASE}, ms", [f"{1e3 * np.median(seconds[BASE]):.3f}" for seconds in found])
    print(flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time them and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[40, 64, 256], metavar="H", help="default: 40 64 256")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 1], metavar="S", help="default: 5 1")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="NAME", help="default: all")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of turns (default 40)")
    about_clocks = "processor time holds still where other programs share the core (default: wall)"
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=about_clocks)
    options = parser.parse_args(arguments)
    if min(*options.widths, *options.steps, options.rounds) < 1:
        parser.error("--widths, --steps and --rounds must be at least 1")
    clock = CLOCKS[options.clock]
    for steps in options.steps:
        by_width = {w: seconds_of(options.methods, w, steps, options.rounds, clock) for w in options.widths}
        print_table(steps, by_width)


if __name__ == "__main__":
    main()
