"""Choosing the checkpoint to go on from, or to judge, draw and adapt with: one that is whole and fits."""

from __future__ import annotations

import logging
from pathlib import Path

from maml_exp.config.migrations import migrated
from maml_exp.config.schema import Config, is_logged
from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.training import make_learner
from maml_exp.store import checkpoints
from maml_exp.store.checkpoints import Checkpoint, CheckpointError
from maml_exp.store.metrics_file import read_rows
from maml_exp.store.run_folder import RunFolder

log = logging.getLogger("maml_exp")


def newest_checkpoint(folder: RunFolder, config: Config, to_resume: bool = False) -> Checkpoint | None:
    """The newest checkpoint that is whole and of this configuration; each one passed over is named in a warning.

    One `to_resume` from also needs every row of metrics.csv up to its step, and the best checkpoint that it knows:
    they are not made again.
    """
    logged = {row["step"] for row in read_rows(folder.metrics)} if to_resume else set()
    for path in checkpoints.listed(folder.checkpoints):
        try:
            point = checkpoints.load(path)
            _check_fit(point, path, config)
            if to_resume and not logged.issuperset(_rows_before(point.state.step, config)):
                raise CheckpointError(f"{folder.metrics} lacks rows that were logged before {path.name}")
            if to_resume and config.training.keep_best:
                _check_best(point, path, folder, config)
            return point
        except CheckpointError as error:
            log.warning("%s; it is passed over", error)
    return None


def judged_checkpoint(folder: RunFolder, config: Config) -> Checkpoint | None:
    """The checkpoint that the final evaluation is about: the best one where it is kept, else the newest."""
    best = best_checkpoint(folder, config)
    return newest_checkpoint(folder, config) if best is None else best


def best_checkpoint(folder: RunFolder, config: Config) -> Checkpoint | None:
    """The best checkpoint of a run that keeps it; None where there is none. A damaged one is named in a warning."""
    path = folder.checkpoints / checkpoints.BEST
    if not config.training.keep_best or not path.is_file():
        return None
    try:
        point = checkpoints.load(path)
        _check_fit(point, path, config)
        return point
    except CheckpointError as error:
        log.warning("%s; it is passed over", error)
        return None


def _check_best(point: Checkpoint, path: Path, folder: RunFolder, config: Config) -> None:
    """Require the best checkpoint that a checkpoint knows of, or one that going on from here makes again."""
    known = point.watched.get("validation", {}).get("step")
    if known is None:
        return
    best = best_checkpoint(folder, config)
    if best is None or (best.state.step != known and best.state.step <= point.state.step):
        raise CheckpointError(f"{path} needs the best checkpoint, of iteration {known}, which is not there")


def _check_fit(point: Checkpoint, path: Path, config: Config) -> None:
    """Require a checkpoint of this configuration and of the step that its name says."""
    if migrated(point.config) != config.to_dict():
        raise CheckpointError(f"{path} belongs to another configuration")
    if path.name != checkpoints.BEST and point.state.step != checkpoints.step_of(path):
        raise CheckpointError(f"{path} holds step {point.state.step}")
    vector, moments = point.state.vector, point.state.optimizer.moments
    expected = make_learner(config.problem).layout.size
    if vector.shape != (expected,) or vector.dtype != config.dtype:
        raise CheckpointError(f"{path} does not hold {expected} parameters of {config.dtype}")
    if len(moments) != len(OPTIMIZERS.get(config.optimizer.name).init(vector).moments):
        raise CheckpointError(f"{path} does not hold the moments of {config.optimizer.name}")


def _rows_before(step: int, config: Config) -> set[int]:
    """The steps up to this one that were logged."""
    return {logged for logged in range(1, step + 1) if is_logged(config.training, logged)}
