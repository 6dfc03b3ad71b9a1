"""optimizer.clip_norm: a number, null, or auto."""

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import adam, sgd
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import sinusoid
from maml_exp.core.training import Trainer


def problem(limit, steps, lr=0.01):
    inner = InnerSettings(lr=lr, steps=steps)
    parts = (ModelSettings(hidden=[8]), gradient.Settings(), inner, sinusoid.Settings())
    return Problem(*parts, sgd.Settings(lr=1.0, clip_norm=limit), meta_batch=4, dtype="float64")


@pytest.mark.parametrize(
    ("limit", "steps", "expected"),
    [
        ("auto", 0, None),
        ("auto", 1, None),
        ("auto", 2, 10.0),
        ("auto", 5, 10.0),
        (None, 1, None),
        (None, 5, None),
        (3, 1, 3.0),
        (0.5, 5, 0.5),
    ],
)
def test_what_it_means(limit, steps, expected):
    assert problem(limit, steps).clip_norm == expected


@pytest.mark.parametrize(("limit", "norm"), [("auto", 10.0), (7, 7.0), (None, None)])
def test_the_update_has_that_norm_where_the_meta_gradient_s_is_larger(limit, norm):
    trainer = Trainer(problem(limit, steps=3, lr=0.3))
    before = trainer.init(0)
    after, metrics = trainer.train_step(before)
    assert metrics.gradient_norm > 100  # of the meta-gradient itself
    moved = np.linalg.norm(after.vector - before.vector)  # rate 1: the norm of what the optimizer got
    assert moved == pytest.approx(norm or metrics.gradient_norm, rel=1e-9)


@pytest.mark.parametrize("settings", [adam.Settings, sgd.Settings])
@pytest.mark.parametrize("value", ["never", "AUTO", "", 0, -1, True, float("nan"), [1]])
def test_what_it_cannot_be(settings, value):
    with pytest.raises(SettingError, match="auto, a finite number > 0, or null"):
        settings(clip_norm=value)


def test_the_default_is_auto_and_whole_numbers_are_numbers():
    assert adam.Settings().clip_norm == "auto"
    assert repr(adam.Settings(clip_norm=10).clip_norm) == "10.0"
