"""One run, from a checked configuration to a finished folder."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.core.evaluation import statistics
from maml_exp.core.training import Trainer, TrainState
from maml_exp.experiment import checkpoint as checkpoints
from maml_exp.experiment import folder as states
from maml_exp.experiment import metrics, provenance
from maml_exp.experiment.checkpoint import Checkpoint
from maml_exp.experiment.config import Config, to_yaml
from maml_exp.experiment.console import Progress, log, logging_to
from maml_exp.experiment.folder import RunFolder
from maml_exp.experiment.judge import Verdict, evaluation_tasks, judge, task_errors


class DivergedError(Exception):
    """The meta-loss is no longer finite."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: str
    folder: Path
    message: str = ""
    verdict: Verdict | None = None
    summary: dict[str, Any] | None = None

    @property
    def exit_status(self) -> int:
        """0 for a finished run, 1 for another."""
        return 0 if self.state == states.FINISHED else 1


def every(interval: int, step: int, last: int) -> bool:
    """Whether something done each `interval` steps (0: never) and at the last one is due."""
    return bool(interval) and (step % interval == 0 or step == last)


def execute(config: Config, path: Path) -> Outcome:
    """Run a configuration in its new, empty folder; whatever happens is logged there and said in status.json."""
    from threadpoolctl import threadpool_limits

    folder = RunFolder(path)
    with logging_to(folder.log), threadpool_limits(config.threads):
        run = Run(config, folder)
        try:
            return run.to_the_end()
        except DivergedError as error:
            state, message = states.DIVERGED, str(error)
            log.error(message)
        except Exception as error:  # a sweep goes on with its other jobs
            state, message = states.FAILED, f"{type(error).__name__}: {error}"
            log.exception("%s", message)
        folder.write_status(state, run.step, config.training.iterations, message)
        return Outcome(state, path, message)


class Run:
    """The state of one run while it runs."""

    def __init__(self, config: Config, folder: RunFolder):
        self.config, self.folder = config, folder
        self._trainer = Trainer(config.problem)
        self._sums: dict[str, float] = {}
        self._seconds = 0.0
        self._state: TrainState = self._trainer.init(config.seed)
        self._log: metrics.MetricsLog | None = None

    @property
    def step(self) -> int:
        """Iterations made."""
        return self._state.step

    def to_the_end(self) -> Outcome:
        """Train, evaluate, plot."""
        self._open()
        try:
            self._train()
            return self._finish()
        finally:
            self._log.close()

    def _open(self) -> None:
        """Write what is known before the first step."""
        states.write_atomically(self.folder.config, to_yaml(self.config).encode())
        self.folder.write_status(states.RUNNING, self.step, self.config.training.iterations)
        self.folder.checkpoints.mkdir(exist_ok=True)
        record, diff = provenance.collect(self.config)
        states.write_json(self.folder.provenance, record)
        if diff:
            states.write_atomically(self.folder.path / "provenance.diff", diff.encode())
        self._log = metrics.MetricsLog(self.folder.path, self.folder.metrics, metrics.columns(self.config))
        self._log.text("config", "```yaml\n" + to_yaml(self.config) + "```")
        log.info("%s in %s", describe(self.config), self.folder.path)

    def _train(self) -> None:
        training = self.config.training
        progress = Progress(self.step, training.iterations, self.config.algorithm.name)
        started, logged = time.perf_counter(), self.step
        try:
            while self.step < training.iterations:
                self._state, values = self._trainer.train_step(self._state)
                self._add(values)
                if every(training.log_every, self.step, training.iterations):
                    elapsed = time.perf_counter() - started
                    row = self._row(elapsed, self.step - logged)
                    self._log.write(row)
                    progress.update(self.step, row["meta/loss"])
                    started, logged = time.perf_counter(), self.step
                if every(training.checkpoint_every, self.step, training.iterations) or self.step == training.iterations:
                    paused = time.perf_counter()
                    self._save()
                    started += time.perf_counter() - paused
        finally:
            progress.close()

    def _add(self, values: dict[str, float]) -> None:
        """Add an iteration's metrics to the sums since the last row."""
        loss = values["meta/loss"]
        if not math.isfinite(loss):
            raise DivergedError(
                f"the meta-loss is {loss} at iteration {self.step}; "
                "try a smaller optimizer.lr or inner.lr, or optimizer.clip_norm=10"
            )
        for tag, value in values.items():
            self._sums[tag] = self._sums.get(tag, 0.0) + value
        self._sums["count"] = self._sums.get("count", 0.0) + 1

    def _row(self, elapsed: float, iterations: int) -> dict[str, float]:
        """A row: means since the last one, speed, and now and then a small evaluation."""
        self._seconds += elapsed
        count = self._sums.pop("count")
        row = {"step": self.step} | {tag: total / count for tag, total in self._sums.items()}
        self._sums = {}
        row["time/iterations_per_second"] = iterations / elapsed
        row["time/seconds"] = self._seconds
        training = self.config.training
        if every(training.evaluate_every, self.step, training.iterations):
            row |= self._small_evaluation()
        return row

    def _small_evaluation(self) -> dict[str, float]:
        tasks = evaluation_tasks(self.config, self.config.evaluation.tasks_in_training)
        row = {}
        for shots, errors in task_errors(self.config, self._state.theta, tasks).items():
            result = statistics(errors)
            for step in range(errors.shape[1]):
                row[metrics.evaluation_tag(shots, "mean", step)] = float(result.mean[step])
                row[metrics.evaluation_tag(shots, "median", step)] = float(result.median[step])
        return row

    def _save(self) -> None:
        self._log.sync()
        point = Checkpoint(self._state, self.config.to_dict(), self._sums, self._seconds)
        checkpoints.save(self.folder.checkpoints, point)
        checkpoints.prune(self.folder.checkpoints, self.config.training.keep_checkpoints)
        self.folder.write_status(states.RUNNING, self.step, self.config.training.iterations)

    def _finish(self) -> Outcome:
        verdict = judge(self.config, self._state.theta, self._trainer.init(self.config.seed).theta)
        summary = {
            "step": self.step,
            "parameters_sha256": checkpoints.parameters_sha256(self._state.theta),
            "objective": verdict.objective(),
            "evaluation": verdict.summary(),
            "time": {"training_seconds": self._seconds},
        }
        errors = {f"trained_K{k}": e.astype(np.float32) for k, e in verdict.trained.items()}
        errors |= {f"random_K{k}": e.astype(np.float32) for k, e in verdict.random.items()}
        save_arrays(self.folder.evaluation, errors)
        states.write_json(self.folder.summary, summary)
        if self.config.evaluation.plots:
            self._plot(summary)
        self.folder.write_status(states.FINISHED, self.step, self.config.training.iterations)
        return Outcome(states.FINISHED, self.folder.path, verdict=verdict, summary=summary)

    def _plot(self, summary: dict[str, Any]) -> None:
        from maml_exp.experiment import plots

        random = self._trainer.init(self.config.seed).theta
        for png in plots.draw_all(self.config, self._state.theta, random, summary["evaluation"], self.folder.plots):
            self._log.image(png.stem, png, self.step)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to an npz file, whole or not at all."""
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    states.write_atomically(path, buffer.getvalue())


def describe(config: Config) -> str:
    """A run in a line: algorithm, network, inner loop, iterations."""
    network = "-".join(map(str, config.problem.network.sizes))
    inner = f"{config.inner.steps} inner step{'s' * (config.inner.steps != 1)} of rate {config.inner.lr:g}"
    how = "" if config.algorithm.name == "joint" else f", {inner}"
    return f"{config.algorithm.name}, {network} {config.model.activation}{how}, {config.training.iterations} iterations"
