"""Saved runs of schemas 2 to 4 live on: their settings mean what they meant, and their bits stay."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import only_run, read_rows, read_status, read_summary, saved_steps

from maml_exp.api import load
from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.config.migrations import AXES_OF_3, NO_EVOLUTION, migrated, typed_then
from maml_exp.config.plain import flatten
from maml_exp.config.saved import load_config
from maml_exp.config.schema import SCHEMA

DATA = Path(__file__).parents[1] / "data"
NEW = {  # what a configuration of a schema is given, and what it meant there
    2: {"optimizer.clip_norm": None, "training.keep_best": False, "training.patience": 0},
    3: flatten({"algorithm": AXES_OF_3})
    | {
        "optimizer.schedule": "constant",
        "optimizer.lr_end": 0.0,
        "evaluation.baselines": None,
        "task.noise": 0.0,
        "task.x_training": "random",
    }
    | {f"task.{key}_test": None for key in ("amplitude", "phase", "x_range")},
    4: {"model.layer_norm": False},
    5: flatten({"algorithm": {"evolution": NO_EVOLUTION}}) | {"task.support_targets": "plain"},
}
EVERYTHING_NEW = {key: value for new in NEW.values() for key, value in new.items()}
each_schema = pytest.mark.parametrize("schema", [2, 3, 4])


def saved_config(schema):
    return yaml.safe_load((DATA / f"schema{schema}" / "finished" / ".hydra" / "config.yaml").read_text())


@pytest.fixture
def saved(tmp_path, schema):
    return shutil.copytree(DATA / f"schema{schema}", tmp_path / "saved")


@pytest.mark.parametrize("limit", [None, 10.0, 0.5])
def test_a_clip_norm_that_was_saved_stays_what_it_is(limit):
    plain = saved_config(2)
    plain["optimizer"]["clip_norm"] = limit
    new = migrated(plain)
    assert flatten(new) == flatten(plain) | EVERYTHING_NEW | {"optimizer.clip_norm": limit, "schema": SCHEMA}
    assert plain["schema"] == 2  # what was given is not changed


@each_schema
def test_a_configuration_is_given_what_came_after_it_and_nothing_else_changes(schema):
    plain = saved_config(schema)
    came = {key: value for since, new in NEW.items() if since >= schema for key, value in new.items()}
    assert not set(came) & set(flatten(plain)) - {"optimizer.clip_norm"}
    assert flatten(migrated(plain)) == flatten(plain) | came | {"schema": SCHEMA}


@pytest.mark.parametrize("strange", [{"optimizer": None}, {"training": [1]}, {"schema": "2"}, {"schema": 99}, {}])
def test_what_is_no_configuration_is_left_for_the_checks_to_refuse(strange):
    plain = {"schema": 2, "optimizer": "adam", **strange}
    assert migrated(plain)["optimizer"] == plain["optimizer"]


@pytest.mark.parametrize("schema", [2])
def test_several_inner_steps_are_not_clipped_where_they_were_not(saved):
    config = load_config(saved / "finished" / ".hydra" / "config.yaml")
    assert config.inner.steps == 2
    assert config.problem.clip_norm is None
    assert compose(["inner.steps=2"]).problem.clip_norm == 10.0


@each_schema
def test_the_interrupted_run_ends_with_the_bits_of_the_one_that_was_not(saved, schema, capsys):
    interrupted, finished = saved / "interrupted", saved / "finished"
    if schema == 2:  # or clipping would not show
        assert max(row["meta/grad_norm"] for row in read_rows(finished)[:-1]) > 10
    (at,) = saved_steps(interrupted)
    assert main(["resume", str(interrupted)]) == 0
    assert f"resumed at iteration {at} of 20" in capsys.readouterr().err
    with np.load(finished / "checkpoints" / "step_00000020.npz", allow_pickle=False) as file:
        expected = file["vector"].tobytes()
    assert load(interrupted).vector.tobytes() == load(finished).vector.tobytes() == expected
    assert read_summary(interrupted)["parameters_sha256"] == hashlib.sha256(expected).hexdigest()
    objective = read_summary(finished)["objective"]  # measured by sums in another order then
    assert read_summary(interrupted)["objective"] == pytest.approx(objective, rel=1e-6)
    assert saved_steps(interrupted) == [20]
    assert "health/explosions" in read_rows(interrupted)[-2]


@each_schema
def test_a_rerun_of_the_finished_run_has_the_same_parameters(saved, schema, capsys):
    assert main(["rerun", str(saved / "finished")]) in (0, 3)  # measured errors were summed in another order
    told = capsys.readouterr().out
    assert "the parameters are the same to the bit" in told or "identical: parameters" in told
    new = yaml.safe_load((only_run(Path.cwd()) / ".hydra" / "config.yaml").read_text())
    old = flatten(saved_config(schema))
    assert {key: value for key, value in flatten(new).items() if key in old} == old | {"schema": SCHEMA}


@pytest.mark.parametrize("schema", [2])
def test_jobs_that_an_older_sweep_has_not_started_have_the_defaults_of_then(saved, tmp_path):
    sweep = tmp_path / "sweep"
    overrides = (saved / "finished" / ".hydra" / "overrides.yaml").read_text()
    shared = [text for text in yaml.safe_load(overrides) if not text.startswith("hydra")]
    jobs = [[*shared, "seed=0"], [*shared, "seed=1"]]
    shutil.copytree(saved / "finished", sweep / "0_seed=0")
    (sweep / "sweep.json").write_text(json.dumps({"overrides": [*shared, "seed=0,1"], "constant": [], "jobs": jobs}))
    assert main(["resume", str(sweep)]) == 0
    assert sorted(path.name[0] for path in sweep.iterdir() if path.is_dir()) == ["0", "1"]  # the first is recognised
    (second,) = sweep.glob("1_*")
    config = load_config(second / ".hydra" / "config.yaml")
    assert (config.seed, config.optimizer.clip_norm) == (1, None)
    assert read_status(second)["state"] == "finished"


def test_what_was_typed_under_today_s_schema_is_left_alone():
    assert typed_then(["seed=1"], SCHEMA) == ["seed=1"]
    assert compose(typed_then(["optimizer.clip_norm=2"], 2)).optimizer.clip_norm == 2.0
    assert compose(typed_then(["optimizer=sgd"], 2)).optimizer.clip_norm is None
