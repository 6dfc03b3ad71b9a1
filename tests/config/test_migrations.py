"""Configurations that an older version saved, brought up to today's schema; and what a new choice changes in them."""

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from helpers import TINY

from maml_exp.config.composing import compose
from maml_exp.config.migrations import AXES_OF_3, MIGRATIONS, NO_EVOLUTION, migrated, typed_then
from maml_exp.config.saved import load_config
from maml_exp.config.schema import SCHEMA, from_dict
from maml_exp.core.checks import SettingError
from maml_exp.core.optimizers import OPTIMIZERS, adam

FIRST = Path(__file__).parents[1] / "data" / "bd1b5f6"  # run folders as the first version left them
FOLDERS = ["finished", "interrupted", "sweep/0_algorithm=maml", "sweep/1_algorithm=fomaml"]


def saved_by_the_first(folder="finished"):
    """The plain configuration of a run of the first version, as it stands in its file."""
    return yaml.safe_load((FIRST / folder / ".hydra" / "config.yaml").read_text())


def command_of_the_first(folder="finished"):
    """What was typed for it: none of it has another name today."""
    return yaml.safe_load((FIRST / folder / ".hydra" / "overrides.yaml").read_text())


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_the_first_version_saved_is_what_its_command_makes_today(folder):
    assert load_config(FIRST / folder / ".hydra" / "config.yaml") == compose(
        typed_then(command_of_the_first(folder), 1)
    )


@pytest.mark.parametrize(("name", "outer"), [("maml", "exact"), ("fomaml", "first_order"), ("joint", "joint")])
def test_a_method_s_name_becomes_learner_preset_and_outer(name, outer):
    plain = saved_by_the_first()
    plain["algorithm"] = {"name": name}
    expected = AXES_OF_3 | {"evolution": NO_EVOLUTION, "learner": "gradient", "preset": name, "outer": outer}
    assert migrated(plain)["algorithm"] == expected
    assert from_dict(migrated(plain)) == compose(typed_then([*command_of_the_first(), f"algorithm={name}"], 1))


@pytest.mark.parametrize(("name", "own"), [("adam", ["beta1", "beta2", "epsilon"]), ("sgd", ["momentum"])])
def test_an_optimizer_keeps_its_own_keys_with_their_values(name, own):
    plain = saved_by_the_first()
    plain["optimizer"] |= {"name": name, "lr": 0.25, "momentum": 0.5, "beta1": 0.125, "clip_norm": 3.0}
    kept = {key: plain["optimizer"][key] for key in ["name", "lr", "clip_norm", *own]}
    assert migrated(plain)["optimizer"] == kept | {"schedule": "constant", "lr_end": 0.0}


def test_everything_else_stays_as_it_was():
    plain = saved_by_the_first()
    ours, theirs = migrated(plain), {**plain, "schema": SCHEMA}
    theirs["training"] = {**plain["training"], "keep_best": False, "patience": 0}
    theirs["model"] = {**plain["model"], "layer_norm": False}
    theirs["evaluation"] = {**plain["evaluation"], "baselines": None}
    beyond = dict.fromkeys(["amplitude_test", "phase_test", "x_range_test"])
    theirs["task"] = {**plain["task"], "x_training": "random", "noise": 0.0, "support_targets": "plain", **beyond}
    for group in ("algorithm", "optimizer"):
        ours.pop(group)
        theirs.pop(group)
    assert ours == theirs


def test_what_is_given_is_not_changed():
    plain = saved_by_the_first()
    before = copy.deepcopy(plain)
    migrated(plain)
    assert plain == before


def test_there_is_a_way_from_every_older_version_to_today_s():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA))
    plain = compose(TINY).to_dict()
    assert plain["schema"] == SCHEMA
    assert migrated(plain) == plain
    assert migrated(migrated(saved_by_the_first())) == migrated(saved_by_the_first())


STRANGE = [
    {},
    {"schema": 99},
    {"schema": "1"},
    {"schema": True, "algorithm": {"name": "maml"}},
    {"schema": None, "algorithm": {"name": "maml"}},
    {"schema": [1]},
    {"algorithm": "maml", "optimizer": "adam"},
    {"algorithm": ["maml"], "optimizer": None},
    {"algorithm": {"name": ["maml"]}, "optimizer": {"name": {"a": 1}}},
    {"algorithm": {}, "optimizer": {}},
    {"algorithm": {"name": None}},
]


@pytest.mark.parametrize("plain", STRANGE, ids=str)
def test_what_is_none_of_ours_is_left_to_the_checks(plain):
    with pytest.raises(SettingError):
        from_dict(migrated({**saved_by_the_first(), **plain} if plain else plain))


@dataclass
class CautiousSettings(adam.Settings):
    """Adam's, and one more."""

    name: str = "cautious"
    caution: float = 0.5


def test_a_new_choice_adds_no_key_to_anybody_else_s_configuration(monkeypatch):
    """An optimizer of somebody's own, with a setting of its own: what others save stays what it was, and loads."""
    before = {option: compose([*TINY, f"optimizer={option}"]).to_dict() for option in ("adam", "sgd")}
    monkeypatch.setattr(OPTIMIZERS, "_registered", {})  # of this test alone
    OPTIMIZERS.register("cautious", Settings=CautiousSettings, init=adam.init, update=adam.update)
    own = compose([*TINY, "optimizer=cautious", "optimizer.caution=0.25"]).to_dict()
    assert own["optimizer"] == {**before["adam"]["optimizer"], "name": "cautious", "caution": 0.25}
    for option, plain in before.items():
        assert compose([*TINY, f"optimizer={option}"]).to_dict() == plain
        assert from_dict(plain).to_dict() == plain
    everybody_s = {"name", "lr", "schedule", "lr_end", "clip_norm"}
    assert before["adam"]["optimizer"].keys() == everybody_s | {"beta1", "beta2", "epsilon"}
    assert before["sgd"]["optimizer"].keys() == everybody_s | {"momentum"}
    for folder in FOLDERS:
        assert "caution" not in load_config(FIRST / folder / ".hydra" / "config.yaml").to_dict()["optimizer"]


def test_a_choice_named_alone_says_how_it_is_chosen_with_its_settings(monkeypatch):
    """optimizer.name lays a name over the settings that are there; only where they are its own does it do."""
    monkeypatch.setattr(OPTIMIZERS, "_registered", {})
    OPTIMIZERS.register("cautious", Settings=CautiousSettings, init=adam.init, update=adam.update)
    assert compose([*TINY, "optimizer.name=cautious"]).optimizer == CautiousSettings()  # it has all of adam's
    with pytest.raises(SettingError, match=r"optimizer.beta1 is .* not of sgd; choose it with .*optimizer=sgd"):
        compose([*TINY, "optimizer.name=sgd"])
    with pytest.raises(SettingError, match=r"optimizer.caution is a setting of cautious, not of adam; choose .*=cau"):
        compose([*TINY, "optimizer.caution=0.25"])
