"""Choosing the checkpoint and rows to go on from, or the one to judge, draw and adapt with: what is whole and fits."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from maml_exp.config.migrations import migrated
from maml_exp.config.schema import Config, is_logged
from maml_exp.core.checks import SettingError
from maml_exp.core.learners.base import BaseLearner
from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.training import make_learner
from maml_exp.data import door
from maml_exp.store import checkpoints
from maml_exp.store import metrics_file as metrics
from maml_exp.store.checkpoints import Checkpoint, CheckpointError
from maml_exp.store.run_folder import RunFolder

log = logging.getLogger("maml_exp")


def newest_checkpoint(folder: RunFolder, config: Config, logged: Collection[int] | None = None) -> Checkpoint | None:
    """The newest checkpoint that is whole and of this configuration; each one passed over is named in a warning.

    To go on from one, give the steps whose rows are `logged`: it needs all of those up to its own, and the best
    checkpoint that it knows, which are not made again. What is passed over then is set aside: it must not count as
    the newest while good ones are pruned. Raises `SettingError` for a file that the system does not let us read,
    which may be the newest.
    """
    largest = _largest(config)
    for path in checkpoints.listed(folder.checkpoints):
        try:
            point = checkpoints.load(path, largest)
            _check_fit(point, path, config)
            if logged is not None and not all(step in logged for step in _logged_up_to(point.state.step, config)):
                raise CheckpointError(f"{folder.metrics} lacks rows that were logged before {path.name}")
            if logged is not None and config.training.keep_best:
                _check_best(point, path, folder, config)
            return point
        except CheckpointError as error:
            if logged is None:
                log.warning("%s; it is passed over", error)
            else:
                aside = door.set_aside(path, own_folder=True)
                log.warning("%s; it is passed over, and set aside as %s", error, aside.name)
        except OSError as error:
            raise _unreadable(path, error) from error
    if logged is not None:
        door.remove(folder.checkpoints / checkpoints.NEXT_BEST, own_folder=True)
    return None


def judged_checkpoint(folder: RunFolder, config: Config) -> Checkpoint | None:
    """The checkpoint that the final evaluation is about: the best one where it is kept, else the newest."""
    best = best_checkpoint(folder, config)
    return newest_checkpoint(folder, config) if best is None else best


def best_checkpoint(folder: RunFolder, config: Config) -> Checkpoint | None:
    """The best checkpoint so far of a run that keeps it; None where there is none. Damaged ones are named in a warning.

    Raises `SettingError` for one that the system does not let us read.
    """
    names = (checkpoints.NEXT_BEST, checkpoints.BEST) if config.training.keep_best else ()
    return next(filter(None, (_best(folder, config, name) for name in names)), None)


def _best(folder: RunFolder, config: Config, name: str) -> Checkpoint | None:
    path = folder.checkpoints / name
    if door.kind_of(path) is None:
        return None
    try:
        point = checkpoints.load(path, _largest(config))
        _check_fit(point, path, config)
        return point
    except CheckpointError as error:
        log.warning("%s; it is passed over", error)
        return None
    except FileNotFoundError:  # it has got its place just now
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SettingError:
    return SettingError(f"cannot read {path}: {error.strerror}; let it be read, or take it away")


def _check_best(point: Checkpoint, path: Path, folder: RunFolder, config: Config) -> None:
    """Require the best checkpoint that a checkpoint knows of, or one that going on from here makes again.

    A next one that it does not know of is made again, too: it must not take a place in which it may not belong.
    """
    known = point.watched.get("validation", {}).get("step")
    following = _best(folder, config, checkpoints.NEXT_BEST)
    if following is not None and following.state.step == known:  # killed in between
        checkpoints.settle_best(folder.checkpoints)
    door.remove(folder.checkpoints / checkpoints.NEXT_BEST, own_folder=True)
    if known is None:
        return
    best = _best(folder, config, checkpoints.BEST)
    if best is None or (best.state.step != known and best.state.step <= point.state.step):
        raise CheckpointError(f"{path} needs the best checkpoint, of iteration {known}, which is not there")


def _largest(config: Config) -> int:
    """More bytes than any checkpoint of this configuration has."""
    vector = make_learner(config.problem).layout.size
    return checkpoints.LARGEST_RECORD + 16 * (vector + 1000) * 8  # the vector and an optimizer's moments


def _check_fit(point: Checkpoint, path: Path, config: Config) -> None:
    """Require a checkpoint of this configuration and of the step that its name says."""
    if migrated(point.config) != config.to_dict():
        raise CheckpointError(f"{path} belongs to another configuration")
    is_best = path.name in (checkpoints.BEST, checkpoints.NEXT_BEST)
    named = point.state.step if is_best else checkpoints.step_of(path)
    if point.state.step != named or not 0 < point.state.step <= config.training.iterations:
        raise CheckpointError(f"{path} holds step {point.state.step}")
    vector, moments = point.state.vector, point.state.optimizer.moments
    expected = make_learner(config.problem).layout.size
    if vector.shape != (expected,) or vector.dtype != config.dtype:
        raise CheckpointError(f"{path} does not hold {expected} parameters of {config.dtype}")
    if len(moments) != len(OPTIMIZERS.get(config.optimizer.name).init(vector).moments):
        raise CheckpointError(f"{path} does not hold the moments of {config.optimizer.name}")


def _logged_up_to(step: int, config: Config) -> Iterator[int]:
    """The steps up to this one that were logged."""
    training = config.training
    intervals = [interval for interval in (training.log_every, training.evaluate_every) if interval]
    for interval in intervals:
        yield from range(interval, step + 1, interval)
    if is_logged(training, step):
        yield step


def sound_rows(folder: RunFolder, config: Config, learner: BaseLearner) -> list[metrics.Row]:
    """The rows of metrics.csv before the first that is damaged; a damaged file is kept beside the new one."""
    rows, damage = metrics.read_sound_rows(folder.metrics, metrics.columns(config, learner), config.training.iterations)
    if damage is not None:
        aside = door.set_aside(folder.metrics, keep=True)
        log.warning("%s; the file is kept as %s, and rows from there on are made again", damage, aside.name)
    return rows
