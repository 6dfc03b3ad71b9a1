"""Saved configurations against today's schema, and overrides of them."""

from pathlib import Path

import pytest
import yaml
from helpers import only_run, read_status, result, tree

from maml_exp.cli import main
from maml_exp.config.schema import SCHEMA


def edit_config(folder, change):
    path = folder / ".hydra" / "config.yaml"
    plain = yaml.safe_load(path.read_text())
    change(plain)
    path.write_text(yaml.safe_dump(plain))


OLD = [  # a configuration of another version: what is changed, what the message names
    (lambda c: c["inner"].pop("lr"), "inner.lr", "inner.lr=VALUE"),
    (lambda c: c.pop("threads"), "threads", "threads=VALUE"),
    (lambda c: c["model"].update(colour="red"), "model.colour", "not a setting"),
    (lambda c: c.update(momentum=1), "momentum", "not a setting"),
    (lambda c: c["task"].update(shots=0), "task.shots", "from 1"),
    (lambda c: c["algorithm"].update(learner="reptilian"), "algorithm.learner='reptilian'", "gradient"),
    (lambda c: c["algorithm"].update(outer="reptilian"), "algorithm.outer='reptilian'", "first_order"),
    (lambda c: c["algorithm"].update(name="maml"), "algorithm.name", "algorithm=fomaml"),
    (lambda c: c.update(schema=SCHEMA + 1), f"schema={SCHEMA + 1}", f"it must be {SCHEMA}"),
    (lambda c: c.update(schema="new"), "schema", "an integer"),
    (lambda c: (c.pop("schema"), c.update(algorithm={"name": "reptilian"})), "'reptilian'", "gradient"),
    (lambda c: (c.pop("schema"), c.update(algorithm={"name": ["maml"]})), "['maml']", "gradient"),
]


@pytest.mark.parametrize("case", OLD, ids=[case[1] for case in OLD])
@pytest.mark.parametrize("verb", ["rerun", "resume", "plot"])
def test_a_configuration_of_another_version_is_named_and_what_to_do(verb, case, tiny, killed, copied, capsys):
    change, key, remedy = case
    folder = copied(killed if verb == "resume" else tiny)
    edit_config(folder, change)
    before = tree(folder)
    assert main([verb, str(folder)]) == 1
    errors = capsys.readouterr().err
    assert key in errors
    assert remedy in errors
    assert str(folder / ".hydra" / "config.yaml") in errors
    assert len(errors.splitlines()) <= 2
    assert tree(folder) == before
    assert list(Path().iterdir()) == []


def test_a_missing_key_can_be_given(tiny, copied, capsys):
    folder = copied(tiny)
    edit_config(folder, lambda c: c["inner"].pop("lr"))
    assert main(["rerun", str(folder), "inner.lr=0.01"]) == 0
    assert result(only_run(Path.cwd())) == result(tiny)
    assert read_status(only_run(Path.cwd()))["state"] == "finished"


BAD = [
    ("inner.lrr=1", "inner.lrr", "inner.lr"),
    ("inner.lr=-1", "inner.lr=-1.0", "> 0"),
    ("inner.lr=abc", "inner.lr", "number"),
    ("model=foo", "model=foo", "one_hidden"),
    ("model=../../x", "model=../../x", "one_hidden"),
    ("seed=1,2", "seed=1,2"),
    ("+foo=1", "foo"),
    ("~seed", "~seed"),
    ("seed", "seed"),
    ("=3", "=3"),
    ("inner=3", "inner=3", "one_step"),
    ("optimizer.name=sgd", "optimizer.beta1", "optimizer=sgd"),
    ("optimizer.momentum=0.9", "optimizer.momentum", "optimizer=sgd"),
    ("algorithm.name=fomaml", "algorithm.name", "algorithm=fomaml"),
    ("algorithm=reptilian", "algorithm=reptilian", "fomaml, joint, learned_loss, learned_optimizer, lslr"),
    ("seed.x=3", "seed"),
    ("name=${oc.env:HOME}", "name"),
    ("model._target_=os.getcwd", "_target_"),
    ("hydra.run.dir=/tmp/x", "hydra"),
]


@pytest.mark.parametrize("case", BAD, ids=[case[0] for case in BAD])
def test_bad_overrides_are_refused(case, tiny, capsys):
    override, *needles = case
    assert main(["rerun", str(tiny), override]) == 1
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) <= 2
    assert "Traceback" not in errors
    assert [needle for needle in needles if needle not in errors] == [], errors
    assert list(Path().iterdir()) == []
