"""Runs made in this process: one, or several in lockstep, an iteration of all at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.training import StepMetrics, TrainState
from maml_exp.core.training.lockstep import LockstepState, LockstepTrainer
from maml_exp.run.outcome import Outcome
from maml_exp.run.progress import give_word_to, log
from maml_exp.run.run import LiveRun, Steps, making
from maml_exp.run.stopping import InterruptedRunError, Signals, caught_signals
from maml_exp.store import run_folder as states
from maml_exp.store.files import disk_trouble


class Ready(NamedTuple):
    """A run that can be made."""

    config: Config
    path: Path
    resume: bool = False  # whether it goes on from its newest usable checkpoint; else its folder is empty


def execute(config: Config, path: Path, resume: bool = False, stop: Path | None = None) -> Outcome:
    """Run a configuration in its folder; whatever happens is logged there and said in status.json.

    A new run's folder is empty; with `resume` the run goes on from its newest usable checkpoint. A file
    `stop` that appears has the effect of SIGINT. Raises `HeldError` if another process is writing the folder.
    """
    with _prepared(config.threads, stop) as signals:
        made = Made(Ready(config, path, resume), signals)
        made.start()
        while made.run is not None:
            made.make_steps(made.run, made.run.due, signals)
        return replace(made.outcome, late_signal=signals.exit_status)


def execute_together(ready: Sequence[Ready], stop: Path | None = None) -> list[Outcome]:
    """Make several runs, which share `training.lockstep.shared_by`; their outcomes, in their order.

    Each has the bits, the folder and the end that it has alone, and the others go on when it ends. Those that are
    behind, as resumed ones may be, go first, until the next ones can join. A signal waits for what is under way. What
    cannot be written to at all has failed.
    """
    with _prepared(ready[0].config.threads, stop) as signals, signals.deferred():
        runs = [Made(one, signals) for one in ready]
        for made in runs:
            try:
                made.start()
            except SettingError as error:
                made.outcome = Outcome(states.FAILED, made.path, str(error))
            except OSError as error:
                made.outcome = Outcome(states.FAILED, made.path, disk_trouble(error, made.path))
        while going := {made: made.run for made in runs if made.run is not None}:
            _catch_up(going, signals)
        return [made.outcome for made in runs]


@contextmanager
def _prepared(threads: int, stop: Path | None) -> Iterator[Signals]:
    """BLAS has its threads, signals are caught, and in the end every logger has the word again."""
    from threadpoolctl import threadpool_limits

    try:
        with threadpool_limits(threads), caught_signals(stop) as signals:
            yield signals
    finally:
        give_word_to(None)


class Made:
    """One run while it is made.

    Attributes:
        run: None before its start and once it has ended.
        outcome: set once it has ended.
    """

    outcome: Outcome

    def __init__(self, ready: Ready, signals: Signals):
        self.path = ready.path
        self.run: LiveRun | None = None
        self._making = making(*ready, signals)

    def start(self) -> None:
        """Open its folder; raises `SettingError` where that is another's."""
        self._go_on(None)

    def take(self, steps: Steps) -> None:
        """Go on with what training steps have made of its state."""
        self._go_on(steps)

    def make_steps(self, run: LiveRun, until: int, signals: Signals) -> None:
        """Make training steps alone, up to an iteration."""

        def train_step(state: TrainState) -> tuple[TrainState, list[StepMetrics]]:
            state, values = run.trainer.train_step(state)
            return state, [values]

        state, steps, error = _steps(train_step, run.state, until, signals)
        self.take((state, [values for (values,) in steps], error))

    def _go_on(self, given: Any) -> None:
        try:
            give_word_to(self.path)
            self.run = self._making.send(given)
        except StopIteration as end:
            self.run, self.outcome = None, end.value
        except InterruptedRunError as error:  # nothing is written yet
            log.warning("%s before the run in %s began", error, self.path)  # else `making` says it
            self.run, self.outcome = None, Outcome(states.INTERRUPTED, self.path, f"{error}", error.exit_status)


State = TypeVar("State", TrainState, LockstepState)


def _steps(
    train_step: Callable[[State], tuple[State, list[StepMetrics]]], state: State, until: int, signals: Signals
) -> tuple[State, list[list[StepMetrics]], BaseException | None]:
    """Training steps up to an iteration: the state behind them, what each was like in every run, what one has raised.

    Fewer, but at least one, where a loss is not finite, which is the last, or a signal has come.
    """
    steps: list[list[StepMetrics]] = []
    try:
        while state.step < until and not (steps and signals.received):
            state, values = train_step(state)
            steps.append(values)
            if not math.isfinite(sum(one.loss for one in values)):
                break
    except (Exception, SystemExit) as error:
        return state, steps, error
    return state, steps, None


def _catch_up(going: dict[Made, LiveRun], signals: Signals) -> None:
    """Make steps of the runs that are behind until they meet the next ones, or one of them ends."""
    first, *later = sorted({run.step for run in going.values()})
    group = {made: run for made, run in going.items() if run.step == first}
    until = later[0] if later else None
    if len(group) == 1:
        ((made, run),) = group.items()
        while made.run is not None and run.step != until:
            made.make_steps(run, min([run.due, *later]), signals)
        return
    for made in group:
        give_word_to(made.path)
        log.info("in lockstep with %d other runs, %d iterations made", len(group) - 1, first)
    trainer = LockstepTrainer([run.trainer.problem for run in group.values()])
    state = LockstepState.of([run.state for run in group.values()])
    while all(made.run is not None for made in group) and state.step != until:
        due = min([*(run.due for run in group.values()), *later])
        state, steps, error = _steps(trainer.train_step, state, due, signals)
        by_run = zip(*steps, strict=True) if steps else [()] * len(group)
        for made, of_run, values in zip(group, state.by_run(), by_run, strict=True):
            made.take((of_run, values, error))
