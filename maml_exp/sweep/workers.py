"""Many runs, one after the other or several processes at a time: what resuming a sweep and the recipes share."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple, TypeVar

from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.run.run import Outcome, execute
from maml_exp.run.stopping import CAUGHT, ask_to_stop
from maml_exp.store import run_folder as states
from maml_exp.store.files import failure
from maml_exp.store.run_folder import new_folder

Key = TypeVar("Key", bound=Hashable)
IN_THIS_PROCESS = threading.Lock()  # held while a run is under way in this process


class Work(NamedTuple):
    """A run to be made in its folder."""

    config: Config
    path: Path  # made if it is not there
    resume: bool  # whether the folder holds an unfinished run, to go on with
    overrides: Sequence[str] | None = None  # of a job that never started: it gets a new folder, and these in it


def run_all(work: Mapping[Key, Work], jobs: int, in_process: bool = False) -> Iterator[tuple[Key, Outcome]]:
    """Make all runs, up to `jobs` at the same time; yields an outcome of each as they come.

    Runs are made in worker processes, and what they say is in their logs only; with `in_process` they are made
    here, one after the other. On SIGTERM or SIGINT running ones save and end, and the others do not start: all
    of these are interrupted. So they do when the iterator is closed. A process that is killed costs its run alone.
    """
    with tempfile.TemporaryDirectory(prefix="maml-exp-") as folder:
        stop = Path(folder) / "stop"
        with _stopping_softly(stop) as received:
            made = _one_by_one(work, stop) if in_process else _in_processes(work, min(jobs, len(work)), stop)
            with closing(made):
                for key, outcome in made:
                    if received and outcome.state == states.INTERRUPTED:  # by a file; the signal came here
                        outcome = replace(outcome, exit_status=128 + received[0])
                    yield key, outcome


@contextmanager
def _stopping_softly(stop: Path) -> Iterator[list[int]]:
    """Have the first signal ask the runs to stop, and the second one end this process; yields what came."""
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


def _one_by_one(work: Mapping[Key, Work], stop: Path) -> Generator[tuple[Key, Outcome], None, None]:
    for key, one in work.items():
        outcome = _run(one, stop)
        if outcome.state == states.INTERRUPTED:
            stop.touch()
        yield key, outcome


def _in_processes(work: Mapping[Key, Work], jobs: int, stop: Path) -> Generator[tuple[Key, Outcome], None, None]:
    """Hand runs to workers one at a time, each over a pipe of its own: nothing is shared that one could hold."""
    waiting, workers = deque(work.items()), [_Worker(stop) for _ in range(jobs)]
    busy: dict[_Worker, tuple[Key, Work]] = {}
    try:
        while waiting or busy:
            for worker in workers:
                if worker not in busy and waiting and not stop.exists():
                    busy[worker] = waiting.popleft()
                    worker.send(busy[worker][1])
            if not busy:  # asked to stop
                key, left = waiting.popleft()
                yield key, _not_started(left)
                continue
            ready = wait([worker.connection for worker in busy])
            for worker in [w for w in busy if w.connection in ready]:
                key, sent = busy.pop(worker)
                yield key, worker.receive(sent)
    finally:
        stop.touch()
        for worker in workers:
            worker.end()


class _Worker:
    """A process that makes the runs it is sent, until the pipe is closed; a new one takes the place of a dead one."""

    def __init__(self, stop: Path):
        self._stop = stop
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._stop))
        # signals to a whole group, as Ctrl-C, must not end it while it starts: it inherits the mask
        signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
        theirs.close()

    def send(self, work: Work) -> None:
        """Have a run made."""
        try:
            self.connection.send(work)
        except OSError:  # killed since its last run
            self._start()
            self.connection.send(work)

    def receive(self, work: Work) -> Outcome:
        """The outcome of the run that was sent."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._start()
            return Outcome(states.FAILED, work.path, "its process was killed; out of memory?")

    def end(self) -> None:
        """Let it end, once its run has."""
        self.connection.close()
        self._process.join()


def _work(connection: Connection, stop: Path) -> None:
    """What a worker does. A run catches SIGTERM itself; between runs the closed pipe is what ends the process."""
    for number in CAUGHT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    end_with_parent()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the worker; what runs say is in their logs
    while True:
        try:
            connection.send(_run(connection.recv(), stop))
        except (EOFError, BrokenPipeError):
            return


def _not_started(work: Work) -> Outcome:
    return Outcome(states.INTERRUPTED, work.path, "not started", 128 + signal.SIGINT)


def _run(work: Work, stop: Path) -> Outcome:
    with IN_THIS_PROCESS:
        if stop.exists():
            return _not_started(work)
        try:
            path = work.path if work.overrides is None else new_folder(work.path, work.overrides)
            path.mkdir(parents=True, exist_ok=True)
            return execute(work.config, path, work.resume, stop)
        except SettingError as error:
            return Outcome(states.FAILED, work.path, str(error))
        except OSError as error:
            return Outcome(states.FAILED, work.path, f"cannot write {failure(error, work.path)}")


def end_with_parent() -> None:
    """Have a worker process end when its parent is killed: it would wait for work for ever.

    A running run gets SIGTERM, and so saves first.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        with IN_THIS_PROCESS:
            os._exit(1)

    if not any(thread.name == "end_with_parent" for thread in threading.enumerate()):
        threading.Thread(target=watch, name="end_with_parent", daemon=True).start()
