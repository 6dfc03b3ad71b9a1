"""Many runs, one after the other or several processes at a time: what sweeps, resuming one and the recipes share."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.training.lockstep import most_together, shared_by
from maml_exp.run.execution import Ready, execute, execute_together
from maml_exp.run.outcome import Outcome
from maml_exp.run.stopping import ORPHANED, ask_to_stop
from maml_exp.store import run_folder as states
from maml_exp.store.files import disk_trouble, failure
from maml_exp.store.run_folder import new_folder
from maml_exp.store.system import block, handling, seldom_look_for_garbage, signals_that_stop, unblock

NOT_STARTED = "not started"
SECONDS_TO_END = 5  # of a process whose pipe is closed
IN_THIS_PROCESS = threading.Lock()  # held while a run is under way in this process


class Job(Protocol):
    """What a worker process can be sent."""

    @property
    def path(self) -> Path:
        """The run's folder."""

    def make(self, stop: Path) -> Outcome:
        """Make the run; a file `stop` ends it."""

    def ready(self, stop: Path) -> Ready | Outcome:
        """Have its folder, for a run that is made with others; its outcome where it cannot be made."""


class Work(NamedTuple):
    """A run to be made in its folder."""

    config: Config
    path: Path  # made if it is not there
    resume: bool  # whether the folder holds an unfinished run, to go on with
    overrides: Sequence[str] | None = None  # of a job that never started: it gets a new folder, and these in it

    def make(self, stop: Path) -> Outcome:
        """Make the run, or say why it cannot be made."""
        with IN_THIS_PROCESS:
            ready = self.ready(stop)
            try:
                return ready if isinstance(ready, Outcome) else execute(*ready, stop)
            except SettingError as error:
                return Outcome(states.FAILED, self.path, str(error))
            except OSError as error:
                return Outcome(states.FAILED, self.path, disk_trouble(error, self.path))

    def ready(self, stop: Path) -> Ready | Outcome:
        """Have its folder, or say why it cannot be made."""
        if stop.exists():
            return not_started(self.path)
        try:
            path = self.path if self.overrides is None else new_folder(self.path, self.overrides)
            path.mkdir(parents=True, exist_ok=True)
            return Ready(self.config, path, self.resume)
        except SettingError as error:
            return Outcome(states.FAILED, self.path, str(error))
        except OSError as error:
            return Outcome(states.FAILED, self.path, f"cannot write {failure(error, self.path)}")


Key = TypeVar("Key", bound=Hashable)
AnyJob = TypeVar("AnyJob", bound=Job)


def run_all(
    work: Mapping[Key, Work], jobs: int, in_process: bool = False, stop: Path | None = None, together: bool = False
) -> Iterator[tuple[Key, Outcome]]:
    """Make all runs, up to `jobs` at the same time; yields an outcome of each as they come.

    Runs are made in worker processes, and what they say is in their logs only; with `in_process` they are made
    here, one after the other, and with `together` those of a process go in lockstep where that pays. On a signal
    running ones save and end, and the others do not start: all of these are interrupted. So they do when the iterator
    is closed, and when a file `stop` appears; this deletes it in the end. A process that is killed costs what it runs
    alone.
    """
    with tempfile.TemporaryDirectory(prefix="maml-exp-") as folder:
        asked = Path(folder) / "stop" if stop is None else stop
        try:
            with _stopping_softly(asked) as received:
                groups = partial(_groups_of, work, jobs) if together else None
                made = _one_by_one(work, asked) if in_process else in_processes(work, jobs, asked, groups)
                with closing(made):
                    for key, outcome in made:
                        if received and outcome.state == states.INTERRUPTED:  # by a file; the signal came here
                            outcome = replace(outcome, exit_status=128 + received[0])
                        yield key, outcome
        finally:
            asked.unlink(missing_ok=True)


@contextmanager
def _stopping_softly(stop: Path) -> Iterator[list[int]]:
    """Have the first signal ask the runs to stop, and the second one end this process; yields what came."""
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        received.append(number)
        ask_to_stop(stop)

    with handling(signals_that_stop(), handle):
        yield received


def _groups_of(work: Mapping[Key, Work], processes: int) -> list[Sequence[Key]]:
    alike = _alike({key: one.config for key, one in work.items()})
    return in_groups(alike, lambda key: most_together(work[key].config.problem), processes)


def _one_by_one(work: Mapping[Key, AnyJob], stop: Path) -> Generator[tuple[Key, Outcome], None, None]:
    for key, one in work.items():
        outcome = one.make(stop)
        if outcome.stops:
            stop.touch()
        yield key, outcome


def in_processes(
    work: Mapping[Key, AnyJob], jobs: int, stop: Path, groups: Callable[[], Sequence[Sequence[Key]]] | None = None
) -> Generator[tuple[Key, Outcome], None, None]:
    """Hand runs to workers one at a time, each over a pipe of its own: nothing is shared that one could hold.

    Those of one of the `groups`, which are asked for while workers start, are handed out together; None: each alone.
    """
    workers = [_Worker(stop) for _ in range(min(jobs, len(work)))]
    busy: dict[_Worker, Sequence[Key]] = {}
    try:
        waiting = deque([[key] for key in work] if groups is None else groups())
        while waiting or busy:
            for worker in workers:
                if worker not in busy and waiting and not stop.exists():
                    busy[worker] = waiting.popleft()
                    worker.send([work[key] for key in busy[worker]])
            if not busy:  # asked to stop
                for key in waiting.popleft():
                    yield key, not_started(work[key].path)
                continue
            ready = wait([worker.connection for worker in busy])
            for worker in [w for w in busy if w.connection in ready]:
                sent = busy.pop(worker)
                yield from zip(sent, worker.receive([work[key] for key in sent]), strict=True)
    finally:
        if busy:
            stop.touch()
        for worker in workers:  # all of them at the same time
            worker.connection.close()
        for worker in workers:
            worker.join()


class _Worker:
    """A process that makes the runs it is sent, until the pipe is closed; a new one takes the place of a dead one."""

    def __init__(self, stop: Path):
        self._stop = stop
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._stop, os.getpid()))
        # signals to a whole group, as Ctrl-C, must not end it while it starts: it inherits the mask
        numbers = signals_that_stop()
        block(numbers)
        try:
            self._process.start()
        finally:
            unblock(numbers)
        theirs.close()

    def send(self, work: Sequence[Job]) -> None:
        """Have runs made together."""
        try:
            self.connection.send(work)
        except OSError:  # killed since its last run
            self._start()
            self.connection.send(work)

    def receive(self, work: Sequence[Job]) -> list[Outcome]:
        """The outcomes of the runs that were sent."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join(timeout=SECONDS_TO_END)  # until then the system does not say that it is gone
            self._start()
            return [Outcome(states.FAILED, job.path, "its process was killed; out of memory?") for job in work]

    def join(self) -> None:
        """Wait until it has ended, as it does when its run has and its pipe is closed."""
        self._process.join()


def _work(connection: Connection, stop: Path, parent: int) -> None:
    """What a worker does. A run catches SIGTERM itself; between runs the closed pipe is what ends the process."""
    for number in signals_that_stop():
        signal.signal(number, signal.SIG_IGN)
    unblock({signal.SIGTERM})
    end_with_parent(parent)
    seldom_look_for_garbage()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for the life of the worker; what runs say is in their logs
    while True:
        try:
            connection.send(_made(connection.recv(), stop))
        except (EOFError, BrokenPipeError):
            return


def _made(work: Sequence[Job], stop: Path) -> list[Outcome]:
    """The outcomes of runs; of several those are made together that share what they must."""
    if len(work) == 1:
        return [work[0].make(stop)]
    with IN_THIS_PROCESS:
        found = dict(enumerate(job.ready(stop) for job in work))
        ready = {n: one for n, one in found.items() if isinstance(one, Ready)}
        outcomes = {n: one for n, one in found.items() if isinstance(one, Outcome)}
        for alike in _alike({n: one.config for n, one in ready.items()}):
            outcomes |= zip(alike, execute_together([ready[n] for n in alike], stop), strict=True)
    return [outcomes[n] for n in range(len(work))]


def _alike(configs: Mapping[Key, Config]) -> list[list[Key]]:
    """The keys of configurations that train in lockstep; what trains alone by itself."""
    found: dict[Hashable, list[Key]] = {}
    for key, config in configs.items():
        try:
            shared = shared_by(config.problem)
        except SettingError:  # as of a table that is not there: it says so when it is made
            shared = None
        found.setdefault((config.threads, key if shared is None else shared), []).append(key)
    return list(found.values())


def in_groups(alike: Sequence[Sequence[Key]], most: Callable[[Key], int], processes: int) -> list[Sequence[Key]]:
    """Runs that may go in lockstep, by likeness, in groups for so many processes.

    A group is as large as pays, which `most` says of one of them, but a process that could have work is given some.
    """
    groups, total = [], sum(map(len, alike))
    for keys in alike:
        share = -(-processes * len(keys) // total)  # of the processes
        size = most(keys[0]) if len(keys) > share else 1
        count = -(-len(keys) // size)
        count = min(len(keys), -(-count // share) * share)
        ends = [len(keys) * place // count for place in range(count + 1)]
        groups += [keys[start:end] for start, end in pairwise(ends)]
    return groups


def not_started(path: Path) -> Outcome:
    """The outcome of a run that was asked to stop before it began."""
    return Outcome(states.INTERRUPTED, path, NOT_STARTED, 128 + signal.SIGINT)


def end_with_parent(parent: int) -> None:
    """Have a worker process end when its parent is killed: it would wait for work for ever.

    A running run gets SIGTERM, and so saves first; one that is about to begin looks whether there is somebody.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        ORPHANED.set()
        os.kill(os.getpid(), signal.SIGTERM)
        with IN_THIS_PROCESS:
            os._exit(1)

    if not any(thread.name == "end_with_parent" for thread in threading.enumerate()):
        threading.Thread(target=watch, name="end_with_parent", daemon=True).start()
