"""Many runs, one after the other or several processes at a time: what resuming a sweep and the recipes share."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from maml_exp.core.errors import SettingError
from maml_exp.experiment import folder as states
from maml_exp.experiment.config import Config
from maml_exp.experiment.folder import new_folder
from maml_exp.experiment.runner import Outcome, execute
from maml_exp.experiment.signals import CAUGHT, ask_to_stop

Key = TypeVar("Key", bound=Hashable)
RUNNING = threading.Lock()  # held while a run is under way in this process


class WorkerKilledError(SettingError):
    """The system killed a process; with it end those that run beside it."""


class Task(NamedTuple):
    """A run to be made in its folder."""

    config: Config
    path: Path  # made if it is not there
    resume: bool  # whether the folder holds an unfinished run, to go on with
    overrides: Sequence[str] | None = None  # of a job that never started: it gets a new folder, and these in it


def run_all(tasks: Mapping[Key, Task], jobs: int, stop: Path) -> Iterator[tuple[Key, Outcome]]:
    """Make all runs, up to `jobs` at the same time; yields the outcomes as they come.

    On SIGTERM or SIGINT, or when the file `stop` appears, running ones save and end, and the others do not
    start: their outcomes are interrupted ones.
    """
    if jobs == 1 or len(tasks) < 2:
        for key, task in tasks.items():
            outcome = _run(task, stop)
            yield key, outcome
            if outcome.state == states.INTERRUPTED:
                return
    else:
        yield from _run_in_pool(tasks, min(jobs, len(tasks)), stop)


def _run_in_pool(tasks: Mapping[Key, Task], jobs: int, stop: Path) -> Iterator[tuple[Key, Outcome]]:
    with _stopping_softly(stop) as received, _pool(jobs) as pool:
        futures: dict[Future[Outcome], Key] = {}
        with _shielded_workers():  # they are started by the first of these calls
            for key, task in tasks.items():
                futures[pool.submit(_run, task, stop)] = key
        try:
            for future in as_completed(futures):
                outcome = future.result()
                if received and outcome.state == states.INTERRUPTED:  # by a file; the signal came here
                    outcome = replace(outcome, exit_status=128 + received[0])
                yield futures[future], outcome
        except BrokenProcessPool as error:
            raise WorkerKilledError("one of the processes was killed; out of memory? Try fewer at a time") from error


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that drop what has not begun when the caller leaves early."""
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _stopping_softly(stop: Path) -> Iterator[list[int]]:
    """Have the first signal ask the workers to stop, and the second one end this process; yields what came."""
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        received.append(number)
        ask_to_stop(stop)

    before = {number: signal.signal(number, handle) for number in CAUGHT}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shielded_workers() -> Iterator[None]:
    """Keep a terminal's Ctrl-C from processes started inside, for good; here it waits until the end of this part."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _start_worker() -> None:
    end_with_parent()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the worker; what runs say is in their logs


def _run(task: Task, stop: Path) -> Outcome:
    with RUNNING:
        if stop.exists():
            return Outcome(states.INTERRUPTED, task.path, "not started", 128 + signal.SIGINT)
        try:
            path = task.path if task.overrides is None else new_folder(task.path, task.overrides)
            path.mkdir(parents=True, exist_ok=True)
            return execute(task.config, path, task.resume, stop)
        except SettingError as error:
            return Outcome(states.FAILED, task.path, str(error))


def end_with_parent() -> None:
    """Have a worker process end when its parent is killed: it would wait for work for ever.

    A running run gets SIGTERM, and so saves first.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        with RUNNING:
            os._exit(1)

    if not any(thread.name == "end_with_parent" for thread in threading.enumerate()):
        threading.Thread(target=watch, name="end_with_parent", daemon=True).start()
