"""Final evaluation of a run: its weights beside the random initialisation, on the same fixed tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.config.schema import Config
from maml_exp.core.evaluation import (
    FixedTasks,
    Statistics,
    adaptation_errors,
    evaluate,
    fixed_tasks,
    statistics,
)
from maml_exp.core.tasks.sinusoid import TASKS
from maml_exp.run import metrics_log as metrics
from maml_exp.run.progress import as_text

Array = np.ndarray


def evaluation_tasks(config: Config, tasks: int, seed: int | None = None) -> FixedTasks:
    """The first `tasks` of the fixed tasks, with as many support points as the largest number of shots."""
    evaluation, family = config.evaluation, TASKS[config.task.name](config.task)
    seed = evaluation.seed if seed is None else seed
    return fixed_tasks(family, seed, tasks, max(evaluation.shots), evaluation.grid)


def task_errors(config: Config, theta: Array, tasks: FixedTasks, lr: float) -> dict[int, Array]:
    """Mean squared errors (N, steps + 1) for every number of shots."""
    evaluation = config.evaluation
    return evaluate(config.problem.network, theta, tasks, evaluation.shots, lr, evaluation.steps)


def validation_errors(config: Config, theta: Array) -> dict[float, float]:
    """Mean error on validation tasks after the last gradient step, at the objective's shots, for every rate.

    These tasks have a seed of their own: what is reported is measured on others.
    """
    evaluation, network = config.evaluation, config.problem.network
    tasks = evaluation_tasks(config, evaluation.validation_tasks, evaluation.validation_seed)

    def error(lr: float) -> float:
        errors = adaptation_errors(network, theta, tasks, config.objective_shots, lr, evaluation.steps)
        return float(statistics(errors).mean[-1])

    return {lr: error(lr) for lr in config.evaluation_rates}


@dataclass(frozen=True)
class Verdict:
    """Errors (N, steps + 1) of every task, by number of shots, with the trained weights and the initial ones."""

    config: Config
    lr: float  # of the gradient steps
    validation: dict[float, float]  # the errors by which it was chosen; empty where there was no choice
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
        choice = {"lr": self.lr, "validation": self.validation}
        return {**settings, **choice, "steps": evaluation.steps, "shots": rows}

    def objective(self) -> float:
        """The number that a sweep minimises: see evaluation.objective."""
        result = statistics(self.trained[self.config.objective_shots])
        return float(getattr(result, self.config.evaluation.objective)[self.config.objective_steps])

    def final_metrics(self) -> metrics.Row:
        """What is logged of it: the objective, and mean errors by number of shots and gradient steps."""
        row = {metrics.OBJECTIVE_TAG: self.objective()}
        for k, errors in self.trained.items():
            mean = statistics(errors).mean
            row |= {metrics.final_tag(k, step): float(mean[step]) for step in metrics.final_steps(len(mean) - 1)}
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
        chosen = " (the best on validation tasks)" if self.validation else ""
        title = f"Mean squared error on {evaluation.tasks} fixed tasks after adapting to {k} support points"
        title += f" with rate {self.lr:g}{chosen}"
        name = f"this run ({self.config.algorithm.name})"
        rows = [["steps", name, "median", "random initialisation", "median", "gain"]]
        for step in sorted({*metrics.final_steps(evaluation.steps), self.config.objective_steps, evaluation.steps}):
            gain = f"{random.mean[step] / trained.mean[step]:.1f}x" if np.isfinite(trained.mean[step]) else "-"
            rows.append([str(step), *_cells(trained, step), *_cells(random, step), gain])
        lines = [title, as_text(rows), "means with 95% confidence intervals over tasks"]
        for name, result in (("this run", trained), ("the random initialisation", random)):
            if result.nonfinite.any():
                count = int(result.nonfinite.max())
                lines.append(f"{count} of {evaluation.tasks} tasks diverged with {name}: look at the medians")
        return "\n".join(lines)


def judge(config: Config, theta: Array, theta_random: Array) -> Verdict:
    """Evaluate both sets of weights on all evaluation tasks, with the rate that suits the trained ones best."""
    rates = config.evaluation_rates
    validation = validation_errors(config, theta) if len(rates) > 1 else {}
    lr = min(validation, key=validation.get) if validation else rates[0]
    tasks = evaluation_tasks(config, config.evaluation.tasks)
    trained, random = (task_errors(config, weights, tasks, lr) for weights in (theta, theta_random))
    return Verdict(config, lr, validation, trained, random)


def _as_dict(result: Statistics) -> dict[str, Array]:
    return result._asdict()


def _cells(result: Statistics, step: int) -> list[str]:
    return [f"{result.mean[step]:.3g} ± {result.ci95[step]:.2g}", f"{result.median[step]:.3g}"]
