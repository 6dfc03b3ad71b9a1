"""Peers in processes of their own: one core and one thread each, taking turns at the driver's word."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from bench_peers import PEERS, Case, test_batch

MIB = 2**20


class PeerAbsentError(Exception):
    """The package of a peer is not installed."""


class Elapsed(NamedTuple):
    """Seconds that a run took."""

    wall: float
    cpu: float  # of all threads of the process; well below `wall`, others had the core


def use_one_core(core: int | None, cache: Path) -> int | None:
    """Pin this process and those it starts to one core and one thread; returns the core (None: cannot pin).

    Call it before anything that reads these variables is imported. `cache` keeps what JAX compiled, so that
    a second process of the same case shows what it needs to run, not to compile.
    """
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def peak_bytes() -> int:
    """The most memory that this process has held.

    Linux's ru_maxrss may be inherited from the parent, so its own high-water mark is read where there is one.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class _Server:
    """What a worker does; every public method is a command."""

    def __init__(self, peer: str):
        self._module = importlib.import_module(PEERS[peer])
        self._contenders: dict[str, Any] = {}

    def version(self) -> str:
        """Of the package that does the work."""
        import numpy

        library = getattr(self._module, "jax", None) or getattr(self._module, "torch", None) or numpy
        return f"{library.__name__} {library.__version__}"

    def variants(self) -> tuple[str, ...]:
        """Of this peer."""
        return self._module.VARIANTS

    def make(self, case: Case, variant: str) -> None:
        """A contender, known by its variant from now on."""
        self._contenders[variant] = self._module.make(case, variant)

    def gradient(self, case: Case, variant: str, theta: Any) -> Any:
        """Its meta-gradient on the common test batch; None if it has none."""
        gradient = getattr(self._contenders[variant], "gradient", None)
        return gradient and gradient(theta, test_batch(case))

    def theta(self, variant: str) -> Any:
        """Its parameters now."""
        return self._contenders[variant].theta()

    def run(self, variant: str, iterations: int) -> Elapsed:
        """The time of so many training iterations."""
        run = self._contenders[variant].run
        wall, cpu = time.perf_counter(), time.process_time()
        run(iterations)
        return Elapsed(time.perf_counter() - wall, time.process_time() - cpu)

    def drop(self, variants: list[str] | None = None) -> None:
        """Forget these contenders, or all."""
        for variant in list(self._contenders) if variants is None else variants:
            del self._contenders[variant]
        gc.collect()

    def peak(self, case: Case, variant: str) -> int:
        """Bytes by which training drives the peak up."""
        tiny = Case(width=2, tasks=2)
        self._module.make(tiny, variant).run(tiny.chunk)  # what the package itself needs is not the case's
        before = peak_bytes()
        self._module.make(case, variant).run(2)
        return peak_bytes() - before


def _serve(connection: Connection, peer: str) -> None:
    try:
        server = _Server(peer)
    except ImportError as error:
        connection.send(("absent", str(error)))
        return
    connection.send(("done", None))
    while True:
        try:
            message = connection.recv()
        except EOFError:  # the driver is gone
            return
        if message is None:
            return
        command, arguments = message
        try:
            connection.send(("done", getattr(server, command)(*arguments)))
        except Exception:
            connection.send(("failed", traceback.format_exc()))


class Worker:
    """A peer's process. Every command of `_Server` is a method here: `worker.run(variant, 100)`."""

    def __init__(self, peer: str, environment: dict[str, str] | None = None):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, peer), daemon=True)
        before = dict(os.environ)
        os.environ |= environment or {}  # what a library reads as the process starts
        self._process.start()
        for name in set(os.environ) - set(before):
            del os.environ[name]
        theirs.close()
        self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the worker ended with code {self._process.exitcode}: out of memory?") from None
        if kind == "absent":
            raise PeerAbsentError(value)
        if kind == "failed":
            raise RuntimeError(f"in the worker:\n{value}")
        return value

    def __getattr__(self, command: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._connection.send((command, arguments))
            return self._answer()

        return call

    def close(self) -> None:
        """End the process."""
        self._connection.send(None)
        self._process.join()
