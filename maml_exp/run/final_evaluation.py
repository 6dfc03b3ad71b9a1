"""Final evaluation of a run: what it learned beside its random initialisation, on the same held-out tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.evaluation import Statistics, adaptation_errors, evaluate, statistics
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.tasks.base import FixedTasks
from maml_exp.run.text_table import as_text
from maml_exp.store import metrics_file as metrics

Array = np.ndarray


def held_out_tasks(config: Config, learner: BaseLearner, tasks: int, split: str = "test") -> FixedTasks:
    """The first `tasks` of the held-out tasks, with as many support points as the largest number of shots."""
    evaluation = config.evaluation
    seed = evaluation.seed if split == "test" else evaluation.validation_seed
    return learner.problem.family.held_out(split, seed, tasks, max(evaluation.shots), evaluation.grid)


def task_errors(
    config: Config, learner: BaseLearner, vector: Array, tasks: FixedTasks, lr: float | None
) -> dict[int, Array]:
    """Errors (N, steps + 1) for every number of shots."""
    return evaluate(learner, vector, tasks, config.evaluation.shots, config.evaluation.steps, lr)


def validation_errors(config: Config, learner: BaseLearner, vector: Array) -> dict[float, float]:
    """Mean error on validation tasks after the last gradient step, at the objective's shots, for every rate.

    These tasks have a seed of their own: what is reported is measured on others.
    """
    evaluation = config.evaluation
    tasks = held_out_tasks(config, learner, evaluation.validation_tasks, "validation")

    def error(lr: float) -> float:
        errors = adaptation_errors(learner, vector, tasks, config.objective_shots, evaluation.steps, lr)
        return float(statistics(errors).mean[-1])

    return {lr: error(lr) for lr in config.evaluation_rates}


@dataclass(frozen=True)
class FinalEvaluation:
    """Errors (N, steps + 1) of every task, by number of shots, with the trained parameters and the initial ones."""

    config: Config
    fingerprint: dict[str, Any]  # of the tasks
    error_name: str  # what the errors are, as in mean squared error
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
        tasks = {"seed": evaluation.seed, "tasks": evaluation.tasks, "grid": evaluation.grid}
        choice = {"lr": self.lr, "validation": self.validation}
        return {"fingerprint": self.fingerprint, **tasks, **choice, "steps": evaluation.steps, "shots": rows}

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
        title = f"{self.error_name.capitalize()} on {evaluation.tasks} fixed tasks after adapting to {k} support points"
        title += f" with rate {self.lr:g}{chosen}"
        name = f"this run ({method_label(self.config.algorithm)})"
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


def evaluate_finally(config: Config, learner: BaseLearner, vector: Array, initial: Array) -> FinalEvaluation:
    """Evaluate both vectors on all evaluation tasks, with the rate that suits the trained one best."""
    family, rates = learner.problem.family, config.evaluation_rates
    validation = validation_errors(config, learner, vector) if len(rates) > 1 else {}
    lr = min(validation, key=validation.__getitem__) if validation else rates[0]
    tasks = held_out_tasks(config, learner, config.evaluation.tasks)
    trained, random = (task_errors(config, learner, these, tasks, lr) for these in (vector, initial))
    return FinalEvaluation(config, family.fingerprint(), family.loss.name, lr, validation, trained, random)


def _as_dict(result: Statistics) -> dict[str, Array]:
    return result._asdict()


def _cells(result: Statistics, step: int) -> list[str]:
    return [f"{result.mean[step]:.3g} ± {result.ci95[step]:.2g}", f"{result.median[step]:.3g}"]
