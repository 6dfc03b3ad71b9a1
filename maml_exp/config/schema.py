"""The whole configuration of a run as plain dataclasses, and the one door by which configurations come in.

Hydra composes a configuration from conf/ and the command line, a saved one is read from its file, a script gives a
mapping: all pass through `from_dict`, which looks up the dataclasses of what was chosen and checks every value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from maml_exp.config.choices import CHOICES, settings_class
from maml_exp.config.messages import explain
from maml_exp.config.plain import as_plain, leaves
from maml_exp.core import checks
from maml_exp.core.baselines import BASELINES
from maml_exp.core.checks import Check, SettingError, setting
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.network import ModelSettings
from maml_exp.core.problem import Problem
from maml_exp.data import sources

SCHEMA = 6  # what a saved configuration of today says; see migrations for the older ones
DTYPES = ("float32", "float64")
OBJECTIVES = ("mean", "median", "p95")
OFTEN = checks.integer(0, 10**9)


@dataclass
class TrainingSettings(checks.Settings):
    """The outer loop, and how often what is written. Intervals count iterations."""

    section: ClassVar[str] = "training"
    iterations: int = setting(10_000, "iterations of the outer loop", checks.integer(1, 10**9))
    meta_batch: int = setting(25, "T, tasks an iteration", checks.integer(1, 10**9))
    log_every: int = setting(100, "iterations between rows of scalars", checks.integer(1, 10**9))
    evaluate_every: int = setting(2500, "iterations between small evaluations; 0: never", OFTEN)
    checkpoint_every: int = setting(2500, "iterations between checkpoints; 0: only the one at the end", OFTEN)
    keep_checkpoints: int = setting(3, "how many checkpoints are kept, the newest ones; 0: all", OFTEN)
    log_curvature: bool = setting(False, "log the share of the meta-gradient that is second order", checks.boolean())
    keep_best: bool = setting(
        False, "keep, judge and load the checkpoint with the best objective on validation tasks", checks.boolean()
    )
    patience: int = setting(
        0, "stop after so many evaluations without a better objective on validation tasks; 0: never", OFTEN
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value in (("keep_best", self.keep_best), ("patience", self.patience)):
            off = "off where training.evaluate_every=0: there is nothing to choose by"
            checks.require(not value or self.evaluate_every > 0, f"training.{key}", value, off)

    @property
    def validates(self) -> bool:
        """Whether the objective is measured on validation tasks while training."""
        return self.keep_best or self.patience > 0


def is_logged(training: TrainingSettings, step: int) -> bool:
    """Whether a step has a row in metrics.csv: where scalars or a small evaluation are due."""
    last = training.iterations  # asked at every iteration
    return every(training.log_every, step, last) or every(training.evaluate_every, step, last)


def every(interval: int, step: int, last: int) -> bool:
    """Whether something done each `interval` steps (0: never), and at the last one, is due."""
    return bool(interval) and (step % interval == 0 or step == last)


def _are_rates(value: Any) -> bool:
    rates = value if isinstance(value, list) else [value]
    return value is None or (bool(rates) and all(checks.is_number(rate, above=0) for rate in rates))


BASELINE_NAMES = Check(
    lambda value: value is None or (isinstance(value, list) and all(name in BASELINES.names() for name in value)),
    lambda: f"null, or a list of {', '.join(BASELINES.names())}",
)
RATES = Check(_are_rates, lambda: "a finite number > 0, a list of such, or null")
SEED = checks.integer(0, 2**63 - 1)


@dataclass
class EvaluationSettings(checks.Settings):
    """How a run's weights are judged: on fixed tasks, the same for every run with the same seed here."""

    section: ClassVar[str] = "evaluation"
    seed: int = setting(1000, "of the tasks that are reported", SEED)
    tasks: int = setting(600, "number of these tasks", checks.integer(1, 10**7))
    tasks_in_training: int = setting(100, "for the small evaluations while training", checks.integer(1, 10**7))
    shots: Any = setting([5, 10, 20], "support points to adapt on", checks.integers(1, 10**4))
    steps: int | None = setting(
        None,
        "adaptation steps; null: 10 or inner.steps, with learned rates inner.steps, 1 for what adapts at once",
        checks.optional(checks.integer(0, 1000)),
    )
    lr: Any = setting(None, "rate of these steps; null: inner.lr; of a list, the best on validation tasks", RATES)
    validation_seed: int = setting(2000, "of the tasks that choose the rate and the checkpoint", SEED)
    validation_tasks: int = setting(200, "number of these tasks", checks.integer(1, 10**7))
    grid: int = setting(100, "evenly spaced x on which the error is measured", checks.integer(2, 10**5))
    baselines: Any = setting(
        None, "what is judged beside it that needs no meta-learning; null: what is usual for the tasks", BASELINE_NAMES
    )
    plots: bool = setting(True, "draw plots/ at the end", checks.boolean())
    objective: str = setting("mean", "over tasks: the number that sweeps minimise", checks.one_of(lambda: OBJECTIVES))
    objective_shots: int | None = setting(
        None,
        "after adapting to so many points; null: task.shots, or the first of shots that is one of several",
        checks.optional(checks.integer(1, 10**4)),
    )
    objective_steps: int | None = setting(
        None,
        "and after so many gradient steps; null: inner.steps, but from 1 to steps",
        checks.optional(checks.integer(0, 1000)),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.shots, list):
            self.shots = [self.shots]
        key, shots = "evaluation.objective_shots", self.objective_shots
        among = f"one of evaluation.shots, {self.shots}, or null"
        checks.require(shots is None or shots in self.shots, key, shots, among)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.+-][\w .+=,-]{0,99}", value))


NAME = Check(_is_name, lambda: "1 to 100 letters, digits or any of .+=,- and space")


@dataclass
class Config(checks.Settings):
    """Everything that a run's result depends on. What `task`, `optimizer` and `algorithm` hold, they name."""

    schema: int = SCHEMA
    seed: int = setting(0, "everything random but the evaluation tasks", SEED)
    name: str | None = setting(
        None, "in the run's folder name; null: the method and what differs from the default", checks.optional(NAME)
    )
    dtype: str = setting("float32", "of parameters and batches", checks.one_of(lambda: DTYPES))
    threads: int = setting(1, "BLAS threads; one is fastest for small networks", checks.integer(1, 1024))
    model: ModelSettings = field(default_factory=ModelSettings)
    inner: InnerSettings = field(default_factory=InnerSettings)
    task: Any = "???"
    optimizer: Any = "???"
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    algorithm: Any = "???"

    # no settings. A saved configuration may be a stranger's: the file of tasks that it names is opened only if
    # whoever works with it now has typed it
    data_file: ClassVar[str | None] = None
    data_facts: ClassVar[dict[str, Any] | None] = None  # what a run remembers of its tasks' data

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.require(self.schema == SCHEMA, "schema", self.schema, f"{SCHEMA}, this version's own")
        checks.optional(NAME).require("algorithm.preset", getattr(self.algorithm, "preset", None))
        self._require_objective_shots()
        if self.evaluation.objective_steps is not None:
            steps = checks.integer(0, self.evaluation_steps)
            steps.require("evaluation.objective_steps", self.evaluation.objective_steps)
        if self.adapts_at_once and self.evaluation.lr is not None:
            shown = f"evaluation.lr={self.evaluation.lr} with algorithm.learner={self.algorithm.learner}"
            raise SettingError(f"{shown} is not usable: it adapts at once, without a rate; leave it null")

    def require_other_tasks_to_choose_by(self) -> None:
        """Of what is typed: where validation tasks are drawn and choose something, they are not those reported."""
        chooses = self.training.validates or len(self.evaluation_rates) > 1
        drawn, seed = getattr(self.task, "reader", None) is None, self.evaluation.validation_seed
        others = f"another one than evaluation.seed, {seed}: what is chosen is not judged by what chose it"
        checks.require(
            not (chooses and drawn and seed == self.evaluation.seed), "evaluation.validation_seed", seed, others
        )

    def _require_objective_shots(self) -> None:
        """Where several numbers of shots are trained with and none of them is judged, which one counts must be said."""
        trained, judged = getattr(self.task, "shots", None), self.evaluation
        if isinstance(trained, list) and judged.objective_shots is None and not set(trained) & set(judged.shots):
            among = f"one of evaluation.shots, {judged.shots}, where none of task.shots, {trained}, is among them"
            checks.require(False, "evaluation.objective_shots", None, among)

    @property
    def problem(self) -> Problem:
        """What the core needs to know; raises `SettingError` for a file of tasks that cannot be used."""
        parts = (self.model, self.algorithm, self.inner, self.task, self.optimizer)
        training = self.training
        sizes = (training.meta_batch, training.iterations, self.dtype)
        return Problem(*parts, *sizes, data=self._data(), curvature=training.log_curvature)

    def _data(self) -> Any:
        """What the family is computed on; of a saved run whose file is not given again, what it remembers of that."""
        if self.task.reader is None:
            return None
        named = getattr(self.task, "file", None)
        if named is None or sources.is_shipped(named):  # it comes with the program
            return sources.load(self.task, named)
        return self.data_facts if self.data_file is None else sources.load(self.task, self.data_file)

    def remember(self, facts: dict[str, Any] | None) -> None:
        """Take along what a run's folder remembers of the data of its tasks."""
        self.__dict__["data_facts"] = facts  # not a field: it is no setting

    def reading(self, file: str | None = None) -> Config:
        """This configuration, whose file of tasks may be opened, since it was typed now; as another one, if given."""
        own = getattr(self.task, "file", None)
        if own is not None:
            named = own if file is None else file
            self.__dict__["data_file"] = named if sources.is_shipped(named) else str(sources.resolved(named))
        return self

    def rate_in_words(self, lr: float) -> str:
        """The rate of gradient steps, in a title; learned rates are as many times inner.lr as `lr` is."""
        if getattr(self.algorithm, "learned_steps", False):
            return f"a learned optimizer, its unit {lr:g}"
        if not getattr(self.algorithm, "learn_rates", False):
            return f"rate {lr:g}"
        factor = lr / self.inner.lr
        return "learned rates" if factor == 1 else f"learned rates times {factor:g}"

    @property
    def adapts_at_once(self) -> bool:
        """Whether the learner adapts in one go, without gradient steps and their rate."""
        return getattr(self.algorithm, "at_once", False)

    @property
    def evaluation_steps(self) -> int:
        """The steps that every evaluation makes."""
        steps = self.evaluation.steps
        return self.algorithm.steps_to_judge(self.inner.steps) if steps is None else steps

    @property
    def evaluation_rates(self) -> list[float]:
        """The rates that the evaluation's gradient steps may have; with several, validation tasks choose."""
        lr = self.evaluation.lr
        if lr is None:
            return [self.inner.lr]
        return list(lr) if isinstance(lr, list) else [lr]

    @property
    def objective_shots(self) -> int:
        """The number of shots that the objective and the printed table are about."""
        trained, judged = self.task.all_shots, self.evaluation.shots
        if self.evaluation.objective_shots is not None:
            return self.evaluation.objective_shots
        return next((k for k in judged if k in trained), judged[0])

    @property
    def objective_steps(self) -> int:
        """The number of steps after which the objective is measured."""
        wanted = self.evaluation.objective_steps
        trained = 1 if self.adapts_at_once else max(self.inner.steps, 1)
        return min(trained, self.evaluation_steps) if wanted is None else wanted

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists."""
        return dataclasses.asdict(self)


@cache
def _structured(kind: type) -> DictConfig:
    """Types and defaults; made once, it takes as long as a merge."""
    return OmegaConf.structured(kind)


def typed(plain: Any) -> DictConfig:
    """Types and defaults of a configuration with these choices; raises `SettingError`."""
    found = _structured(Config).copy()
    for group, choice in CHOICES.items():
        part = plain.get(group) if isinstance(plain, dict) else None
        if not isinstance(part, dict):
            raise SettingError(
                f"{group}={str(part)[:60]!r} is not usable: it must hold settings, as {group}.{choice.key}"
            )
        name = part.get(choice.key)
        found[group] = _structured(settings_class(group, name))
        found[group][choice.key] = name
    return found


def from_dict(plain: Any) -> Config:
    """A `Config` from nested plain dictionaries, checked; raises `SettingError`."""
    schema = typed(plain)
    try:
        return cast(Config, OmegaConf.to_object(OmegaConf.merge(schema, plain)))
    except OmegaConfBaseException as error:
        raise SettingError(explain(error, schema)) from error
    except OverflowError as error:
        large = [key for key, value in leaves(plain) if isinstance(value, int) and value.bit_length() > 1023]
        raise SettingError(f"{', '.join(large[:3])}: an integer beyond every float is not usable") from error
    except (ValueError, TypeError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"not a configuration: {str(error).splitlines()[0]}") from error


def from_omegaconf(composed: DictConfig) -> Config:
    """The configuration that Hydra composed, resolved and checked; raises `SettingError`."""
    try:
        plain = as_plain(composed, resolve=True, complete=True)
    except OmegaConfBaseException as error:
        raise SettingError(explain(error, composed)) from error
    config = from_dict(plain)
    config.require_other_tasks_to_choose_by()
    return config


def check_values(composed: DictConfig, values: Iterable[tuple[str, Any]]) -> None:
    """Require that values suit the types of a composed configuration; raises `SettingError`. Ranges are not checked."""
    changed = composed.copy()
    for key, value in values:
        try:
            OmegaConf.update(changed, key, value)
        except OmegaConfBaseException as error:
            raise SettingError(explain(error, composed)) from error


def to_yaml(config: Config) -> str:
    """YAML that `from_dict` reads back to an equal configuration."""
    return OmegaConf.to_yaml(OmegaConf.create(config.to_dict()))
