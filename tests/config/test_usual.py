"""What conf/ says, read without Hydra, is what Hydra composes; and how a run is said to differ from it."""

import pytest

from maml_exp.config.composing import compose
from maml_exp.config.overrides import as_text
from maml_exp.config.plain import flatten
from maml_exp.config.reference import sections
from maml_exp.config.usual import GROUPS, changes, options, short_names, usual_settings
from maml_exp.store.names import joined, run_name

CHOICES = [(group, option) for group in GROUPS if group != "experiment" for option in options(group)]


@pytest.mark.slow
@pytest.mark.parametrize("choice", [(), *((choice,) for choice in CHOICES)], ids=str)
def test_the_settings_are_hydras_and_in_its_order(choice):
    composed = flatten(compose([f"{group}={option}" for group, option in choice]).to_dict())
    assert usual_settings(*choice) == composed
    assert list(usual_settings(*choice)) == list(composed)


DIFFERING = [
    ([], {}),
    (["seed=3", "inner.steps=5"], {"seed": 3, "inner.steps": 5}),
    (["algorithm=fomaml"], {"algorithm": "fomaml"}),
    (["algorithm.outer=joint"], {"algorithm.outer": "joint"}),
    (["optimizer=sgd", "optimizer.momentum=0.9"], {"optimizer": "sgd", "optimizer.momentum": 0.9}),
    (["model=one_hidden"], {"model.hidden": [40]}),
    (["optimizer=sgd", "optimizer.lr=0.01"], {"optimizer": "sgd"}),
    (["optimizer.clip_norm=3"], {"optimizer.clip_norm": 3}),
]


@pytest.mark.parametrize(("overrides", "expected"), DIFFERING, ids=[" ".join(case[0]) for case in DIFFERING])
def test_what_differs_makes_the_same_configuration_again(overrides, expected):
    config = compose(overrides)
    found = changes(flatten(config.to_dict()))
    assert found == expected
    assert compose([f"{key}={str(value).replace(' ', '')}" for key, value in found.items()]) == config


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optimizer.clip_norm=null"], {}),  # never, as auto with one inner step
        (["optimizer.clip_norm=10", "inner.steps=2"], {"inner.steps": 2}),
        (["optimizer.clip_norm=null", "inner.steps=2"], {"optimizer.clip_norm": None, "inner.steps": 2}),
        (["optimizer.clip_norm=null", "optimizer=sgd"], {"optimizer": "sgd"}),
    ],
)
def test_what_means_the_same_is_no_difference(overrides, expected):
    config = compose(overrides)
    found = changes(flatten(config.to_dict()))
    assert found == expected
    again = compose([f"{key}={as_text(value)}" for key, value in found.items()])
    assert again.problem.clip_norm == config.problem.clip_norm


NAMES = [
    ([], "maml"),
    (["seed=3", "inner.steps=5"], "maml,seed=3,inner.steps=5"),
    (["algorithm=fomaml", "model.hidden=[64,64]"], "fomaml,model.hidden=_64,64_"),
    (["evaluation.plots=false", "training.log_every=7"], "maml"),  # changes nothing that is learned or measured
    (["name=mine", "seed=3"], "mine"),
]


@pytest.mark.parametrize(("overrides", "name"), NAMES, ids=[case[1] for case in NAMES])
def test_a_run_is_named_after_what_differs(overrides, name):
    assert run_name(compose(overrides)) == name


def test_a_long_name_leaves_out_whole_settings_and_says_how_many():
    settings = "seed=1234 task.amplitude=[1,2] task.phase=[0,1] inner.lr=0.125 training.iterations=123456789"
    config = compose([*settings.split(), "training.meta_batch=7", "evaluation.tasks=77", "optimizer.lr=0.25"])
    name = run_name(config)
    assert len(name) <= 100
    *kept, rest = name.split(",+")
    assert kept[0].startswith("maml,seed=1234,")
    assert kept[0].count("=") + int(rest) == 8
    assert joined(["a=1", "b=22", "c=333"], 9) == "a=1,+2"
    assert joined(["a=1", "b=22", "c=333"], 14) == "a=1,b=22,c=333"
    assert joined(["a=1", "b=22", "c=333"], 13) == "a=1,b=22,+1"
    assert joined(["abcdefgh"], 5) == "abcd~"
    assert joined([], 5) == ""


def test_short_names_are_ends_that_no_other_setting_has():
    names = ["seed", "inner.lr", "model.hidden", "evaluation.seed", "optimizer.lr", "task.context.size"]
    assert short_names(names) == {
        "seed": "seed",
        "inner.lr": "inner.lr",
        "model.hidden": "hidden",
        "evaluation.seed": "evaluation.seed",
        "optimizer.lr": "optimizer.lr",
        "task.context.size": "size",
    }


def test_defaults_of_the_reference_are_those_of_a_composition():
    compared = 0
    for section in sections():
        _, _, choice = section.title.partition(" with ")
        group, _, name = choice.partition("=")
        option = [f"{group.partition('.')[0]}={name}"] if choice else []
        if option == ["algorithm=gradient"]:  # of which every option is a preset
            continue
        composed = flatten(compose(option).to_dict())
        compared += len(section.entries)
        assert {entry.key: entry.default for entry in section.entries} == {
            entry.key: as_text(composed[entry.key]) for entry in section.entries
        }
    assert compared > 100
