"""The whole configuration of a run as plain dataclasses, and the only module that knows OmegaConf's.

Hydra composes a configuration from conf/ and the command line; `from_omegaconf` checks it against the
schema and turns it into a `Config`. A saved configuration, which may be a stranger's, comes in through
`load_saved`: data only, nothing in it is interpolated, instantiated or resolved.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from maml_exp.core import checks as need
from maml_exp.core.checks import SettingError
from maml_exp.core.settings import (
    AlgorithmSettings,
    InnerSettings,
    ModelSettings,
    OptimizerSettings,
    TaskSettings,
)
from maml_exp.core.training import Problem

DTYPES = ("float32", "float64")
OBJECTIVES = ("mean", "median", "p95")


@dataclass
class TrainingSettings:
    """The outer loop, and how often what is written. Intervals count iterations; 0 means never."""

    iterations: int = 10_000
    meta_batch: int = 25  # T, tasks an iteration
    log_every: int = 100  # a row of scalars
    evaluate_every: int = 2500  # a small evaluation while training
    checkpoint_every: int = 2500  # there is always one at the end
    keep_checkpoints: int = 3  # the newest ones; 0 keeps all
    log_curvature: bool = False  # log the share of the meta-gradient that is second order

    def __post_init__(self):
        for key in ("iterations", "meta_batch", "log_every"):
            need.require_integer(f"training.{key}", getattr(self, key), 1, 10**9)
        for key in ("evaluate_every", "checkpoint_every", "keep_checkpoints"):
            need.require_integer(f"training.{key}", getattr(self, key), 0, 10**9)


def is_logged(training: TrainingSettings, step: int) -> bool:
    """Whether a step has a row in metrics.csv: where scalars or a small evaluation are due."""
    return any(every(interval, step, training.iterations) for interval in (training.log_every, training.evaluate_every))


def every(interval: int, step: int, last: int) -> bool:
    """Whether something done each `interval` steps (0: never), and at the last one, is due."""
    return bool(interval) and (step % interval == 0 or step == last)


@dataclass
class EvaluationSettings:
    """How a run's weights are judged: on fixed tasks, the same for every run with the same seed here."""

    seed: int = 1000
    tasks: int = 600
    tasks_in_training: int = 100  # for the small evaluations while training
    shots: Any = field(default_factory=lambda: [5, 10, 20])  # support points to adapt on; one number or a list
    steps: int = 10  # gradient steps
    lr: Any = None  # rate of these steps; null: inner.lr; of a list, the best on validation tasks
    validation_seed: int = 2000  # of the tasks that choose it
    validation_tasks: int = 200
    grid: int = 100  # evenly spaced x on which the error is measured
    plots: bool = True  # draw plots/ at the end
    objective: str = "mean"  # of the errors over tasks: the number that sweeps minimise
    objective_shots: int | None = None  # after adapting to so many points; null: task.shots if evaluated
    objective_steps: int | None = None  # with so many gradient steps; null: inner.steps, from 1 to steps

    def __post_init__(self):
        need.require_integer("evaluation.seed", self.seed, 0, 2**63 - 1)
        need.require_integer("evaluation.tasks", self.tasks, 1, 10**7)
        need.require_integer("evaluation.tasks_in_training", self.tasks_in_training, 1, 10**7)
        if isinstance(self.shots, int):
            self.shots = [self.shots]
        ok = isinstance(self.shots, list) and len(self.shots) >= 1
        ok = ok and all(need.is_integer(k, 1, 10**4) for k in self.shots) and len(set(self.shots)) == len(self.shots)
        allowed = "a list of different integers from 1 to 10000, as in [5,10,20]"
        need.require(ok, "evaluation.shots", self.shots, allowed)
        need.require_integer("evaluation.steps", self.steps, 0, 1000)
        need.require_integer("evaluation.grid", self.grid, 2, 10**5)
        rates = self.lr if isinstance(self.lr, list) else [1.0 if self.lr is None else self.lr]
        ok = bool(rates) and all(need.is_number(rate, above=0) for rate in rates)
        need.require(ok, "evaluation.lr", self.lr, "a finite number > 0, a list of such, or null")
        need.require_integer("evaluation.validation_seed", self.validation_seed, 0, 2**63 - 1)
        need.require_integer("evaluation.validation_tasks", self.validation_tasks, 1, 10**7)
        need.require_name("evaluation.objective", self.objective, OBJECTIVES)
        key, shots = "evaluation.objective_shots", self.objective_shots
        need.require(
            shots is None or shots in self.shots, key, shots, f"one of evaluation.shots, {self.shots}, or null"
        )
        if self.objective_steps is not None:
            need.require_integer("evaluation.objective_steps", self.objective_steps, 0, self.steps)


@dataclass
class Config:
    """Everything that a run's result depends on."""

    seed: int = 0
    name: str | None = None  # in the run's folder name; null: the algorithm's name
    dtype: str = "float32"
    threads: int = 1  # BLAS threads; one is fastest for small networks
    model: ModelSettings = field(default_factory=ModelSettings)
    algorithm: AlgorithmSettings = field(default_factory=AlgorithmSettings)
    inner: InnerSettings = field(default_factory=InnerSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)

    def __post_init__(self):
        need.require_integer("seed", self.seed, 0, 2**63 - 1)
        ok = self.name is None or re.fullmatch(r"[\w.+-][\w .+=,-]{0,99}", self.name)
        need.require(bool(ok), "name", self.name, "1 to 100 letters, digits or any of .+=,- and space")
        need.require_name("dtype", self.dtype, DTYPES)
        need.require_integer("threads", self.threads, 1, 1024)

    @property
    def problem(self) -> Problem:
        """What the core needs to know."""
        parts = (self.model, self.algorithm, self.inner, self.task, self.optimizer)
        training = self.training
        return Problem(*parts, training.meta_batch, self.dtype, curvature=training.log_curvature)

    @property
    def label(self) -> str:
        """The name in the run's folder."""
        return self.name or self.algorithm.name

    @property
    def evaluation_rates(self) -> list[float]:
        """The rates that the evaluation's gradient steps may have; with several, validation tasks choose."""
        lr = self.evaluation.lr
        return [self.inner.lr] if lr is None else list(lr) if isinstance(lr, list) else [lr]

    @property
    def objective_shots(self) -> int:
        """The number of shots that the objective and the printed table are about."""
        wanted, evaluated = self.evaluation.objective_shots or self.task.shots, self.evaluation.shots
        return wanted if wanted in evaluated else evaluated[0]

    @property
    def objective_steps(self) -> int:
        """The number of gradient steps after which the objective is measured."""
        wanted = self.evaluation.objective_steps
        return min(max(self.inner.steps, 1), self.evaluation.steps) if wanted is None else wanted

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists."""
        return dataclasses.asdict(self)


def from_omegaconf(composed: DictConfig) -> Config:
    """The configuration that Hydra composed, resolved and checked; raises `SettingError`."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(explain(error)) from error
    return from_dict(plain)


@cache
def _schema() -> DictConfig:
    """Types and defaults; made once, it takes as long as a merge."""
    return OmegaConf.structured(Config)


def from_dict(plain: Any) -> Config:
    """A `Config` from nested plain dictionaries, checked against the schema; raises `SettingError`."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(_schema(), plain))
    except OmegaConfBaseException as error:
        raise SettingError(explain(error)) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"not a configuration: {str(error).splitlines()[0]}") from error


def check_values(values: Iterable[tuple[str, Any]]) -> None:
    """Require that the types of values suit their settings, dotted; raises `SettingError`. Ranges are not checked."""
    typed = _schema().copy()
    for key, value in values:
        try:
            OmegaConf.update(typed, key, value)
        except OmegaConfBaseException as error:
            raise SettingError(explain(error)) from error


def to_yaml(config: Config) -> str:
    """YAML that `from_dict` reads back to an equal configuration."""
    return OmegaConf.to_yaml(OmegaConf.create(config.to_dict()))


def explain(error: OmegaConfBaseException) -> str:
    """OmegaConf's complaint in one line: the key, the value and what is allowed."""
    key = re.sub(r"\[\d+\]$", "", getattr(error, "full_key", None) or "")
    reason = str(getattr(error, "msg", None) or error).splitlines()[0]
    if isinstance(error, (ConfigKeyError, ConfigAttributeError)):
        return f"{key} is not a setting{suggestion(key)}"
    expected = EXPECTED_OF.get(key) or EXPECTED.get(_annotation(key))
    if expected and not isinstance(error, (InterpolationKeyError, InterpolationResolutionError, MissingMandatoryValue)):
        value = "" if error.value is None else f"={error.value!r}"
        return f"{key}{value[:80]} is not usable: it must be {expected}"
    return f"{key or 'the configuration'}: {reason[:200]}"


EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "int | None": "an integer or null",
    "float | None": "a number or null",
    "str | None": "a text or null",
    "list[int]": "a list of integers, as in [40,40]",
    "list[float]": "a list of two numbers, as in [0.1,5]",
}


EXPECTED_OF = {  # of settings that may be of several types
    "evaluation.shots": "a list of different integers, as in [5,10,20], or one integer",
    "evaluation.lr": "a number, a list of numbers, or null",
}


def _annotation(key: str) -> str | None:
    """The annotation of a setting's field, as it stands in the source."""
    kind: Any = Config
    for name in key.split("."):
        fields = {f.name: f for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
        if name not in fields:
            return None
        default = fields[name].default_factory
        kind = default if dataclasses.is_dataclass(default) else fields[name].type
    return kind if isinstance(kind, str) else None


def suggestion(key: str) -> str:
    """'; did you mean ...?' with the closest setting, or where to look them up."""
    from difflib import get_close_matches

    known = list(setting_names())
    close = get_close_matches(key, known, n=1, cutoff=0.7)
    if not close:  # the right name in the wrong group, perhaps
        close = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    return f"; did you mean {close[0]}?" if close else "; `maml-exp --cfg job` shows all of them"


def setting_names() -> list[str]:
    """All settings, dotted."""
    names = []
    for key, value in Config().to_dict().items():
        names += [f"{key}.{inner}" for inner in value] if isinstance(value, dict) else [key]
    return names
