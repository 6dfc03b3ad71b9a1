"""Final evaluation of a run: its weights beside the random initialisation, on the same fixed tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core.evaluation import FixedTasks, Statistics, evaluate, fixed_tasks, statistics
from maml_exp.core.tasks import TASKS
from maml_exp.experiment import metrics
from maml_exp.experiment.config import Config

Array = np.ndarray


def evaluation_tasks(config: Config, tasks: int) -> FixedTasks:
    """The first `tasks` of the fixed tasks, with as many support points as the largest number of shots."""
    evaluation, family = config.evaluation, TASKS[config.task.name](config.task)
    return fixed_tasks(family, evaluation.seed, tasks, max(evaluation.shots), evaluation.grid)


def task_errors(config: Config, theta: Array, tasks: FixedTasks) -> dict[int, Array]:
    """Mean squared errors (N, steps + 1) for every number of shots."""
    evaluation = config.evaluation
    return evaluate(config.problem.network, theta, tasks, evaluation.shots, config.evaluation_lr, evaluation.steps)


@dataclass(frozen=True)
class Verdict:
    """Errors (N, steps + 1) of every task, by number of shots, with the trained weights and the initial ones."""

    config: Config
    trained: dict[int, Array]
    random: dict[int, Array]

    def summary(self) -> dict[str, Any]:
        """What summary.json holds under "evaluation"."""
        evaluation = self.config.evaluation
        rows = {
            str(k): {"trained": _as_dict(statistics(self.trained[k])), "random": _as_dict(statistics(self.random[k]))}
            for k in evaluation.shots
        }
        settings = {"seed": evaluation.seed, "tasks": evaluation.tasks, "grid": evaluation.grid}
        return {**settings, "lr": self.config.evaluation_lr, "steps": evaluation.steps, "shots": rows}

    def objective(self) -> float:
        """The number that a sweep minimises: see evaluation.objective."""
        result = statistics(self.trained[self.config.objective_shots])
        return float(getattr(result, self.config.evaluation.objective)[self.config.objective_steps])

    def final_metrics(self) -> metrics.Row:
        """What is logged of it: the objective, and mean errors by number of shots and gradient steps."""
        row = {metrics.OBJECTIVE_TAG: self.objective()}
        for k, errors in self.trained.items():
            mean = statistics(errors).mean
            steps = [step for step in metrics.FINAL_STEPS if step < len(mean)]
            row |= {metrics.final_tag(k, step): float(mean[step]) for step in steps}
        return row

    def arrays(self) -> dict[str, Array]:
        """What evaluation.npz holds: float32 errors (N, steps + 1)."""
        named = {f"trained_K{k}": errors for k, errors in self.trained.items()}
        named |= {f"random_K{k}": errors for k, errors in self.random.items()}
        with np.errstate(over="ignore"):  # beyond float32: infinite
            return {name: errors.astype(np.float32) for name, errors in named.items()}

    def table(self) -> str:
        """The table printed at the end of a run."""
        evaluation, k = self.config.evaluation, self.config.objective_shots
        trained, random = statistics(self.trained[k]), statistics(self.random[k])
        lines = [
            f"Mean squared error on {evaluation.tasks} fixed tasks, {k} support points, "
            f"gradient steps with rate {self.config.evaluation_lr:g}",
            f"{'':>5}  {'this run (' + self.config.algorithm.name + ')':<26}{'random initialisation':<26}",
            f"{'steps':>5}  {'mean ± 95% CI':<17}{'median':<9}{'mean ± 95% CI':<17}{'median':<9}gain",
        ]
        for step in (s for s in metrics.FINAL_STEPS if s <= evaluation.steps):
            gain = f"{random.mean[step] / trained.mean[step]:.1f}x" if np.isfinite(trained.mean[step]) else "-"
            lines.append(f"{step:>5}  {_cells(trained, step)}{_cells(random, step)}{gain}")
        for name, result in (("this run", trained), ("the random initialisation", random)):
            if result.nonfinite.any():
                lines.append(
                    f"{int(result.nonfinite.max())} of {evaluation.tasks} tasks diverged with {name}: see medians"
                )
        return "\n".join(lines)


def judge(config: Config, theta: Array, theta_random: Array) -> Verdict:
    """Evaluate both sets of weights on all evaluation tasks."""
    tasks = evaluation_tasks(config, config.evaluation.tasks)
    return Verdict(config, task_errors(config, theta, tasks), task_errors(config, theta_random, tasks))


def _as_dict(result: Statistics) -> dict[str, Array]:
    return result._asdict()


def _cells(result: Statistics, step: int) -> str:
    return f"{result.mean[step]:.3g} ± {result.ci95[step]:.2g}".ljust(17) + f"{result.median[step]:.3g}".ljust(9)
