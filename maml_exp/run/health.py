"""The health of a training: explosions that a mean over iterations hides, said soon after they happen and at the end.

Three things go wrong without a number becoming non-finite:

one explosion      a meta-gradient whose norm is `EXPLODED` times the running median: the inner loop exploded on a
                   task. Adam divides by the root of its second moment, in which the square of that norm stays: at
                   1,000 times the usual norm steps fall to a thirtieth, for some 7,000 iterations
the inner loop     adapting makes the loss `MUCH_WORSE` times what it was before, in most iterations
the outer loop     the loss before adaptation is `MUCH_WORSE` times what it was at the first iteration, in most

The norms are those before clipping: what is clipped is counted, and not complained about.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Any

from maml_exp.core.optimizers.base import AUTO
from maml_exp.core.problem import AUTO_CLIP_NORM, Problem
from maml_exp.core.training import StepMetrics

WINDOW, FEWEST = 101, 20  # norms in the running median, and how many there must be before anything is compared
EXPLODED = 1000.0
BLOCK, MUCH_WORSE = 100, 10.0  # iterations of which most must be much worse, and by how much


@dataclass(frozen=True)
class Explosion:
    """One meta-gradient beyond all others around it."""

    step: int
    norm: float  # before it was clipped
    median: float  # of the norms before it
    loss: float  # the meta-loss

    @property
    def size(self) -> float:
        """How many times the usual norm it was."""
        return self.norm / self.median


@dataclass
class Health:
    """What is remembered from iteration to iteration; plain data, so that a checkpoint can hold it."""

    norms: list[float] = dataclasses.field(default_factory=list)  # the last `WINDOW`, oldest first
    explosions: int = 0
    worst: Explosion | None = None
    first_support_loss: float | None = None
    iterations: int = 0  # in this block
    worse_inside: int = 0  # of these
    worse_outside: int = 0
    inner_loop: int | None = None  # the iteration at which it was found to explode
    outer_loop: int | None = None


class Watch:
    """Watches a training, iteration by iteration; pure Python, a few microseconds each.

    Args:
        problem: what is trained.
        remembered: what `state` gave, to go on from.
    """

    def __init__(self, problem: Problem, remembered: dict[str, Any] | None = None):
        known = dict(remembered or {})
        if known.get("worst") is not None:
            known["worst"] = Explosion(**known["worst"])
        self._problem, self._limit = problem, problem.clip_norm
        self._health = Health(**known)
        self._norms: deque[float] = deque(self._health.norms, maxlen=WINDOW)
        self._sorted = sorted(self._norms)
        # without targets in support sets their loss is no error of the task's
        self._losses_are_alike = getattr(problem.task, "support_targets", None) != "none"

    def state(self) -> dict[str, Any]:
        """All that it remembers, as plain data."""
        return dataclasses.asdict(dataclasses.replace(self._health, norms=list(self._norms)))

    @property
    def explosions(self) -> int:
        """How many meta-gradients exploded so far."""
        return self._health.explosions

    def add(self, step: int, values: StepMetrics) -> list[str]:
        """Take note of an iteration; returns lines that should be said at once, most often none."""
        said: list[str] = []
        norm, ordered = values.gradient_norm, self._sorted
        if len(ordered) >= FEWEST:
            median = ordered[len(ordered) // 2]
            if norm > EXPLODED * median > 0:
                said += self._exploded(Explosion(step, norm, median, values.loss))
        if math.isfinite(norm):
            if len(ordered) == WINDOW:
                del ordered[bisect_left(ordered, self._norms[0])]
            self._norms.append(norm)
            insort(ordered, norm)
        self._compare_losses(values)
        if self._health.iterations == BLOCK:
            said += self._end_block(step)
        return said

    def _exploded(self, explosion: Explosion) -> list[str]:
        """Count it; worth a line if it is the first, or ten times as large as any before, and not tamed."""
        health = self._health
        health.explosions += 1
        before = health.worst.size if health.worst is not None else 0.0
        if explosion.size > before:
            health.worst = explosion
        worth_it = explosion.size > 10 * before and not self._tamed
        return [self._about_explosions(health.worst or explosion)] if worth_it else []

    def _compare_losses(self, values: StepMetrics) -> None:
        health = self._health
        before = values.support_loss
        if health.first_support_loss is None:
            health.first_support_loss = before
        health.iterations += 1
        if before > MUCH_WORSE * health.first_support_loss:
            health.worse_outside += 1
        elif values.loss > MUCH_WORSE * before and self._losses_are_alike:
            health.worse_inside += 1

    def _end_block(self, step: int) -> list[str]:
        """Judge a block of iterations; worth a line when it is the first of its kind."""
        health, said = self._health, []
        most = health.iterations / 2
        if health.worse_outside > most and health.outer_loop is None:
            health.outer_loop = step
            said.append(self._about_outer_loop())
        if health.worse_inside > most and health.inner_loop is None:
            health.inner_loop = step
            said.append(self._about_inner_loop())
        health.iterations = health.worse_inside = health.worse_outside = 0
        return said

    def end(self, step: int) -> None:
        """Judge what is left of a block after the last iteration, of which there may be few."""
        if self._health.iterations:
            self._end_block(step)

    def notes(self) -> list[str]:
        """What happened and what to try, a line each; none for a healthy training."""
        health, lines = self._health, []
        if health.outer_loop is not None:
            lines.append(self._about_outer_loop())
        if health.inner_loop is not None:
            lines.append(self._about_inner_loop())
        if health.worst is not None and not self._tamed:
            lines.append(self._about_explosions(health.worst))
        return lines

    def summary(self) -> dict[str, Any]:
        """The numbers behind the notes, for summary.json."""
        health = self._health
        worst = None if health.worst is None else dataclasses.asdict(health.worst)
        loops = {"inner_loop_exploded_at": health.inner_loop, "outer_loop_exploded_at": health.outer_loop}
        return {"explosions": health.explosions, "worst": worst, **loops}

    @property
    def _tamed(self) -> bool:
        """Whether clipping kept the worst explosion from the optimizer."""
        worst = self._health.worst
        return self._limit is not None and (worst is None or self._limit <= EXPLODED * worst.median)

    def _about_explosions(self, worst: Explosion) -> str:
        count = self._health.explosions
        many = "a meta-gradient" if count == 1 else f"{count} meta-gradients"
        largest = "at" if count == 1 else "the largest at"
        found = (
            f"{many} exploded, {largest} iteration {worst.step}: norm {worst.norm:.2g} where the median before it is "
            f"{worst.median:.2g}, meta-loss {worst.loss:.2g}"
        )
        kept = "; adam keeps its square, and makes tiny steps for thousands of iterations"
        return f"{found}{kept if self._problem.optimizer.name == 'adam' else ''}; {advice(self._problem)}"

    def _about_inner_loop(self) -> str:
        inner = self._problem.inner
        smaller = f"a smaller inner.lr (now {inner.lr:g})"
        smaller += f" or fewer inner.steps (now {inner.steps})" if inner.steps > 1 else ""
        if self._problem.algorithm.at_once:
            smaller = f"a smaller optimizer.lr (now {self._problem.optimizer.lr:g})"
        return (
            f"the inner loop exploded: in most of {_block_up_to(self._health.inner_loop)}, adapting "
            f"made the loss more than {MUCH_WORSE:g} times what it was before; try {smaller}"
        )

    def _about_outer_loop(self) -> str:
        return (
            f"the outer loop exploded: in most of {_block_up_to(self._health.outer_loop)}, the loss "
            f"before adaptation was more than {MUCH_WORSE:g} times that of the first iteration; try a smaller "
            f"optimizer.lr (now {self._problem.optimizer.lr:g})"
        )


def _block_up_to(step: int | None) -> str:
    """The iterations that were judged together, in words."""
    assert step is not None  # where one is found
    return f"the {step % BLOCK or BLOCK} iterations up to {step}"


def advice(problem: Problem, step: int | None = None) -> str:
    """What to try where a training explodes or diverges; at the first `step` the outer loop has not moved yet."""
    inner, steps = f"inner.lr (now {problem.inner.lr:g})", problem.inner.steps
    if step == 1 and steps and not problem.algorithm.at_once:
        return f"try a smaller {inner}" + (f" or fewer inner.steps (now {steps})" if steps > 1 else "")
    rates = f"optimizer.lr (now {problem.optimizer.lr:g})"
    rates += "" if problem.algorithm.at_once or not steps else f" or {inner}"
    if problem.clip_norm is not None:
        return f"try a smaller {rates}"
    clip = f"optimizer.clip_norm={AUTO_CLIP_NORM:g}"
    if problem.inner.steps > 1:
        clip += f" (or {AUTO})"
    return f"try {clip}, or a smaller {rates}"
