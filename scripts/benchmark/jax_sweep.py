"""What a sweep of seeds is to JAX: one program that trains all of them and judges them as a run does.

    python scripts/benchmark/jax_sweep.py --seeds 20 --iterations 20000

Its start is compiled in, as it is of every sweep: a command of `sweep_throughput.py`. It writes one file, and keeps
nothing else of what a run leaves: no log, no checkpoint, no folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_peers import Case
from bench_peers.jax_lockstep_peer import make
from bench_peers.jax_peer import Formulas, Parameters

from maml_exp.core.tasks.base import FixedTasks

SHOTS, STEPS, TASKS, FEW, EVERY = (5, 10, 20), 10, 600, 100, 2500  # of evaluations, as conf/ has them


class Judge:
    """The errors of networks behind 0 .. 10 gradient steps, on the tasks of a run's evaluation."""

    def __init__(self, case: Case):
        self._tasks: FixedTasks = case.family.held_out("test", 1000, TASKS, max(SHOTS), 100)
        self._formulas = Formulas(case)
        self._errors = jax.jit(jax.vmap(self._of_task, in_axes=(None, 0, 0, 0, 0)))

    def _of_task(self, parameters: Parameters, *task: jax.Array) -> jax.Array:
        x, y, x_query, y_query = task
        loss, rate = self._formulas.loss, self._formulas.rate

        def step(moved: Parameters, _: None) -> tuple[Parameters, jax.Array]:
            slope = jax.grad(loss)(moved, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, moved, slope), loss(moved, x_query, y_query)

        moved, errors = jax.lax.scan(step, parameters, None, STEPS)
        return jnp.append(errors, loss(moved, x_query, y_query))

    def errors(self, parameters: Parameters, tasks: int) -> list[np.ndarray]:
        """Errors (tasks, steps + 1) for every number of shots."""
        x, y, *query = (np.float32(part[:tasks]) for part in self._tasks[:4])
        return [np.asarray(self._errors(parameters, x[:, :k], y[:, :k], *query)) for k in SHOTS]


def main() -> None:
    """Train, judge now and then and in the end, write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=20_000)
    options = parser.parse_args()
    case = Case(tasks=4, steps=1, shots=5, runs=options.seeds)
    contender, judge = make(case, "scan/reverse"), Judge(case)
    found: dict[str, Any] = {"untrained": _of_all(judge, contender, TASKS)}
    for made in range(EVERY, options.iterations + 1, EVERY):
        contender.run(EVERY)  # in whole chunks
        found[f"step_{made}"] = _of_all(judge, contender, FEW)
    found["trained"] = _of_all(judge, contender, TASKS)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "found.npz", theta=contender.theta(), **found)


def _of_all(judge: Judge, contender: Any, tasks: int) -> np.ndarray:
    """Errors (seeds, shots, tasks, steps + 1)."""
    parameters = contender._parameters
    seeds = range(contender.case.runs)
    return np.array([judge.errors(jax.tree.map(lambda part, s=s: part[s], parameters), tasks) for s in seeds])


if __name__ == "__main__":
    main()
