"""Grids of runs that differ in settings and seeds, and what their reports have in common."""

from __future__ import annotations

from maml_exp.store.records import RunRecord
from recipes.runs import Overrides, ensure

SEEDS = 3
COMMON = ("evaluation=thorough", "evaluation.plots=false")
MEASURED = (
    "mean squared error on 100 evenly spaced x of 6000 tasks, mean ± 95% CI over seeds (Student's t); "
    "medians over tasks; diverged: an error beyond 100"
)


class Grid:
    """Named groups of overrides, each run with several seeds."""

    def __init__(self, groups: dict[str, Overrides], seeds: int, jobs: int):
        self.groups, self.seeds = groups, seeds
        wanted = [(*overrides, f"seed={seed}") for overrides in groups.values() for seed in range(seeds)]
        self._records = ensure(wanted, jobs)

    def __getitem__(self, name: str) -> list[RunRecord]:
        return [self._records[(*self.groups[name], f"seed={seed}")] for seed in range(self.seeds)]
