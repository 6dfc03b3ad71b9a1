"""What a method is called: its preset, and what was changed of that."""

import dataclasses

import pytest
from helpers import TINY, default_config, read_summary

from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.config.labels import label_of, method_label
from maml_exp.store.names import run_name

LABELS = [
    ([], "maml"),
    (["algorithm=fomaml"], "fomaml"),
    (["algorithm=joint"], "joint"),
    (["algorithm.outer=joint"], "maml outer=joint"),
    (["algorithm=joint", "algorithm.outer=exact"], "joint outer=exact"),
    (["algorithm=fomaml", "algorithm.outer=first_order"], "fomaml"),
    (["algorithm.preset=null"], "gradient"),
    (["algorithm.preset=null", "algorithm.outer=joint"], "gradient outer=joint"),
    (["algorithm.preset=mine"], "mine"),
    (["algorithm.preset=mine", "algorithm.outer=joint"], "mine outer=joint"),
]


@pytest.mark.parametrize(("overrides", "label"), LABELS, ids=[" ".join(case[0]) for case in LABELS])
def test_a_method_is_called_by_its_preset_and_what_differs_from_it(overrides, label):
    assert method_label(compose(overrides).algorithm) == label


def test_a_learner_without_a_preset_is_called_by_its_own_name():
    assert default_config().algorithm.preset is None
    assert method_label(default_config().algorithm) == "gradient"


OLD_OR_STRANGE = [  # settings of a learner as a saved configuration may hold them
    ({"learner": "gradient", "preset": "maml", "outer": "exact"}, "maml"),
    ({"learner": "gradient", "preset": "reptilian", "outer": "exact"}, "reptilian"),  # a preset that is no more
    ({"learner": "gradient", "preset": "maml", "outer": "joint", "gone": 3}, "maml outer=joint"),  # as is a setting
    ({"learner": "vanished", "preset": None, "rank": 3}, "vanished"),
    ({"learner": "vanished", "preset": "theirs", "rank": 3}, "theirs"),
    ({"preset": "maml"}, "maml"),
    ({}, "None"),
    ({"learner": "gradient", "preset": 3}, "gradient"),
    ({"learner": "gradient", "preset": ["maml"]}, "gradient"),
    ({"learner": "gradient", "preset": ""}, "gradient"),
]


@pytest.mark.parametrize(("settings", "label"), OLD_OR_STRANGE, ids=str)
def test_old_and_strange_settings_have_a_label_too(settings, label):
    assert label_of(settings) == label


@pytest.mark.parametrize("climb", ["../evil", "../../evil", "{}/evil", "evil/../../evil", "evil.yaml\0", ".", ".."])
def test_a_preset_s_name_is_never_a_path(climb, tmp_path, monkeypatch):
    """Files that those names would lead to say outer: joint; none of them is read."""
    conf = tmp_path / "conf"
    (conf / "algorithm").mkdir(parents=True)
    for place in (tmp_path, conf, conf / "algorithm"):
        (place / "evil.yaml").write_text("outer: joint\n")
    monkeypatch.setattr("maml_exp.config.labels.conf_dir", lambda: conf)
    settings = {"learner": "gradient", "outer": "joint"}
    assert label_of({**settings, "preset": "evil"}) == "evil"  # the preset's own setting: its file is read
    assert label_of({**settings, "preset": climb.format(tmp_path)}) == "gradient outer=joint"


@pytest.mark.parametrize("preset", ["../x", "a/b", "", "x" * 101])
def test_a_preset_that_is_no_name_is_no_setting(preset):
    plain = compose([]).algorithm
    with pytest.raises(ValueError, match=r"algorithm\.preset"):
        dataclasses.replace(default_config(), algorithm=dataclasses.replace(plain, preset=preset))


def test_a_run_s_own_name_comes_before_its_method_s():
    assert run_name(compose(["name='my run, twice'", "algorithm=joint"])) == "my run, twice"
    assert run_name(compose(["algorithm=joint"])) == "joint"
    assert run_name(compose(["algorithm.outer=joint"])) == "maml_outer=joint"


def test_the_label_is_in_the_folder_s_name_the_log_and_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "training.iterations=2", "algorithm.outer=joint"]) == 0
    (folder,) = tmp_path.glob("runs/*/*")
    assert folder.name[8:].startswith("-maml_outer=joint,model.hidden=_8_,training.iterations=2")
    assert "this run (maml outer=joint)" in capsys.readouterr().out
    assert "maml outer=joint, 1-8-1 relu, 2 iterations" in (folder / "maml_exp.log").read_text()
    assert read_summary(folder)["config"]["algorithm"]["preset"] == "maml"  # where it came from
