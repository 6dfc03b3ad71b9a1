"""Measuring for `scripts/benchmark`: contenders that take turns, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bench_peers import PEERS, Case, initial_theta
from bench_peers.worker import MIB, Elapsed, PeerAbsentError, Worker

from maml_exp.core.training import make_learner

TOLERANCE = {"jax-methods": 1e-5}  # largest relative difference between ours and a peer's float32 meta-gradient
USUAL_TOLERANCE = 1e-3
MEMORY_LIMIT = 8e9  # bytes; what would need more is not run
COPIES = 7  # (H, H) matrices a task and inner step that a framework holds at once; measured: JAX 4, torch 6.5
FAR_BEHIND = 1.6
# glibc that keeps freed memory and never maps single arrays: PyTorch is up to 1.7 times as fast with it,
# the others gain nothing. For times only; peak memory is taken without.
ENVIRONMENT = {"torch": {"MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_MMAP_MAX_": "0"}}


@dataclass
class Row:
    """One contender in one case."""

    study: str
    case: Case
    peer: str
    variant: str
    iterations: int = 0  # a turn
    wall_ms: np.ndarray | None = None  # (rounds,), an iteration
    cpu_ms: np.ndarray | None = None  # the same in processor time
    clock: str = "wall"  # which of the two `ms` and `spread` report
    gradient_error: float | None = None  # relative to ours
    peak_mib: float | None = None

    @property
    def _times(self) -> np.ndarray:
        return self.wall_ms if self.clock == "wall" else self.cpu_ms

    def divide(self, runs: int) -> None:
        """Say the times of one of so many runs that were made together."""
        self.wall_ms, self.cpu_ms = self.wall_ms / runs, self.cpu_ms / runs

    @property
    def ms(self) -> float:
        """Median time of an iteration, milliseconds."""
        return float(np.median(self._times))

    @property
    def spread(self) -> tuple[float, float]:
        """10th and 90th percentile over rounds, milliseconds."""
        low, high = np.percentile(self._times, [10, 90])
        return float(low), float(high)


@dataclass
class Contender:
    """A variant of a peer, ready to run a case."""

    peer: str
    worker: Worker
    case: Case
    variant: str
    seconds: float = np.inf  # an iteration, roughly: the least of three short runs

    def __post_init__(self):
        self.worker.make(self.case, self.variant)
        self.run(self.case.chunk)  # compiles
        self.seconds = min(self.run(self.case.chunk).cpu for _ in range(3)) / self.case.chunk

    def run(self, iterations: int) -> Elapsed:
        """Train."""
        return self.worker.run(self.variant, iterations)


def start_workers(peers: Sequence[str]) -> dict[str, Worker]:
    """A process for every one of these whose package is installed; says which is not."""
    workers = {}
    for peer in peers:
        try:
            workers[peer] = Worker(peer, ENVIRONMENT.get(peer, {}))
        except PeerAbsentError as error:
            print(f"{peer}: left out, {error}. Install it with: pip install 'maml-exp[bench]'")
    return workers


def framework_bytes(case: Case) -> float:
    """A rough estimate of what autodiff holds: every task's own weights, several times over."""
    return COPIES * 4.0 * case.steps * case.tasks * (case.layers - 1) * case.width**2


def allowed(peer: str, case: Case) -> bool:
    """Whether a peer can run a case at all, and within the memory limit; says so if not."""
    if peer == "floor":
        return case.products > 0
    if peer in ("jax", "torch") and framework_bytes(case) > MEMORY_LIMIT:
        estimate = framework_bytes(case) / 1e9
        print(f"  {peer}: left out at H={case.width}, T={case.tasks}, it would need about {estimate:.0f} GB")
        return False
    return True


class Bench:
    """Runs cases on workers; collects rows."""

    def __init__(
        self, workers: dict[str, Worker], rounds: int, seconds: float, clock: str, formulas: Sequence[str] = ()
    ):
        self.workers, self.rounds, self.seconds, self.clock = workers, rounds, seconds, clock
        self.formulas = formulas  # ways to differentiate that a framework may choose from; none: all
        self.rows: list[Row] = []

    def compare(self, study: str, case: Case, peers: Sequence[str] = tuple(PEERS), trained: int = 0) -> list[Row]:
        """Gradients checked, then times in alternation: one row for every way of looping of every peer.

        With `trained`, all train so many iterations (rounded up to chunks) before times are taken.
        """
        contenders = [
            contender
            for peer in peers
            if peer in self.workers and allowed(peer, case)
            for contender in self._best(peer, case)
        ]
        errors = gradient_errors(contenders)
        for contender in contenders if trained else ():
            contender.run(-(-trained // case.chunk) * case.chunk)
        rows = self.alternate(study, contenders)
        for row, error in zip(rows, errors, strict=True):
            row.gradient_error = error
        for worker in {id(c.worker): c.worker for c in contenders}.values():
            worker.drop()
        return rows

    def alternate(self, study: str, contenders: Sequence[Contender]) -> list[Row]:
        """Every contender's turn in every round, beginning with another one each round."""
        # the chunks that fill a turn, but at least one
        turns = [c.case.chunk * max(1, round(self.seconds / c.seconds / c.case.chunk)) for c in contenders]
        times = np.empty((len(contenders), self.rounds, 2))
        for round_ in range(self.rounds):
            for index in np.roll(np.arange(len(contenders)), -round_):
                times[index, round_] = contenders[index].run(turns[index])
        times *= 1e3 / np.array(turns)[:, None, None]
        rows = [
            Row(study, c.case, c.peer, c.variant, turn, wall_ms=t[:, 0], cpu_ms=t[:, 1], clock=self.clock)
            for c, turn, t in zip(contenders, turns, times, strict=True)
        ]
        self.rows += rows
        return rows

    def _best(self, peer: str, case: Case) -> list[Contender]:
        """For every way to loop, the way to differentiate that is fastest in a short trial."""
        worker, best, seconds = self.workers[peer], {}, {}
        for variant in worker.variants():
            loop, formula = variant.split("/")
            if loop == "scan" and not case.scans:
                continue
            if self.formulas and formula not in self.formulas and peer in ("jax", "torch"):
                continue
            if seconds.get(formula, 0) > FAR_BEHIND * min(seconds.values(), default=0):
                continue  # far behind in one loop already
            slower = contender = Contender(peer, worker, case, variant)
            seconds.setdefault(formula, contender.seconds)
            if loop not in best or contender.seconds < best[loop].seconds:
                slower, best[loop] = best.get(loop), contender
            if slower:
                worker.drop([slower.variant])
        return list(best.values())

    def peak(self, study: str, case: Case, peer: str, variant: str) -> Row | None:
        """Peak memory of training in a fresh process, above that of a tiny case; None if left out."""
        if peer not in self.workers or not allowed(peer, case):
            return None
        worker = Worker(peer)
        row = Row(study, case, peer, variant, iterations=2, peak_mib=worker.peak(case, variant) / MIB)
        worker.close()
        self.rows.append(row)
        return row

    def add_peaks(self, rows: Sequence[Row]) -> None:
        """Fill in the peak memory of rows just timed; of JAX only where it loops by single steps."""
        for row in rows:
            if row.peer != "floor" and not row.variant.startswith("scan"):
                worker = Worker(row.peer)
                row.peak_mib = worker.peak(row.case, row.variant) / MIB
                worker.close()


def gradient_errors(contenders: Sequence[Contender]) -> list[float | None]:
    """Difference of every contender's meta-gradient from ours, relative to each part, the largest of all parts.

    Stops the program where it is large.
    """
    exact, errors, known = None, [], {}
    for c in contenders:
        key = c.peer, c.variant.split("/")[1]  # another loop around the same formula is the same gradient
        if key not in known:
            known[key] = c.worker.gradient(c.case, c.variant, initial_theta(c.case))
        gradient = known[key]
        exact = gradient if exact is None else exact
        errors.append(None if gradient is None else relative_difference(c.case, gradient, exact))
        if errors[-1] is not None and not errors[-1] <= TOLERANCE.get(c.peer, USUAL_TOLERANCE):
            raise SystemExit(f"{c.peer} {c.variant} computes another meta-gradient ({errors[-1]:.1e}) in {c.case}")
    return errors


def relative_difference(case: Case, found: np.ndarray, exact: np.ndarray) -> float:
    """|found - exact| / |exact| of the part of the meta-parameters where it is largest."""
    layout = make_learner(case.problem).layout
    differences, parts = layout.parts(found - exact), layout.parts(exact)
    return max(float(np.linalg.norm(differences[name]) / np.linalg.norm(part)) for name, part in parts.items())


def losses_after(workers: dict[str, Worker], case: Case, iterations: int) -> dict[str, float]:
    """The meta-loss on the same 1000 tasks after training with each peer's first variant."""
    many = Case(width=case.width, steps=case.steps, shots=case.shots, tasks=1000)
    judge, rng = make_learner(many.problem), np.random.default_rng(0)
    batch = many.family.sample(rng, many.tasks, "float32")

    def loss(theta: np.ndarray) -> float:
        return judge.meta_gradient(theta, batch, rng, 0.0).loss

    losses = {"untrained": loss(initial_theta(case))}
    for peer, worker in workers.items():
        if peer != "floor":
            for variant in [v for v in worker.variants() if v.endswith(("by hand", "reverse", "pairs", "autograd"))]:
                worker.make(case, variant)
                worker.run(variant, iterations)
                losses[f"{peer} {variant.split('/')[0]}"] = loss(worker.theta(variant))
            worker.drop()
    return losses
