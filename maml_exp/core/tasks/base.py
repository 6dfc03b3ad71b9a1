"""What a family of few-shot tasks is: what it draws, what its held-out tasks are, and how its axes are called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from maml_exp.core import checks
from maml_exp.core.checks import setting
from maml_exp.core.losses import Loss, SquaredError

Array = np.ndarray
TRAINING_SEED, TRAINING_TASKS, TRAINING_POINTS = 3000, 300, 100  # of a family that can draw any number of tasks


@dataclass
class TaskSettings(checks.Settings):
    """What every family of tasks has."""

    section: ClassVar[str] = "task"
    reader: ClassVar[str | None] = None  # the file in data/readers that reads what the family is computed on
    name: str = "?"  # the file in core/tasks
    shots: Any = setting(10, "K, support points a task; of a list, one an iteration", checks.integers(1, 10**6))
    query: int = setting(10, "Q, query points a task", checks.integer(1, 10**6))

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.shots, list) and len(self.shots) == 1:  # so that [10] and 10 are saved as the same
            (self.shots,) = self.shots

    @property
    def all_shots(self) -> list[int]:
        """Every K that is trained with."""
        return list(self.shots) if isinstance(self.shots, list) else [self.shots]

    @property
    def named_data(self) -> str:
        """What messages call that which the family is computed on: the file that the settings name, where they do."""
        return getattr(self, "file", self.name)


class Batch(NamedTuple):
    """A meta-batch: support points to adapt on and query points to judge by."""

    x_support: Array  # (T, K, n)
    y_support: Array  # (T, K, m)
    x_query: Array  # (T, Q, n)
    y_query: Array  # (T, Q, m)

    def pooled(self) -> tuple[Array, Array]:
        """x (T, K + Q, n) and y (T, K + Q, m): support and query together, for joint training."""
        x = np.concatenate([self.x_support, self.x_query], axis=-2)
        return x, np.concatenate([self.y_support, self.y_query], axis=-2)


class FixedTasks(NamedTuple):
    """Held-out tasks: support points, and the points on which errors are measured.

    float64, inputs in the dtype that the family says.
    """

    x_support: Array  # (N, K, n)
    y_support: Array  # (N, K, m)
    x_query: Array  # (N, G, n)
    y_query: Array  # (N, G, m), without noise where the family knows the truth
    weights: Array | None = None  # (N, G), 1 of a query point and 0 of what fills up a task that has fewer; None: all 1
    names: Sequence[str] = ()  # of the tasks, where they have some
    classes: Sequence[Sequence[str]] = ()  # (N, m): in classification, what every label stands for in every task


class Axis(NamedTuple):
    """How a figure calls one of a task's quantities."""

    name: str
    unit: str = ""

    @property
    def label(self) -> str:
        """The name with its unit, for an axis of a figure."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


class TaskFamily(ABC):
    """A family of tasks, made from its settings; draws from generators that it is given, and holds no state.

    Its settings hold one number of shots: where several are trained with, there is a family for each (`families`).

    Attributes:
        inputs, outputs: n and m, what a network sees and predicts of a point.
        loss: what tasks are adapted and judged by.
        input_names, output_names: the columns of a table of its points.
        input_axis, output_axis: names and units of the first input and output, for figures.
        watched_split: the held-out tasks of the small evaluations while training.
        baselines: the usual ones beside a run on these tasks (core/baselines).
        is_curve: whether figures draw a task as a curve over its first input.
        are_images: whether its points are square images of classes, and are drawn so.
        held_out_dtype: of the inputs of held-out tasks.
        draws_by_task: whether the first axis of all that `sample` draws is that of tasks, and no task minds the others.
    """

    inputs: int
    outputs: int
    loss: Loss = SquaredError()
    input_names: tuple[str, ...] = ("x",)
    output_names: tuple[str, ...] = ("y",)
    input_axis = Axis("x")
    output_axis = Axis("y")
    watched_split: ClassVar[str] = "test"
    baselines: ClassVar[tuple[str, ...]] = ()
    is_curve: bool = True
    are_images: bool = False
    held_out_dtype: ClassVar[type] = np.float64
    draws_by_task: ClassVar[bool] = False

    def __init__(self, settings: Any):
        self.settings = settings

    @property
    def query(self) -> int:
        """Q, query points of a task in training."""
        return self.settings.query

    @abstractmethod
    def sample(self, rng: np.random.Generator, tasks: int, dtype: np.dtype | type | str) -> Batch:
        """A meta-batch of `tasks` training tasks with the settings' numbers of support and query points."""

    @abstractmethod
    def held_out(self, split: str, seed: int, tasks: int, shots: int, grid: int) -> FixedTasks:
        """Tasks that are the same for every run with the same seed, however many tasks or points are asked for.

        The k-th support point of the i-th task is the same for all `tasks` and `shots`: 5 shots are the first 5
        of 20.

        Args:
            split: "validation", to choose by, or "test", to report.
            seed: of these tasks; nothing else decides them but the settings.
            tasks: N.
            shots: K.
            grid: G, points on which the error is measured, where the family is free to choose them.
        """

    @property
    def is_open(self) -> bool:
        """Whether tasks can be drawn: what a saved run remembers of its data is enough to adapt alone."""
        return True

    def support_points(self, shots: int) -> int:
        """K, rows of a task's support set: in classification shots are counted by class, and no label goes without."""
        return shots

    def require_shots(self, shots: int) -> None:  # noqa: B027  a family may draw as many as are asked for
        """Raise `SettingError` where held-out tasks cannot have so many support points."""

    def training_tasks(self) -> list[tuple[Array, Array]]:
        """Inputs (K, n) and outputs (K, m) of training tasks, float64, as a network sees them: what baselines know."""
        tasks = self.held_out("train", TRAINING_SEED, TRAINING_TASKS, 1, TRAINING_POINTS)
        return list(zip(tasks.x_query, tasks.y_query, strict=True))

    def bayes_error(self, shots: int) -> float | None:
        """The error of the best predictor there could be after so many support points; None where it is not known."""
        return None

    def notes(self) -> list[str]:
        """What a reader of any result on these tasks must know, a line each."""
        return []

    def facts(self) -> dict[str, Any] | None:
        """What of its data a family needs to adapt without it, as plain data; None for one without data."""
        return None

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns of a file of points that inputs are made of."""
        return self.input_names

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Those of them that hold texts."""
        return ()

    def inputs_of(self, columns: Mapping[str, Array]) -> Array:
        """Inputs (K, n), in the tasks' own units, from columns (K,) by name."""
        return np.stack([columns[name] for name in self.input_columns], axis=1)

    def curve_inputs(self, points: int) -> Array:
        """Inputs (points, n) from one end of the first input's range to the other, where there is but one input."""
        return self.held_out("test", seed=0, tasks=1, shots=1, grid=points).x_query[0]

    def from_own_inputs(self, x: Array) -> Array:
        """What a network sees of inputs (..., n) in the tasks' own units."""
        return x

    def from_own_outputs(self, y: Array) -> Array:
        """What a network is to predict of outputs (..., m) in the tasks' own units."""
        return y

    def to_own_inputs(self, x: Array) -> Array:
        """The inverse of `from_own_inputs`."""
        return x

    def to_own_outputs(self, y: Array) -> Array:
        """The inverse of `from_own_outputs`."""
        return y

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What decides held-out tasks apart from seed, number and grid: two runs with the same can be compared."""
