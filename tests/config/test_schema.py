"""Good overrides give the right configuration; the files in conf/ and the schema agree."""

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from helpers import default_config, shipped_options

from maml_exp.cli import main
from maml_exp.config.composing import compose, conf_dir, default_settings
from maml_exp.config.plain import flatten
from maml_exp.config.schema import from_dict, to_yaml

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = shipped_options()
GROUPS = sorted({group for group, _ in OPTIONS} - {"experiment"})

# overrides, {setting: value}; from the issue where it names them
GOOD = [
    (["model=one_hidden"], {"model.hidden": [40]}),
    (["model=three_hidden"], {"model.hidden": [40, 40, 40]}),
    (["algorithm=fomaml"], {"algorithm.preset": "fomaml", "algorithm.outer": "first_order"}),
    (["algorithm=joint"], {"algorithm.preset": "joint", "algorithm.outer": "joint"}),
    (["algorithm.outer=joint"], {"algorithm.outer": "joint"}),
    (["inner.lr=0.02", "inner.steps=5"], {"inner.lr": 0.02, "inner.steps": 5}),
    (["inner=five_steps"], {"inner.steps": 5, "inner.lr": 0.01}),
    (["task.shots=5", "task.amplitude=[0.1,1.0]"], {"task.shots": 5, "task.amplitude": [0.1, 1.0]}),
    (["task.amplitude=[2,2]"], {"task.amplitude": [2.0, 2.0]}),
    (["task.phase=[-1e-3,1.5]", "task.x_range=[0,1]"], {"task.phase": [-0.001, 1.5], "task.x_range": [0.0, 1.0]}),
    (["task.frequency=[0.5,2]", "task.query=3"], {"task.frequency": [0.5, 2.0], "task.query": 3}),
    (
        ["training.iterations=500", "training.meta_batch=50"],
        {"training.iterations": 500, "training.meta_batch": 50, "training.log_every": 100},
    ),
    (["training=paper"], {"training.iterations": 70_000, "training.meta_batch": 25}),
    (["model.hidden=[64,64,64]"], {"model.hidden": [64, 64, 64], "model.activation": "relu"}),
    (["model.hidden=[7]", "model.activation=tanh"], {"model.hidden": [7], "model.activation": "tanh"}),
    (["model.initializer=truncated_normal"], {"model.initializer": "truncated_normal"}),
    (["optimizer=sgd"], {"optimizer.name": "sgd", "optimizer.lr": 0.01, "optimizer.momentum": 0.0}),
    (["optimizer.lr=3e-4"], {"optimizer.name": "adam", "optimizer.lr": 3e-4}),
    (["optimizer=sgd", "optimizer.momentum=0.9"], {"optimizer.momentum": 0.9}),
    (["optimizer.clip_norm=10"], {"optimizer.clip_norm": 10.0}),
    (["optimizer.clip_norm=null"], {"optimizer.clip_norm": None}),
    (["evaluation.tasks=6000"], {"evaluation.tasks": 6000}),
    (["evaluation=thorough"], {"evaluation.tasks": 6000, "evaluation.shots": [5, 10, 20]}),
    (["evaluation.shots=[1,3]"], {"evaluation.shots": [1, 3]}),
    (["evaluation.shots=7"], {"evaluation.shots": [7]}),
    (["evaluation.lr=0.5", "evaluation.plots=no"], {"evaluation.lr": 0.5, "evaluation.plots": False}),
    (["evaluation.lr=[0.001,0.01]"], {"evaluation.lr": [0.001, 0.01]}),
    (
        ["evaluation.objective=p95", "evaluation.objective_shots=20"],
        {"evaluation.objective": "p95", "evaluation.objective_shots": 20},
    ),
    (["seed=3", "dtype=float64", "threads=2"], {"seed": 3, "dtype": "float64", "threads": 2}),
    (["name=my first run"], {"name": "my first run"}),
    (["++inner.lr=0.5"], {"inner.lr": 0.5}),
    (["+experiment=smoke"], {"training.iterations": 100, "evaluation.tasks": 50, "model.hidden": [40, 40]}),
    (["+experiment=smoke", "training.iterations=3"], {"training.iterations": 3, "training.log_every": 10}),
]


@cache
def composed(*overrides):
    """`compose`, once for each list of overrides: it takes a tenth of a second."""
    return compose(overrides)


def flat(config):
    """A configuration as {dotted setting: value}."""
    return flatten(config.to_dict())


@pytest.mark.parametrize(("overrides", "expected"), GOOD, ids=[" ".join(overrides) for overrides, _ in GOOD])
def test_overrides_give_these_values_and_change_no_other(overrides, expected):
    ours, default = flat(composed(*overrides)), flat(composed())
    assert {key: ours[key] for key in expected} == expected
    assert [type(ours[key]) for key in expected] == [type(value) for value in expected.values()]
    if not any(override.split("=")[0].strip("+") in [*GROUPS, "experiment"] for override in overrides):
        assert {key for key in ours if ours[key] != default[key]} <= set(expected)


def test_the_composed_default_is_the_schema_s_default():
    default = composed()
    assert default.algorithm.preset == "maml"  # a label, which the schema has none of
    unlabelled = replace(default.algorithm, preset=None)
    assert replace(default, name=None, algorithm=unlabelled) == default_config()


def test_the_default_settings_are_those_composed_without_overrides():
    assert default_settings() == flat(composed())


def test_the_default_is_the_experiment_of_the_issue():
    expected = {
        "algorithm.learner": "gradient",
        "algorithm.preset": "maml",
        "algorithm.outer": "exact",
        "model.hidden": [40, 40],
        "model.activation": "relu",
        "model.initializer": "uniform_fan_in",
        "inner.lr": 0.01,
        "inner.steps": 1,
        "task.amplitude": [0.1, 5.0],
        "task.phase": [0.0, 3.141592653589793],
        "task.frequency": [1.0, 1.0],
        "task.x_range": [-5.0, 5.0],
        "task.shots": 10,
        "task.query": 10,
        "training.meta_batch": 25,
        "training.iterations": 10_000,
        "training.log_every": 100,
        "training.evaluate_every": 2500,
        "optimizer.name": "adam",
        "optimizer.lr": 1e-3,
        "optimizer.clip_norm": "auto",
        "evaluation.shots": [5, 10, 20],
        "evaluation.steps": None,
        "evaluation.lr": None,
        "evaluation.grid": 100,
        "dtype": "float32",
    }
    ours = flat(composed())
    assert {key: ours[key] for key in expected} == expected


def is_global(group, option):
    """Whether a preset reaches into other groups, too."""
    return (CONF / group / f"{option}.yaml").read_text().startswith("# @package _global_")


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=["=".join(pair) for pair in OPTIONS])
def test_every_file_in_conf_composes_to_what_it_says(group, option):
    if option == "search" and find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("hydra-optuna-sweeper is not installed: pip install 'maml-exp[optuna]'")
    stated = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    plus = "+" * (group == "experiment")
    whole = composed(f"{plus}{group}={option}").to_dict()
    for key, value in stated.items():
        if key in ("defaults", "hydra") or "/" in key:
            continue  # groups that an experiment chooses, and how it is swept
        ours = whole[key] if plus or is_global(group, option) else whole[group][key]
        stated = flatten({key: value})
        assert {name: value for name, value in flatten({key: ours}).items() if name in stated} == stated


@pytest.mark.parametrize(("group", "option"), [pair for pair in OPTIONS if pair[0] in GROUPS])
def test_group_files_hold_settings_of_their_group_only(group, option):
    stated = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    here = f"@{group}" if is_global(group, option) else "@_here_"
    for default in stated.pop("defaults", []):
        if isinstance(default, dict):  # another option of another group
            assert all(key.startswith("override /") for key in default)
        else:  # types and bounds alone
            assert default.startswith("/schema/")
            assert default.endswith(here)
    stated = flatten(stated if is_global(group, option) else {group: stated})
    assert set(stated) <= set(flat(composed(f"{group}={option}")))


def test_conf_is_found_beside_the_package():
    assert (conf_dir() / "config.yaml").read_bytes() == (CONF / "config.yaml").read_bytes()


@pytest.mark.parametrize("overrides", [overrides for overrides, _ in GOOD], ids=" ".join)
def test_a_saved_configuration_reads_back_equal(overrides):
    config = composed(*overrides)
    text = to_yaml(config)
    assert "${" not in text
    assert from_dict(yaml.safe_load(text)) == config


def test_cfg_job_prints_the_composed_configuration_and_runs_nothing(capsys):
    assert main(["--cfg", "job", "inner.lr=0.02", "model=one_hidden"]) == 0
    assert from_dict(yaml.safe_load(capsys.readouterr().out)) == compose(["inner.lr=0.02", "model=one_hidden"])
    assert list(Path().iterdir()) == []
