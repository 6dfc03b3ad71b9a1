"""Checkpoints: what they hold, and how many are kept."""

import json

import numpy as np
import pytest
from helpers import TINY, assert_same_result, checkpoint_path, saved_steps, train

from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.core.training import Trainer
from maml_exp.store import checkpoints as checkpoint


def state_at(step, *overrides):
    config = compose([*TINY, *overrides])
    trainer = Trainer(config.problem)
    state = trainer.init(config.seed)
    for _ in range(step):
        state, _ = trainer.train_step(state)
    return state


@pytest.mark.parametrize("overrides", [[], ["optimizer=sgd", "optimizer.momentum=0.9", "dtype=float64"]], ids=str)
def test_a_checkpoint_holds_all_of_the_state_and_no_pickle(overrides, tmp_path):
    folder, state = train(tmp_path / "run", *overrides), state_at(60, *overrides)
    with np.load(checkpoint_path(folder, 60), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    record = json.loads(str(arrays.pop("record")))
    expected = {"vector": state.vector, **{f"moment_{i}": m for i, m in enumerate(state.optimizer.moments)}}
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert (arrays[name].dtype, arrays[name].tobytes()) == (array.dtype, array.tobytes())
    assert (record["step"], record["count"]) == (60, 60)
    assert record["generator"] == state.rng.bit_generator.state
    assert record["learner_generator"] == state.learner_rng.bit_generator.state
    assert record["parts"] == {"theta": state.vector.size}
    assert record["config"] == compose([*TINY, *overrides]).to_dict()


def test_loading_gives_the_state_back(tiny):
    point, state = checkpoint.load(checkpoint_path(tiny, 40)), state_at(40)
    assert point.state.vector.tobytes() == state.vector.tobytes()
    assert point.state.step == 40
    assert point.state.rng.random(5).tolist() == state.rng.random(5).tolist()
    assert point.state.learner_rng.random(5).tolist() == state.learner_rng.random(5).tolist()
    assert point.parts == {"theta": state.vector.size}


@pytest.mark.parametrize(
    ("keep", "every", "left"),
    [(0, 20, [20, 40, 60, 80, 100]), (1, 20, [100]), (3, 20, [60, 80, 100]), (3, 0, [100]), (2, 30, [90, 100])],
)
def test_how_many_are_kept_is_configurable(keep, every, left, tmp_path):
    folder = train(tmp_path / "run", f"training.keep_checkpoints={keep}", f"training.checkpoint_every={every}")
    assert saved_steps(folder) == left


def test_other_files_beside_them_do_not_disturb(killed, tiny, copied):
    folder = copied(killed)
    for name in ("step_00000090.npz.part", "best.npz", "step_x.npz", "step_90.npz"):
        (folder / "checkpoints" / name).write_bytes(b"mine")
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)
