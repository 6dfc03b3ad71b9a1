"""What small calls of numpy cost as code makes them, and as a tape makes them of it (core/replay/shorter.py).

    python scripts/profile/shapes.py

Microseconds of processor time, medians of rounds in which both take turns; the numbers are the same to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from maml_exp.core.replay.shorter import Call, shortened

RNG, ROUNDS, TIMES = np.random.default_rng(0), 21, 2000


def numbers(*shape: int) -> np.ndarray:
    """Normal numbers in float32."""
    return RNG.standard_normal(shape, dtype=np.float32)


def cases() -> dict[str, list[Call]]:
    """A call of each kind, or two, of 40 x 40 weights and 5 points."""
    products = {
        f"product of {tasks} matrices, {left} by {right}": [
            (np.matmul, (numbers(tasks, *left), numbers(tasks, *right), numbers(tasks, left[0], right[1])))
        ]
        for tasks in (2, 3, 4)
        for left, right in (((5, 40), (40, 40)), ((40, 5), (5, 40)), ((5, 40), (40, 1)))
    }
    z, halves, both = np.ones((4, 5, 40), "float32"), [numbers(2, 5, 40), numbers(2, 5, 40)], numbers(2, 10, 40)
    rows = numbers(10, 60, 40)[:, 20:40]  # of 4 tasks in each of 10 runs, between those of other passes
    by_task = rows.reshape(10, 4, 5, 40)
    slopes = np.ones(by_task.shape, "float32")
    product: Call = (np.matmul, (numbers(10, 20, 40), numbers(10, 40, 40), rows))
    return products | {
        "bias of 4 tasks": [(np.add, (numbers(4, 5, 40), numbers(4, 1, 40), numbers(4, 5, 40)))],
        "bias of 250 rows": [(np.add, (numbers(250, 40), numbers(1, 40), numbers(250, 40)))],
        "to an operand's memory, by another array": [(np.multiply, (z, np.ones_like(z), z[...]))],
        "concatenation": [(partial(np.concatenate, axis=-2, out=both), (halves,))],
        "in rows of 10 runs": [(np.multiply, (slopes, slopes, by_task))],
        "products in rows of 10 runs, times slopes": [product, (np.multiply, (by_task, slopes, by_task))],
    }


def microseconds(calls: Sequence[Call]) -> float:
    """Of one time all calls."""
    started = time.process_time()
    for _ in range(TIMES):
        for function, values in calls:
            function(*values)
    return 1e6 * (time.process_time() - started) / TIMES


def main() -> None:
    """A line for every case."""
    print(f"{'microseconds':<52} by code  by tape")
    with threadpool_limits(1):
        for name, calls_of_code in cases().items():
            pair = calls_of_code, shortened(calls_of_code)
            found = np.median([[microseconds(calls) for calls in pair] for _ in range(ROUNDS)], axis=0)
            print(f"{name:<52} {found[0]:7.2f}  {found[1]:7.2f}", flush=True)


if __name__ == "__main__":
    main()
