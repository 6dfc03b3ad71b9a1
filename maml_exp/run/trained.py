"""A run that was trained, opened again: what it learned, and adapting that to points of one's own."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.config.saved import load_config
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError, integer, number
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.training import make_learner
from maml_exp.store.choosing import judged_checkpoint
from maml_exp.store.files import read_json
from maml_exp.store.metrics_file import number_in, table
from maml_exp.store.records import read_evaluation
from maml_exp.store.run_folder import open_run

Array = np.ndarray


class Run:
    """A run's folder, read; nothing in it is changed, and it may be a stranger's: it holds data only.

    Attributes:
        folder: where it is.
        config: its settings, as `maml_exp.config.schema.Config`.
    """

    def __init__(self, path: Path | str, file: Path | str | None = None):
        """Open a run; raises `SettingError` where there is none or its configuration cannot be used.

        Args:
            path: its folder.
            file: the file of its tasks, given again: a file that a run names is not opened. Adapting needs none.
        """
        self._files = open_run(path)
        self.folder = self._files.path
        self.config: Config = load_config(self._files.config)
        if file is not None:
            self.config.reading(str(file))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.state})"

    @property
    def state(self) -> str:
        """finished, running, interrupted, diverged, failed, killed, or unknown."""
        return self._files.state()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What summary.json holds; raises `SettingError` for a run that is not finished."""
        try:
            found = read_json(self._files.summary)
        except (OSError, ValueError) as error:
            raise SettingError(f"{self.folder} has no readable summary.json: it is {self.state}") from error
        if not isinstance(found, dict):
            raise SettingError(f"{self._files.summary} is not a summary of ours")
        return found

    @cached_property
    def metrics(self) -> dict[str, Array]:
        """The columns of metrics.csv (N,), by name; NaN where a row has no number."""
        names, rows = table(self._files.metrics)
        columns = [array("d") for _ in names]
        for cells in rows:
            for column, cell in zip(columns, cells, strict=True):
                column.append(number_in(self._files.metrics, cell) if cell else float("nan"))
        filled = {name: np.array(column) for name, column in zip(names, columns, strict=True)}
        return {name: column for name, column in filled.items() if not np.isnan(column).all()}

    @cached_property
    def evaluation(self) -> dict[str, Array]:
        """Errors (tasks, steps + 1) of the final evaluation: trained_K10, random_K10 and so on.

        Raises `SettingError` for a run that is not finished.
        """
        try:
            judged = self.config.evaluation
            return read_evaluation(self._files, len(judged.shots), judged.tasks, self.config.evaluation_steps)
        except (OSError, ValueError) as error:
            raise SettingError(f"{self.folder} has no readable evaluation.npz: it is {self.state}") from error

    @cached_property
    def learner(self) -> BaseLearner:
        """What was trained."""
        return make_learner(self.config.problem)

    @cached_property
    def vector(self) -> Array:
        """The meta-parameters (P,) of the newest usable checkpoint, or of the best one where the run keeps it.

        Raises `SettingError` where there is none.
        """
        point = judged_checkpoint(self._files, self.config)
        if point is None:
            raise SettingError(f"{self.folder} has no usable checkpoint")
        return point.state.vector

    @property
    def parts(self) -> dict[str, Array]:
        """The meta-parameters by name: theta, and what else the learner learned."""
        return self.learner.layout.parts(self.vector)

    @property
    def theta(self) -> Array:
        """The network's parameters before adaptation (P,)."""
        return self.parts["theta"]

    @property
    def evaluated_lr(self) -> float | None:
        """The rate of the final evaluation's steps; None where there is none: the learner's own."""
        try:
            lr = self.summary["evaluation"]["lr"]
        except (SettingError, LookupError, TypeError):
            return None
        return float(lr) if isinstance(lr, (int, float)) else None

    def adapt(self, x: Any, y: Any, steps: int | None = None, lr: float | None = None) -> Adapted:
        """Adapt to a support set, the way it was trained to.

        Args:
            x: inputs (K,) or (K, n).
            y: targets (K,) or (K, m).
            steps: inner steps; None: as many as in training, at least one.
            lr: their rate; None: the one that the run was evaluated with.

        Raises:
            SettingError: for shapes that do not fit, numbers that are not finite, steps or lr out of range.
        """
        family = self.learner.problem.family
        x_own, y_own = as_points(x, family.inputs, "x"), as_points(y, family.outputs, "y")
        if len(x_own) != len(y_own):
            raise SettingError(f"x has {len(x_own)} points and y has {len(y_own)}: they must have as many")
        steps = max(1, self.learner.trained_steps) if steps is None else steps
        integer(0, 1000).require("steps", steps)
        if lr is None:
            lr = self.evaluated_lr
        elif self.config.adapts_at_once:
            raise SettingError(f"lr={lr} is not usable: {self.config.algorithm.learner} adapts at once, without a rate")
        else:
            number().require("lr", lr)
        return Adapted(self.learner, self.vector, x_own, y_own, steps, lr, flat=np.ndim(y) == 1)


@dataclass(frozen=True)
class Adapted:
    """A run's learner with a support set to adapt to; it predicts anywhere. All in the tasks' own units."""

    learner: BaseLearner
    vector: Array  # (P,)
    x_own: Array  # (K, n), the support set
    y_own: Array  # (K, m)
    steps: int
    lr: float | None
    flat: bool  # whether targets, and so predictions, are (K,) and not (K, 1)

    def path(self, x: Any) -> Array:
        """Predictions (steps + 1, G) or (steps + 1, G, m) at x (G,) or (G, n), before the first and after every step.

        Raises `SettingError` for shapes that do not fit and numbers that are not finite.
        """
        family = self.learner.problem.family
        inputs = as_points(x, self.x_own.shape[1], "x")
        x, x_support = family.from_own_inputs(inputs)[None], family.from_own_inputs(self.x_own)[None]
        y_support = family.from_own_outputs(self.y_own)[None]
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging adaptation shows in its numbers
            made = self.learner.adapt(self.vector, x_support, y_support, x, self.steps, self.lr)
            predictions = family.to_own_outputs(np.stack([prediction[0] for prediction in made]).astype(float))
        return predictions[..., 0] if self.flat else predictions

    def predict(self, x: Any) -> Array:
        """Predictions (G,) or (G, m) at x (G,) or (G, n), after the last step."""
        return self.path(x)[-1]


def as_points(values: Any, width: int, name: str) -> Array:
    """Values (K,) or (K, width) as (K, width) floats; raises `SettingError` naming what does not fit."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise SettingError(f"{name} is not an array of numbers: {error}") from error
    expected = "(K,) or (K, 1)" if width == 1 else f"(K, {width})"
    points = array[:, None] if array.ndim == 1 and width == 1 else array
    if points.ndim != 2 or points.shape[1] != width or not len(points):
        raise SettingError(f"{name} has shape {array.shape}; it must be {expected}, with K at least 1")
    if not np.isfinite(points).all():
        place = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise SettingError(f"{name}[{place}] is {array[place]}; every number must be finite")
    return points
