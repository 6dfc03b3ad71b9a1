"""What would take more memory than there is is refused before training, by the setting to make smaller."""

import pytest

from maml_exp.config.composing import compose
from maml_exp.core.checks import SettingError
from maml_exp.core.training import make_learner
from maml_exp.store import memory


@pytest.mark.parametrize(
    ("texts", "setting"),
    [
        (["model.hidden=[2000,2000]"], "model.hidden=[2000, 2000]"),
        (["algorithm=ridge", "model.hidden=[2000,2000]"], "model.hidden=[2000, 2000]"),
        (["algorithm=recurrent", "algorithm.units=1000"], "algorithm.units=1000"),
        (["algorithm=learned_optimizer", "algorithm.units=1000"], "algorithm.units=1000"),
        (["algorithm=learned_optimizer", "model.hidden=[2000,2000]"], "model.hidden=[2000, 2000]"),
        (["algorithm=lstm_meta_learner", "model.hidden=[2000,2000]"], "model.hidden=[2000, 2000]"),
        (["algorithm=neural_process", "algorithm.encoder=[2000,2000]"], "algorithm.encoder=[2000, 2000]"),
        (["algorithm=attention", "algorithm.decoder=[2000,2000]"], "algorithm.decoder=[2000, 2000]"),
    ],
    ids=str,
)
def test_a_network_that_is_too_large_is_refused_by_the_setting_that_makes_it_so(texts, setting, monkeypatch):
    config = compose(texts)
    needed = 6 * 4 * make_learner(config.problem).layout.size  # parameters, gradient and optimizer, float32
    assert needed > 9e7
    monkeypatch.setattr(memory, "_available", lambda: 2.0 * needed)
    memory.require_memory(config)
    monkeypatch.setattr(memory, "_available", lambda: needed - 1.0)
    with pytest.raises(SettingError) as caught:
        memory.require_memory(config)
    assert str(caught.value).startswith(f"{setting} is not usable: it would take ")


def test_in_classification_every_class_has_its_shots(monkeypatch):
    config = compose(["task=glyphs", "task.size=10", "task.ways=20", "task.shots=50", "training.meta_batch=1000"])
    held_out = 4 * 600 * (100 + 20) * (20 * 20 + 100)  # 20 shots of 20 ways, and a grid of 100, float32
    assert dict(memory._needed(config))["evaluation.tasks=600"] == pytest.approx(held_out, rel=0.01)
    drawn = 4 * 1000 * (20 * 50 + 1) * (100 + 20 + 2 * (100 + 40 + 40 + 20))
    assert dict(memory._needed(config))["training.meta_batch=1000"] == drawn
