"""The settings of learning by gradient descent: one axis each, and which of them make no sense together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import Check, SettingError, setting
from maml_exp.core.inner.structure import Structure
from maml_exp.core.inner.tails import loss_network
from maml_exp.core.learners.base import LearnerSettings
from maml_exp.core.network import Network
from maml_exp.core.problem import Problem
from maml_exp.core.tasks.base import TaskFamily

OUTER = ("exact", "first_order", "reptile", "joint")
MOVES = ("all", "head", "body", "context")
RATES = ("one", "layer", "layer_and_step", "weight")
STORES = ("log", "raw")
STEP_LOSSES = ("last", "all", "annealed")
STARTS = ("zero", "learned")
SUPPORT_LOSSES = ("task", "head", "learned")


def _is_choice_of_layers(value: Any) -> bool:
    if isinstance(value, str):
        return value in MOVES
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    return is_list and all(checks.is_integer(layer, 0, 100) for layer in value) and len(set(value)) == len(value)


def _is_start(value: Any) -> bool:
    return value is None or (checks.interval().accepts(value) and value[0] > 0)


CHOICE_OF_LAYERS = Check(
    _is_choice_of_layers, lambda: f"one of {', '.join(MOVES)}, or a list of different layers from 0, as in [0,2]"
)
START = Check(_is_start, lambda: "[low, high], two finite numbers with 0 < low <= high, or null")
LOSS_WIDTHS = Check(
    lambda value: isinstance(value, (list, tuple)) and all(checks.is_integer(width, 1, 10**5) for width in value),
    lambda: "a list of widths, each from 1 to 100000",
)


@dataclass
class Settings(LearnerSettings):
    """The axes of learning by gradient descent on the support loss."""

    learner: str = "gradient"
    outer: str = setting(
        "exact",
        "meta-gradient: pulled back through the steps, not pulled back, minus where they lead, or pooled",
        checks.one_of(lambda: OUTER),
    )
    first_order_until: float = setting(
        0.0, "share of training in which an exact outer gradient is first order", checks.up_to(1)
    )
    moves: Any = setting("all", "what inner steps move; a context moves in any case", CHOICE_OF_LAYERS)
    rates: str = setting("one", "which weights and steps share an inner rate", checks.one_of(lambda: RATES))
    learn_rates: bool = setting(False, "the outer loop learns the inner rates", checks.boolean())
    rates_store: str = setting(
        "log", "what the outer loop changes: log(rate / inner.lr), or the rate", checks.one_of(lambda: STORES)
    )
    rates_start: list[float] | None = setting(None, "range of the first learned rates; null: inner.lr", START)
    rates_lr: float | None = setting(
        None, "rate of the outer loop for learned inner rates; null: optimizer.lr", checks.optional(checks.number())
    )
    proximal: float = setting(0.0, "lambda, the pull of inner steps back to where they started", checks.not_negative())
    step_losses: str = setting(
        "last", "query losses behind which inner steps count", checks.one_of(lambda: STEP_LOSSES)
    )
    step_losses_until: float = setting(0.1, "share of training over which annealed step losses go", checks.up_to(1))
    minibatch: int | None = setting(
        None, "support points of an inner step, drawn anew; null: all", checks.optional(checks.integer(1, 10**6))
    )
    context: int = setting(0, "numbers beside x in the first layer that inner steps move", checks.integer(0, 10**4))
    context_start: str = setting("zero", "where they start", checks.one_of(lambda: STARTS))
    support_loss: str = setting(
        "task",
        "what inner steps descend: the task's loss, that of a head of its own, or a learned loss",
        checks.one_of(lambda: SUPPORT_LOSSES),
    )
    loss_hidden: list[int] = setting([40], "widths of a learned loss", LOSS_WIDTHS)
    loss_sees_targets: bool = setting(True, "a learned loss sees the support targets", checks.boolean())

    def __post_init__(self) -> None:
        super().__post_init__()
        for rows in (self._refused_by_outer(), self._refused_by_rates(), self._refused_by_the_rest()):
            for is_refused, first, second, why in rows:
                if is_refused:
                    _refuse(self, first, second, why)

    @property
    def rates_in_lockstep(self) -> tuple[str, ...] | None:
        """Both; steps that fade do so by one rate. Members of a population are perturbed run by run."""
        if self.evolution.population:
            return None
        return ("optimizer.lr",) if self.proximal else ("optimizer.lr", "inner.lr")

    def steps_to_judge(self, trained: int) -> int:
        """As any learner's, but learned rates are not taken beyond the steps that they were learned for."""
        return trained if self.learn_rates else super().steps_to_judge(trained)

    def _refused_by_outer(self) -> list[tuple[bool, str, str, str]]:
        """(whether it is so, two keys that do not go together, why)."""
        joint, reptile = self.outer == "joint", self.outer == "reptile"
        no_steps = "joint training makes no inner step"
        theta_alone = "only the network's own weights follow the way that inner steps take"
        unpulled = "without a second derivative it gets no gradient"
        return [
            (joint and self.rates != "one", "outer", "rates", no_steps),
            (joint and self.learn_rates, "outer", "learn_rates", no_steps),
            (joint and self.proximal > 0, "outer", "proximal", no_steps),
            (joint and self.minibatch is not None, "outer", "minibatch", no_steps),
            (joint and self.context > 0, "outer", "context", no_steps),
            (reptile and self.learn_rates, "outer", "learn_rates", theta_alone),
            (reptile and self.context_start == "learned", "outer", "context_start", theta_alone),
            (reptile and self.moves != "all", "outer", "moves", "a layer that does not move would never be learned"),
            (
                self.outer in ("joint", "reptile") and self.step_losses != "last",
                "outer",
                "step_losses",
                "no query loss",
            ),
            (self.outer != "exact" and self.support_loss != "task", "outer", "support_loss", unpulled),
            (self.outer != "exact" and self.first_order_until > 0, "outer", "first_order_until", "it is never exact"),
            (
                self.first_order_until == 1 and self.support_loss != "task",
                "first_order_until",
                "support_loss",
                unpulled,
            ),
        ]

    def _refused_by_rates(self) -> list[tuple[bool, str, str, str]]:
        fixed = not self.learn_rates
        return [
            (self.rates != "one" and fixed, "rates", "learn_rates", "rates that are not learned are all inner.lr"),
            (self.rates_start is not None and fixed, "rates_start", "learn_rates", "there is nothing to start"),
            (self.rates_lr is not None and fixed, "rates_lr", "learn_rates", "there is nothing to learn"),
            (self.learn_rates and self.proximal > 0, "learn_rates", "proximal", "a rate would act on several steps"),
        ]

    def _refused_by_the_rest(self) -> list[tuple[bool, str, str, str]]:
        no_context = self.context == 0
        return [
            (self.moves == "context" and no_context, "moves", "context", "nothing would move"),
            (self.context_start == "learned" and no_context, "context_start", "context", "there is no context"),
            (
                self.moves == "head" and self.support_loss == "head" and no_context,
                "moves",
                "support_loss",
                "what moves would not be in what is judged",
            ),
        ]


def _refuse(settings: Settings, first: str, second: str, why: str) -> None:
    shown = " with ".join(f"algorithm.{key}={getattr(settings, key)!r}" for key in (first, second))
    raise SettingError(f"{shown} is not usable: {why}")


def check(problem: Problem) -> None:
    """Raise `SettingError` where the settings do not suit the rest of a problem; it names both keys."""
    settings, inner, layers = problem.algorithm, problem.inner, len(problem.network.shapes)
    steps_needed = {
        "outer": settings.outer == "reptile",
        "context": settings.context > 0,
        "learn_rates": settings.learn_rates,
        "minibatch": settings.minibatch is not None,
        "support_loss": settings.support_loss != "task",
    }
    for key, is_needed in steps_needed.items():
        if is_needed and inner.steps == 0:
            shown = f"algorithm.{key}={getattr(settings, key)!r} with inner.steps=0"
            raise SettingError(f"{shown} is not usable: it needs an inner step")
    _check_layers(settings, layers)
    if settings.minibatch is not None:
        pooled = settings.outer == "reptile"
        family = problem.family
        most = family.support_points(int(np.min(problem.task.shots))) + family.query * pooled
        keys = "task.shots + task.query" if pooled else "task.shots"
        if settings.minibatch > most:
            shown = f"algorithm.minibatch={settings.minibatch} with {keys}={most}"
            raise SettingError(f"{shown} is not usable: a step has no more points than its task")


def _check_layers(settings: Settings, layers: int) -> None:
    moves = settings.moves
    if isinstance(moves, str):
        return
    if max(moves) >= layers:
        shown = f"algorithm.moves={list(moves)} with {layers} layers by model.hidden"
        raise SettingError(f"{shown} is not usable: layers are counted from 0")
    if list(moves) == [layers - 1] and settings.support_loss == "head" and settings.context == 0:
        _refuse(settings, "moves", "support_loss", "what moves would not be in what is judged")


def moving_layers(moves: Any, layers: int) -> tuple[bool, ...]:
    """Of every layer, whether inner steps move it."""
    last = layers - 1
    named = {
        "all": range(layers),
        "head": [last],
        "body": range(last),
        "context": [],
    }
    chosen = named[moves] if isinstance(moves, str) else moves
    return tuple(layer in chosen for layer in range(layers))


def query_weights(settings: Settings, steps: int, progress: float) -> tuple[float, ...]:
    """omega_0 .. omega_S: weights of the query losses at theta_0 .. theta_S; they sum to 1.

    Annealed as in MAML++ (Antoniou et al. 2019, section 4; their code): at first 1 / S each but for theta_0, the
    others fall by 1 / (S E) an epoch to no less than 0.03 / S, the last takes the rest, and from epoch E on there is
    the last alone. An epoch is a hundredth of training, E = 100 step_losses_until.
    """
    last = (*[0.0] * steps, 1.0)
    if settings.step_losses == "last" or steps < 2:
        return last
    share = 1 / steps
    if settings.step_losses == "all":
        return (0.0, *[share] * steps)
    epoch, end = int(100 * progress), 100 * settings.step_losses_until
    if epoch >= end:
        return last
    other = max(share - epoch * share / end, 0.03 * share)
    return (0.0, *[other] * (steps - 1), 1 - (steps - 1) * other)


def structure_of(
    settings: Settings,
    family: TaskFamily,
    network: Network,
    moving: tuple[bool, ...],
    rates: type,
    pairs: bool | None,
) -> Structure:
    """What the settings make of an inner loop.

    Args:
        network: its inputs are with the context.
        moving: of every layer, whether inner steps move it.
        rates: the class of its steps' rates.
        pairs: force one representation of the adapted weights.
    """
    loss = None
    if settings.support_loss == "learned":
        loss = loss_network(family.inputs, family.outputs, settings.loss_hidden, settings.loss_sees_targets)
    return Structure(
        network=network,
        loss=family.loss,
        moves=moving,
        rates=rates,
        context=settings.context,
        two_heads=settings.support_loss == "head",
        loss_network=loss,
        loss_sees_targets=settings.loss_sees_targets,
        pairs=pairs,
    )
