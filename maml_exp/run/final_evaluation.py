"""Final evaluation of a run: what it learned beside its random initialisation, on the same held-out tasks."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.labels import method_label
from maml_exp.config.schema import Config
from maml_exp.core.baselines import BASELINES
from maml_exp.core.baselines.base import baseline_errors
from maml_exp.core.evaluation import adaptation_errors, evaluate
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.losses import Loss, Measure
from maml_exp.core.statistics import DIVERGED_FACTOR, Statistics, statistics
from maml_exp.core.tasks.base import FixedTasks, TaskFamily
from maml_exp.core.training import make_learner
from maml_exp.data.sources import is_shipped
from maml_exp.data.text_table import aligned, digits, with_margin
from maml_exp.store import metrics_file as metrics

Array = np.ndarray
TOLD = 12  # learned numbers below the table


def held_out_tasks(config: Config, learner: BaseLearner, tasks: int, split: str = "test") -> FixedTasks:
    """The first `tasks` of the held-out tasks, with as many support points as the largest number of shots."""
    evaluation = config.evaluation
    seed = evaluation.seed if split == "test" else evaluation.validation_seed
    return learner.problem.family.held_out(split, seed, tasks, max(evaluation.shots), evaluation.grid)


def watched_tasks(config: Config, learner: BaseLearner) -> FixedTasks:
    """The few tasks of the small evaluations while training."""
    split = learner.problem.family.watched_split
    return held_out_tasks(config, learner, config.evaluation.tasks_in_training, split)


def task_errors(
    config: Config, learner: BaseLearner, vector: Array, tasks: FixedTasks, lr: float | None
) -> dict[int, Array]:
    """Errors (N, steps + 1) for every number of shots."""
    return evaluate(learner, vector, tasks, config.evaluation.shots, config.evaluation_steps, lr)


def validation_errors(config: Config, learner: BaseLearner, vector: Array) -> dict[float, float]:
    """Mean error on validation tasks after the last step, at the objective's shots, for every rate.

    These tasks have a seed of their own: what is reported is measured on others.
    """
    evaluation = config.evaluation
    tasks = held_out_tasks(config, learner, evaluation.validation_tasks, "validation")

    def error(lr: float) -> float:
        steps = config.evaluation_steps
        last = adaptation_errors(learner, vector, tasks, config.objective_shots, steps, lr, first=steps)[:, 0]
        return float(last.mean()) if np.isfinite(last).all() else math.inf

    return {lr: error(lr) for lr in config.evaluation_rates}


@dataclass(frozen=True)
class FinalEvaluation:
    """Errors (N, steps + 1) of every task, by number of shots, with the trained parameters and the initial ones."""

    config: Config
    fingerprint: dict[str, Any]  # of the tasks
    loss: Loss  # what the errors are
    lr: float  # of the gradient steps
    validation: dict[float, float]  # the errors by which it was chosen; empty where there was no choice
    reference: Array  # (N,), the error of predicting each task's mean
    trained: dict[int, Array]
    random: dict[int, Array]
    baselines: dict[str, dict[int, Array]]  # errors (N,), by baseline and number of shots
    notes: tuple[str, ...] = ()  # what else a reader of the table must know of the run

    @cached_property
    def results(self) -> dict[int, dict[str, Statistics]]:
        """Statistics over tasks, by number of shots, of the "trained" and the "random" parameters."""
        both = {"trained": self.trained, "random": self.random}
        return {
            k: {which: statistics(errors[k], self.reference) for which, errors in both.items()} for k in self.trained
        }

    @property
    def objective_result(self) -> Statistics:
        """The trained parameters' statistics, at the number of shots that the objective is about."""
        return self.results[self.config.objective_shots]["trained"]

    def summary(self) -> dict[str, Any]:
        """What summary.json holds under "evaluation"."""
        evaluation, config = self.config.evaluation, self.config
        rows = {str(k): {which: result._asdict() for which, result in both.items()} for k, both in self.results.items()}
        tasks = {"seed": evaluation.seed, "tasks": len(self.reference), "grid": evaluation.grid}
        choice = {"lr": self.lr, "validation": self.validation}
        objective = {"shots": config.objective_shots, "steps": config.objective_steps}
        return {
            "fingerprint": self.fingerprint,
            **tasks,
            **choice,
            "baselines": self.baseline_summary(),
            "objective": objective,
            "measure": self.loss.measure.name,
            "reference": float(np.mean(self.reference)),
            "steps": config.evaluation_steps,
            "shots": rows,
        }

    def baseline_summary(self) -> dict[str, Any]:
        """Mean, its interval and the median over tasks, by number of shots and baseline."""
        found: dict[str, Any] = {}
        for name, by_shots in self.baselines.items():
            for k, errors in by_shots.items():
                result = statistics(errors[:, None], self.reference)
                numbers = {key: float(getattr(result, key)[0]) for key in ("mean", "ci95", "median", "iqm")}
                found.setdefault(str(k), {})[name] = numbers
        return found

    def objective(self) -> float:
        """The number that a sweep minimises: see evaluation.objective."""
        result = getattr(self.objective_result, self.config.evaluation.objective)
        return float(result[self.config.objective_steps])

    def final_metrics(self) -> metrics.Row:
        """What is logged of it: the objective, mean errors by number of shots and steps, and what outliers hide."""
        step = self.config.objective_steps
        row = {metrics.OBJECTIVE_TAG: self.objective()}
        row |= {metrics.robust_tag(name): float(getattr(self.objective_result, name)[step]) for name in metrics.ROBUST}
        for k, both in self.results.items():
            mean = both["trained"].mean
            row |= {metrics.final_tag(k, step): float(mean[step]) for step in metrics.final_steps(len(mean) - 1)}
        return row

    def arrays(self) -> dict[str, Array]:
        """What evaluation.npz holds: float32 errors (N, steps + 1), and (N,) of predicting each task's mean."""
        named = {f"trained_K{k}": errors for k, errors in self.trained.items()}
        named |= {f"random_K{k}": errors for k, errors in self.random.items()}
        for name, by_shots in self.baselines.items():
            named |= {f"{name}_K{k}": errors for k, errors in by_shots.items()}
        named |= {"reference": self.reference}
        with np.errstate(over="ignore"):  # beyond float32: infinite
            return {name: errors.astype(np.float32) for name, errors in named.items()}

    def table(self) -> str:
        """The table printed at the end of a run."""
        k, measure = self.config.objective_shots, self.loss.measure
        trained, random = (measure.shown(self.results[k][which]) for which in ("trained", "random"))
        chosen = " (the best on validation tasks)" if self.validation else ""
        of = f" of {self.loss.unit}" if self.loss.unit else ""
        tasks = f"{len(self.reference)} {'held-out groups' if of else 'fixed tasks'}"
        chance = f" (chance {measure.of(float(np.mean(self.reference))):.3g})" if measure.rises else ""
        points = f"support point{'s' * (k != 1)}" + " a class" * measure.rises
        title = f"{measure.label.capitalize()}{of}{chance} on {tasks} after adapting to {k} {points}"
        if not self.config.adapts_at_once:
            title += f" with {self.config.rate_in_words(self.lr)}{chosen}"
        name = f"this run ({method_label(self.config.algorithm)})"
        root = ["RMSE"] if of else []
        own, start = (np.sqrt(errors[k]).mean(axis=0) for errors in (self.trained, self.random))
        rows = [["steps", name, *root, "median", "middle half", "random initialisation", *root, "median", "gain"]]
        last = self.config.evaluation_steps
        for step in sorted({*metrics.final_steps(last), self.config.objective_steps, last}):
            gain = _gain(trained.mean[step], random.mean[step], measure)
            roots = [[digits(result[step])] if of else [] for result in (own, start)]
            cells = [mean_cell(trained, step), *roots[0], digits(trained.median[step]), iqm_cell(trained, step)]
            rows.append([str(step), *cells, mean_cell(random, step), *roots[1], digits(random.median[step]), gain])
        note = "means with 95% confidence intervals over tasks; middle half: interquartile mean with its 95% interval"
        if of:
            note += (
                f"\nRMSE: the mean over groups of each one's root mean squared error, in the unit of {self.loss.unit}"
            )
        return "\n".join([title, aligned(rows), note, *self._baseline_lines(), *self._notes(trained, random)])

    def _baseline_lines(self) -> list[str]:
        """A table of the baselines, each beside this run at the objective's step, task by task."""
        if not self.baselines:
            return []
        k, step = self.config.objective_shots, self.config.objective_steps
        own = self.trained[k][:, step]
        unit, measure = bool(self.loss.unit), self.loss.measure
        rows = [["baseline", "mean", *(["RMSE"] if unit else []), "median", f"this run (step {step}) less it"]]
        for name, by_shots in self.baselines.items():
            result = measure.shown(statistics(by_shots[k][:, None], self.reference))
            less = measure.shown(statistics((own - by_shots[k])[:, None], np.inf), difference=True)
            root = [digits(float(np.sqrt(by_shots[k]).mean()))] if unit else []
            cells = [mean_cell(result, 0), *root, digits(result.median[0]), mean_cell(less, 0)]
            rows.append([BASELINES.get(name).Baseline.label, *cells])
        return ["", "Without meta-learning, on the same support set and the same queries", aligned(rows)]

    def _notes(self, trained: Statistics, random: Statistics) -> list[str]:
        """What a reader of the table must know: of the run, and about tasks that diverged."""
        lines = list(self.notes)
        if self.config.adapts_at_once:
            repeated = "; the others repeat it" if self.config.evaluation_steps > 1 else ""
            lines.append(f"it adapts at once, without gradient steps: step 0 is before, step 1 after{repeated}")
        if len(several := self.config.task.all_shots) > 1:
            lines.append(f"trained with K drawn anew every iteration, from {', '.join(map(str, several))} (task.shots)")
        for name, result in (("this run", trained), ("the random initialisation", random)):
            if result.diverged.any():
                step = int(np.argmax(result.diverged))
                lines.append(
                    f"{int(result.diverged[step])} of {len(self.reference)} tasks diverged with {name} "
                    f"(step {step}): an error beyond {DIVERGED_FACTOR:g} times that of predicting a task's mean"
                    + "; look at the medians"
                    * bool(np.isfinite(result.median).all())
                )
        return lines


def evaluate_finally(config: Config, learner: BaseLearner, vector: Array, initial: Array) -> FinalEvaluation:
    """Evaluate both vectors on all evaluation tasks, with the rate that suits the trained one best."""
    family, rates = learner.problem.family, config.evaluation_rates
    validation = validation_errors(config, learner, vector) if len(rates) > 1 else {}
    lr = min(validation, key=validation.__getitem__) if validation else rates[0]
    tasks = held_out_tasks(config, learner, config.evaluation.tasks)
    trained, random = _errors_of_both(config, learner, (vector, initial), tasks, lr)
    reference = family.loss.unadapted(tasks.y_query, tasks.weights)
    judged_on = fingerprint_of(config, family)
    baselines, unusable = _baselines(config, family, tasks)
    errors = (trained, random, baselines)
    return FinalEvaluation(config, judged_on, family.loss, lr, validation, reference, *errors, notes=unusable)


def _errors_of_both(
    config: Config, learner: BaseLearner, vectors: tuple[Array, Array], tasks: FixedTasks, lr: float | None
) -> tuple[dict[int, Array], dict[int, Array]]:
    """`task_errors` of two vectors; at once, unless this is a worker process, whose neighbours have the other cores."""
    one, other = vectors
    if parent_process() is not None:
        return task_errors(config, learner, one, tasks, lr), task_errors(config, learner, other, tasks, lr)
    with ThreadPoolExecutor(1) as beside:  # by a learner of its own, as it holds buffers
        of_other = beside.submit(task_errors, config, make_learner(config.problem), other, tasks, lr)
        return task_errors(config, learner, one, tasks, lr), of_other.result()


def _baselines(
    config: Config, family: TaskFamily, tasks: FixedTasks
) -> tuple[dict[str, dict[int, Array]], tuple[str, ...]]:
    """Errors of the baselines asked for, and a note on each that cannot be used."""
    evaluation = config.evaluation
    names = family.baselines if evaluation.baselines is None else evaluation.baselines
    found, unusable = baseline_errors(family, names, tasks, evaluation.shots)
    return found, tuple(f"baseline {name} is not usable here: {why}" for name, why in unusable.items())


def fingerprint_of(config: Config, family: TaskFamily) -> dict[str, Any]:
    """What decides the tasks of an evaluation: with rows to be had once, also the number that is kept to adapt on."""
    finite = family.facts() is not None
    return family.fingerprint() | ({"support_rows": max(config.evaluation.shots)} if finite else {})


def _gain(trained: float, random: float, measure: Measure) -> str:
    """By how much the trained parameters are better than the random ones: a factor of errors, or points."""
    if not np.isfinite(trained):
        return "-"
    return f"{trained - random:+.1f}" if measure.rises else f"{random / trained:.1f}x"


def mean_cell(result: Statistics, step: int) -> str:
    """mean ± half width of its interval."""
    return with_margin(result.mean[step], result.ci95[step])


def iqm_cell(result: Statistics, step: int) -> str:
    """The interquartile mean [low, high]; of one value, which has no interval, that alone."""
    if np.isfinite(result.iqm[step]) and not np.isfinite([result.iqm_low[step], result.iqm_high[step]]).any():
        return digits(result.iqm[step])
    return f"{digits(result.iqm[step])} [{digits(result.iqm_low[step])}, {digits(result.iqm_high[step])}]"


def in_a_line(learned: Mapping[str, float]) -> list[str]:
    """What was learned beside the network, as a line for below the table; none where that is nothing."""
    told = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in learned.items()]
    shown = told[:TOLD] + ["... (all in summary.json)"] * (len(told) > TOLD)
    return [f"learned: {', '.join(shown)}"] if told else []


def table_again(config: Config) -> str:
    """What has to be typed again beside a saved run whose tasks are from a file of the user's: that file."""
    file = config.data_file
    return "" if file is None or is_shipped(file) else f" {shlex.quote(f'task.file={os.path.relpath(file)}')}"


def next_steps(folder: Path, config: Config, loss: Loss) -> str:
    """The picture of a finished run, and commands to copy; a table of pixels is nothing to type."""
    shown = Path(os.path.relpath(folder)) if folder.resolve().is_relative_to(Path.cwd()) else folder
    run = shlex.quote(str(shown))
    pictures = [
        path for path in (shown / "plots" / "finetune.png", *sorted(shown.glob("plots/*.png"))) if path.is_file()
    ]
    root = next((path for path in shown.parents if path.name == "runs"), shown)
    lines = [("picture", str(pictures[0]))] if pictures else []
    lines.append(("a change", f"maml-exp rerun {run} seed={config.seed + 1}{table_again(config)}"))
    lines += [("your points", f"maml-exp adapt {run} POINTS.csv")] if not loss.measure.rises else []
    lines.append(("curves", f"tensorboard --logdir {shlex.quote(str(root))}"))
    return "\n".join(f"{what:<12} {command}" for what, command in lines)
