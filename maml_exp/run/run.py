"""One run, from a checked configuration to a finished folder, in one go or resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from maml_exp.config.labels import described, method_label
from maml_exp.config.schema import Config, every, is_logged, to_yaml
from maml_exp.core.checks import SettingError
from maml_exp.core.training import StepMetrics, Trainer, TrainState
from maml_exp.data import door
from maml_exp.data.texts import one_line
from maml_exp.run.final_evaluation import FinalEvaluation, evaluate_finally, in_a_line, task_errors, watched_tasks
from maml_exp.run.health import Watch, advice
from maml_exp.run.metrics_log import Means, MetricsLog
from maml_exp.run.outcome import DivergedError, Outcome, ended_by
from maml_exp.run.progress import Progress, log, logging_to
from maml_exp.run.stopping import InterruptedRunError, Signals
from maml_exp.run.validation import Validation
from maml_exp.store import checkpoints, files, provenance
from maml_exp.store import metrics_file as metrics
from maml_exp.store import run_folder as states
from maml_exp.store.checkpoints import Checkpoint
from maml_exp.store.choosing import newest_checkpoint, sound_rows
from maml_exp.store.memory import require_memory, require_tasks
from maml_exp.store.run_folder import RunFolder

# the state behind some training steps, what each of them was like, and what the next one has raised
Steps = tuple[TrainState, Sequence[StepMetrics], BaseException | None]
SHOWN_EVERY = 16  # iterations


def making(config: Config, path: Path, resume: bool, signals: Signals) -> Generator[LiveRun, Steps, Outcome]:
    """A run while it is made: it is yielded for training steps, which whoever drives it makes and sends.

    Those are at most so many that `LiveRun.due` is reached, and none follows one whose loss is not finite.

    Whatever happens is logged in its folder and said in status.json. Raises `HeldError` if another process is
    writing the folder, and `InterruptedRunError` for a signal before it has begun.
    """
    folder = RunFolder(path)
    folder.require_own()
    require_tasks(config)
    require_memory(config)
    with states.locked(path), logging_to(folder.log):
        run = None
        try:
            run = LiveRun(config, folder, signals)
            return (yield from run.to_the_end(resume))
        except (Exception, SystemExit) as error:  # a sweep goes on with its other jobs
            with signals.deferred():
                step, notes = (run.step, run.notes) if run else (0, [])
                return ended_by(error, folder, step, config.training.iterations, notes)


class LiveRun:
    """One run while it runs: training state, running sums, log.

    Attributes:
        trainer: makes its steps where it trains alone.
        state: what the next step is made from.
    """

    def __init__(self, config: Config, folder: RunFolder, signals: Signals):
        self.config, self.folder, self._signals = config, folder, signals
        self.trainer = Trainer(config.problem)
        self._learner = self.trainer.learner
        self._family = self._learner.problem.family
        self._initial = self.state = self.trainer.init(config.seed)
        self._means = Means()
        self._seconds = 0.0
        self._watch = Watch(config.problem)
        self._validation = Validation(config, self._learner)

    @property
    def step(self) -> int:
        """Iterations made."""
        return self.state.step

    @property
    def notes(self) -> list[str]:
        """What a reader of its result must know, a line each: an early end, the choice of a checkpoint, its health."""
        return self._family.notes() + self._validation.notes(self.step) + self._watch.notes()

    @property
    def due(self) -> int:
        """The iteration behind which something is to be done with the state: logged, shown, saved."""
        training, step = self.config.training, self.step
        intervals = (SHOWN_EVERY, training.log_every, training.evaluate_every, training.checkpoint_every)
        return min(training.iterations, *(step + interval - step % interval for interval in intervals if interval))

    def to_the_end(self, resume: bool) -> Generator[LiveRun, Steps, Outcome]:
        """Train, evaluate, plot; yields itself for the steps of training, see `making`."""
        finished = False
        with self._signals.deferred():
            self._open(resume)
        try:
            with self._signals.deferred():
                yield from self._train()
            outcome = self._finish()
            finished = True
            return outcome
        finally:
            with self._signals.deferred():
                self._log.close(success=finished)

    def _open(self, resume: bool) -> None:
        """Write what is known before the first step, or take up what an earlier process left."""
        rows: list[metrics.Row] = []
        sound = sound_rows(self.folder, self.config, self._learner) if resume else []
        point = newest_checkpoint(self.folder, self.config, {int(row["step"]) for row in sound}) if resume else None
        if point is not None:
            provenance.require_same_data(self.folder, self._family, point.data)
            self.state, self._means, self._seconds = point.state, Means(point.sums), point.seconds
            self._remember(point.watched)
            rows = [row for row in sound if row["step"] <= self.step and metrics.OBJECTIVE_TAG not in row]
        if resume:
            self.folder.clear_half_written()
            provenance.record_resume(self.folder, self.config, self.step)
            if point is None:
                log.warning("there is no usable checkpoint; the run starts over")
            log.info("resumed at iteration %d of %d", self.step, self.config.training.iterations)
        else:
            for name in (checkpoints.BEST, checkpoints.NEXT_BEST):  # of a job that its launcher starts again
                door.remove(self.folder.checkpoints / name, own_folder=True)
            door.write(self.folder.config, to_yaml(self.config).encode(), own_folder=True)
            provenance.record_start(self.folder, self.config)
        self._write_status(states.RUNNING)
        self._log = MetricsLog(self.folder, self.config, self._learner, rows)
        self._show_notes()
        for note in self._family.notes():
            log.warning(note)
        log.info(
            "%s in %s", described(self.config, self._learner.network_label, self._learner.describes), self.folder.path
        )

    def _remember(self, watched: dict[str, Any]) -> None:
        """Take up the health and the validation of the training so far."""
        try:
            self._watch = Watch(self.config.problem, watched.get("health"))
            self._validation = Validation(self.config, self._learner, watched.get("validation"))
        except (TypeError, ValueError) as error:
            checkpoint = self.folder.checkpoints / checkpoints.file_name(self.step)
            raise SettingError(
                f"{checkpoint} remembers what no run does ({error}); delete it to go on before"
            ) from error

    def _train(self) -> Generator[LiveRun, Steps, None]:
        training, last = self.config.training, self.config.training.iterations
        progress = Progress(self.step, last, method_label(self.config.algorithm))
        started, logged, step = time.perf_counter(), self.step, self.step
        try:
            while step < last and not self._validation.is_over:
                self.state, made, error = yield self
                for values in made:
                    step += 1
                    self._add(step, values)
                if error is not None:  # before anything is saved: the step has drawn from the state's generators
                    raise error
                if is_logged(training, step):
                    self._log_row(time.perf_counter() - started, step - logged)
                    started, logged = time.perf_counter(), step
                if every(training.checkpoint_every, step, last) or step == last or self._validation.is_over:
                    paused = time.perf_counter()
                    self._save()
                    started += time.perf_counter() - paused
                if step % SHOWN_EVERY == 0 or step == last:
                    progress.update(step, values.loss)
                if self._signals.received:
                    self._save()
                    self._signals.check()
        finally:
            progress.close()

    def _add(self, step: int, values: StepMetrics) -> None:
        """Add an iteration's metrics to the sums since the last row."""
        if not math.isfinite(values.loss):
            self._require(False, f"the meta-loss is {values.loss} at iteration {step}", step)
        for line in self._watch.add(step, values):
            log.warning("iteration %d: %s", step, line)
            self._show_notes()
        self._means.add(values)

    def _require(self, finite: bool, otherwise: str, step: int | None = None) -> None:
        """Raise `DivergedError` unless what was looked at is finite."""
        if not finite:
            raise DivergedError(f"{otherwise}; {advice(self.config.problem, step)}")

    def _require_finite_parameters(self) -> None:
        finite = bool(np.isfinite(self.state.vector).all())
        self._require(finite, f"a meta-parameter is not finite after iteration {self.step}")

    def _log_row(self, elapsed: float, iterations: int) -> None:
        """Log means since the last row, the speed, and now and then a small evaluation."""
        self._seconds += elapsed
        row = {"step": self.step} | self._means.take()
        row |= {metrics.learned_tag(name): value for name, value in self._learner.learned(self.state.vector).items()}
        row[metrics.EXPLOSIONS_TAG] = self._watch.explosions
        row |= {metrics.SPEED_TAG: iterations / elapsed, "time/seconds": self._seconds}
        training = self.config.training
        if every(training.evaluate_every, self.step, training.iterations):
            row |= self._small_evaluation()
            if training.validates:
                row[metrics.VALIDATION_TAG] = self._validate()
        self._log.write(row)

    def _validate(self) -> float:
        """Measure the objective on validation tasks, and keep the checkpoint if it is the best so far."""
        objective, keep = self._validation.measure(self.step, self.state.vector)
        if keep:
            self._require_finite_parameters()
            checkpoints.save(self.folder.checkpoints, self._checkpoint(), checkpoints.NEXT_BEST)
        return objective

    def _small_evaluation(self) -> metrics.Row:
        tasks = watched_tasks(self.config, self._learner)
        lr = self.config.evaluation_rates[0]  # of several, the choice is made at the end
        row: metrics.Row = {}
        for shots, errors in task_errors(self.config, self._learner, self.state.vector, tasks, lr).items():
            errors = np.where(np.isfinite(errors), errors, np.inf)
            for name, values in (("mean", errors.mean(axis=0)), ("median", np.median(errors, axis=0))):
                row |= {metrics.evaluation_tag(shots, name, step): float(value) for step, value in enumerate(values)}
        return row

    def _save(self) -> None:
        self._require_finite_parameters()
        self._log.sync()
        checkpoints.save(self.folder.checkpoints, self._checkpoint())
        checkpoints.settle_best(self.folder.checkpoints)
        checkpoints.prune(self.folder.checkpoints, self.config.training.keep_checkpoints)
        self._write_status(states.RUNNING)

    def _checkpoint(self) -> Checkpoint:
        parts = dict(self._learner.layout.sizes)
        watched = {"health": self._watch.state(), "validation": self._validation.state()}
        facts = self._family.facts()
        sums = self._means.sums()
        return Checkpoint(self.state, self.config.to_dict(), sums, self._seconds, parts, watched, facts)

    def _write_status(self, state: str) -> None:
        self.folder.write_status(state, self.step, self.config.training.iterations, notes=self.notes)

    def _show_notes(self) -> None:
        """Have TensorBoard show the notes under Text."""
        if self.notes:
            self._log.board.text("health", "\n".join(f"- {note}" for note in self.notes))

    def _finish(self) -> Outcome:
        """Evaluate and plot; everything here can be done again from the last checkpoint."""
        self._signals.check()
        self._end_training()
        judged = self._validation.judged_vector(self.folder, self.state)
        found = evaluate_finally(self.config, self._learner, judged, self._initial.vector)
        evaluation = replace(found, notes=(*in_a_line(self._learner.learned(judged)), *self.notes, *found.notes))
        summary = self._summary(evaluation, judged)
        if self.config.evaluation.plots:
            self._plot(summary, judged)
        with self._signals.deferred():
            self._log.write({"step": self.step, **evaluation.final_metrics()})
            files.write_arrays(self.folder.evaluation, evaluation.arrays())
            files.write_json(self.folder.summary, summary)
            self._write_status(states.FINISHED)
        return Outcome(states.FINISHED, self.folder.path, exit_status=0, evaluation=evaluation)

    def _end_training(self) -> None:
        """Require an end that is finite, and say what there is to say of the training."""
        self._require_finite_parameters()
        loss = self.trainer.next_loss(self.state)
        self._require(math.isfinite(loss), f"the meta-loss is {loss} after iteration {self.step}, the last one")
        self._watch.end(self.step)
        for note in self._validation.notes(self.step):
            log.info(note)
        for note in self._watch.notes():
            log.warning(note)
        self._show_notes()

    def _summary(self, evaluation: FinalEvaluation, judged: np.ndarray) -> dict[str, Any]:
        return {
            "step": self.step,
            **self._validation.summary(self.step),
            "health": self._watch.summary(),
            "notes": self.notes,
            "parameters_sha256": checkpoints.parameters_sha256(judged),
            "objective": evaluation.objective(),
            "learned": dict(self._learner.learned(judged)),
            "evaluation": evaluation.summary(),
            "config": self.config.to_dict(),
            "time": {"training_seconds": self._seconds, "iterations_per_second": self.step / max(self._seconds, 1e-9)},
        }

    def _plot(self, summary: dict[str, Any], judged: np.ndarray) -> None:
        """Draw; what matplotlib stumbles over costs figures, and no result."""
        from maml_exp.run.figures.of_run import draw_all

        vectors = {"trained": judged, "random": self._initial.vector}
        rows = metrics.read_rows(self.folder.metrics)
        try:
            for png in draw_all(self.config, self._learner, vectors, summary["evaluation"], rows, self.folder.plots):
                self._log.board.image(png.stem, png, self.step)
        except (InterruptedRunError, OSError):
            raise
        except Exception as error:
            again = f"maml-exp plot {quote(str(self.folder.path))}"
            log.exception("cannot draw (%s tries again): %s", again, one_line(str(error)))
