"""What a user mistypes: exit status 1, a line or two that name key, value and what is allowed, nothing written."""

import re
from pathlib import Path

import pytest
from helpers import command

from maml_exp.cli import main

# an override, behind one that chooses a group's option where it needs that; what the message must hold
MISSPELT = [
    ("inner.lrr=1", "inner.lrr", "inner.lr"),
    ("+inner.lrr=1", "inner.lrr", "inner.lr"),
    ("++inner.lrr=1", "inner.lrr", "inner.lr"),
    ("sed=1", "sed", "seed"),
    ("+sed=1", "sed", "seed"),
    ("++sed=1", "sed", "seed"),
    ("innner.lr=1", "innner", "inner.lr"),
    ("++innner.lr=1", "innner", "inner.lr"),
    ("model.hiden=[3]", "model.hiden", "model.hidden"),
    ("+training.foo.bar=1", "training.foo"),
    ("iterations=5", "iterations", "training.iterations"),
    ("_target_=os.getcwd", "_target_"),
    ("+inner._target_=os.getcwd", "_target_"),
    ("algorithm.name=fomaml", "algorithm.name", "algorithm=fomaml"),  # what it was called
    ("optimizer.momentum=0.9", "optimizer.momentum", "of sgd", "optimizer=sgd"),
    ("optimizer.name=sgd", "optimizer.beta1", "not of sgd", "optimizer=sgd"),
    ("optimizer=sgd optimizer.beta1=0.5", "optimizer.beta1", "of adam", "optimizer=adam"),
    ("optimizer=sgd optimizer.momentun=0.5", "optimizer.momentun", "optimizer.momentum"),
    ("~nothing", "nothing"),
    ("~inner.lr", "inner.lr"),
]
WRONG_TYPE = [
    ("inner.lr=abc", "inner.lr", "'abc'", "number"),
    ("inner.lr=true", "inner.lr", "True", "number"),
    ("inner.lr=null", "inner.lr", "number"),
    ("inner.lr=[1]", "inner.lr", "number"),
    ("inner.steps=1.5", "inner.steps", "1.5", "integer"),
    ("inner.steps=true", "inner.steps", "True", "integer"),
    ("seed=abc", "seed", "'abc'", "integer"),
    ("seed=1e3", "seed", "1000.0", "integer"),
    ("seed=null", "seed", "integer"),
    ("training.iterations=many", "training.iterations", "'many'", "integer"),
    ("model.hidden=5", "model.hidden", "5", "a list of 1 to 100 widths"),
    ("model.hidden=abc", "model.hidden", "'abc'", "a list of 1 to 100 widths"),
    ("model.hidden=[a]", "model.hidden", "'a'", "a list of 1 to 100 widths"),
    ("model.hidden=[1.5]", "model.hidden", "1.5", "a list of 1 to 100 widths"),
    ("model.hidden=[40,null]", "model.hidden", "a list of 1 to 100 widths"),
    ("model.hidden=null", "model.hidden", "a list of 1 to 100 widths"),
    ("model.hidden={a:1}", "model.hidden", "list"),
    ("task.amplitude=3", "task.amplitude", "3", "two finite numbers"),
    ("task.amplitude=[a,b]", "task.amplitude", "'a'", "two finite numbers"),
    ("evaluation.plots=maybe", "evaluation.plots", "'maybe'", "true or false"),
    ("evaluation.shots=abc", "evaluation.shots", "'abc'", "list of different integers"),
    ("evaluation.shots=[a]", "evaluation.shots", "'a'", "list of different integers"),
    ("evaluation.shots=1.5", "evaluation.shots", "1.5", "list of different integers"),
    ("evaluation.shots={a:1}", "evaluation.shots", "list"),
    ("name=[a]", "name", "'a'", "letters"),
    ("algorithm=lslr algorithm.rates_start=abc", "algorithm.rates_start", "'abc'", "two finite numbers"),
    ("algorithm=ridge algorithm.learn_scale=abc", "algorithm.learn_scale", "'abc'", "true or false"),
    ("optimizer.clip_norm=foo", "optimizer.clip_norm", "'foo'", "auto, a finite number > 0, or null"),
    ("evaluation.lr=foo", "evaluation.lr", "'foo'", "a finite number > 0, a list of such, or null"),
    ("model={a:1}", "model.a"),
]
UNKNOWN_OPTION = [
    ("model=foo", "model=foo", "one_hidden", "two_hidden"),
    ("algorithm=foo", "algorithm=foo", "fomaml", "joint", "maml"),
    ("inner=foo", "inner=foo", "one_step", "five_steps"),
    ("task=foo", "task=foo", "sinusoid"),
    ("optimizer=foo", "optimizer=foo", "adam", "sgd"),
    ("training=foo", "training=foo", "default", "paper"),
    ("evaluation=foo", "evaluation=foo", "default", "thorough"),
    ("+experiment=foo", "experiment=foo", "smoke"),
    ("experiment=smoke", "experiment", "+experiment=smoke"),
    ("inner=3", "inner", "3", "one_step", "five_steps"),
    ("inner=null", "inner", "one_step", "five_steps"),
    ("inner=true", "inner", "one_step", "five_steps"),
    ("inner=[1]", "inner", "1", "one_step", "five_steps"),
    ("model=[one_hidden,foo]", "model", "foo", "one_hidden"),
    ("model.activation=foo", "model.activation='foo'", "relu, sine, softplus, tanh"),
    ("model.activation=3", "model.activation='3'", "relu, sine, softplus, tanh"),
    ("model.initializer=foo", "model.initializer='foo'", "truncated_normal, uniform_fan_in"),
    ("algorithm.learner=foo", "algorithm.learner='foo'", "gradient"),
    ("algorithm.outer=foo", "algorithm.outer='foo'", "exact, first_order, joint"),
    ("optimizer.name=foo", "optimizer.name='foo'", "adam, sgd"),
    ("task.name=foo", "task.name='foo'", "sinusoid"),
    ("dtype=float16", "dtype='float16'", "float32, float64"),
]
POSITIVE, FRACTION = "a finite number > 0", "0 <= value < 1"
OUT_OF_RANGE = [
    *[(f"inner.lr={value}", "inner.lr", value, POSITIVE) for value in ("0", "-0.1", "inf", "-inf", "nan")],
    ("inner.lr=1e400", "inner.lr", "inf", POSITIVE),
    ("inner.steps=-1", "inner.steps=-1", "0"),
    ("model.hidden=[]", "model.hidden=[]", "1"),
    ("model.hidden=[0]", "model.hidden=[0]", "1"),
    ("model.hidden=[40,-1]", "model.hidden=[40, -1]", "1"),
    ("model.hidden=[[40,40]]", "model.hidden=[[40, 40]]", "[40,40]"),
    ("task.shots=0", "task.shots=0", "from 1"),
    ("task.shots=-3", "task.shots=-3", "from 1"),
    ("task.query=0", "task.query=0", "from 1"),
    ("task.amplitude=[]", "task.amplitude=[]", "[low, high]", "<="),
    ("task.amplitude=[1]", "task.amplitude=[1.0]", "[low, high]"),
    ("task.amplitude=[2,1]", "task.amplitude=[2.0, 1.0]", "[low, high]", "<="),
    ("task.amplitude=[1,2,3]", "task.amplitude=[1.0, 2.0, 3.0]", "[low, high]"),
    ("task.amplitude=[1,inf]", "task.amplitude=[1.0, inf]", "finite"),
    ("task.amplitude=[nan,1]", "task.amplitude=[nan, 1.0]", "finite"),
    ("task.amplitude=[[1,2],[3,4]]", "task.amplitude=[[1, 2], [3, 4]]", "[low, high]"),
    ("task.phase=[1,0]", "task.phase=[1.0, 0.0]", "[low, high]"),
    ("task.frequency=[]", "task.frequency=[]", "[low, high]"),
    ("task.x_range=[1,1]", "task.x_range=[1.0, 1.0]", "low < high"),
    ("task.x_range=[5,-5]", "task.x_range=[5.0, -5.0]", "low < high"),
    *[(f"optimizer.lr={value}", "optimizer.lr", value, POSITIVE) for value in ("0", "-1", "nan", "inf")],
    *[(f"optimizer.{key}=1", f"optimizer.{key}=1.0", FRACTION) for key in ("beta1", "beta2")],
    ("optimizer=sgd optimizer.momentum=1", "optimizer.momentum=1.0", FRACTION),
    ("optimizer=sgd optimizer.momentum=-0.1", "optimizer.momentum=-0.1", FRACTION),
    ("algorithm.preset=../x", "algorithm.preset='../x'", "letters"),
    ("optimizer.epsilon=0", "optimizer.epsilon=0.0", POSITIVE),
    ("optimizer.clip_norm=0", "optimizer.clip_norm=0 ", POSITIVE),
    ("training.iterations=0", "training.iterations=0", "from 1"),
    ("training.iterations=1000000001", "training.iterations=1000000001", "to 1000000000"),
    ("training.meta_batch=0", "training.meta_batch=0", "from 1"),
    ("training.log_every=0", "training.log_every=0", "from 1"),
    ("training.evaluate_every=-1", "training.evaluate_every=-1", "from 0"),
    ("training.checkpoint_every=-1", "training.checkpoint_every=-1", "from 0"),
    ("training.keep_checkpoints=-1", "training.keep_checkpoints=-1", "from 0"),
    ("evaluation.seed=-1", "evaluation.seed=-1", "from 0"),
    ("evaluation.tasks=0", "evaluation.tasks=0", "from 1"),
    ("evaluation.tasks_in_training=0", "evaluation.tasks_in_training=0", "from 1"),
    ("evaluation.steps=-1", "evaluation.steps=-1", "from 0"),
    ("evaluation.grid=1", "evaluation.grid=1", "from 2"),
    ("evaluation.lr=0", "evaluation.lr=0", POSITIVE),
    ("evaluation.lr=-1", "evaluation.lr=-1", POSITIVE),
    ("evaluation.shots=[]", "evaluation.shots=[]", "integers from 1"),
    ("evaluation.shots=0", "evaluation.shots=", "0", "integers from 1"),
    ("evaluation.shots=[5,5]", "evaluation.shots=[5, 5]", "different"),
    ("evaluation.shots=[5,[10]]", "evaluation.shots=[5, [10]]", "integers from 1"),
    ("evaluation.shots=true", "evaluation.shots", "True", "integers from 1"),
    ("evaluation.lr=[]", "evaluation.lr=[]", "> 0"),
    ("evaluation.lr=[0.01,0]", "evaluation.lr=[0.01, 0]", "> 0"),
    ("evaluation.validation_tasks=0", "evaluation.validation_tasks=0", "from 1"),
    ("evaluation.validation_seed=-1", "evaluation.validation_seed=-1", "from 0"),
    ("evaluation.validation_seed=1000 evaluation.lr=[0.1,1]", "evaluation.validation_seed=1000", "evaluation.seed"),
    ("evaluation.seed=2000 training.keep_best=true", "evaluation.validation_seed=2000", "evaluation.seed"),
    ("evaluation.objective=best", "evaluation.objective='best'", "mean", "median"),
    ("evaluation.objective_shots=7", "evaluation.objective_shots=7", "[5, 10, 20]"),
    ("evaluation.objective_steps=11", "evaluation.objective_steps=11", "to 10"),
    ("seed=-1", "seed=-1", "from 0"),
    ("seed=9223372036854775808", "seed=9223372036854775808", "from 0 to 9223372036854775807"),
    ("threads=0", "threads=0", "from 1"),
    ("name=../x", "name='../x'", "letters"),
    ("name=a/b", "name='a/b'", "letters"),
    ("name=''", "name=''", "1 to 100"),
    (f"name={'x' * 101}", "name='xxx", "1 to 100"),
]
NOT_A_SETTING = [
    ("inner.lr", "inner.lr", "inner.lr=0.02"),
    ("frobnicate", "frobnicate", "resume", "rerun", "plot", "diff", "gradcheck"),
    ("foo bar", "foo bar", "resume"),
    ("inner.lr=[1,2", "inner.lr=[1,2"),
    ("model.hidden=[1,,2]", "model.hidden=[1,,2]"),
    ("inner.lr==3", "inner.lr==3"),
    ("=3", "=3"),
    ("inner.lr=1,2", "inner.lr=1,2", "multirun"),
    ("seed=range(1,4)", "seed=range(1,4)", "multirun"),
    ("inner.lr=${foo}", "inner.lr", "foo"),
    ("inner.lr=${oc.env:MAML_EXP_NOT_THERE}", "inner.lr", "MAML_EXP_NOT_THERE"),
    ("name=${oc.env:PATH}", "name"),
    ("inner.lr=???", "inner.lr"),
    ("hydra.nothing=3", "hydra.nothing"),
    ("hydra/launcher=nothing", "hydra/launcher=nothing", "basic"),
]
FEW = 6  # of each kind; the others are slow tests
ALL = [
    pytest.param(case, id=case[0], marks=[pytest.mark.slow] * (number >= FEW))
    for kind in (MISSPELT, WRONG_TYPE, UNKNOWN_OPTION, OUT_OF_RANGE, NOT_A_SETTING)
    for number, case in enumerate(kind)
]


def assert_refused(status, errors, needles):
    """Status 1, and one or two lines with `needles` in them."""
    assert status == 1
    assert "Traceback" not in errors
    assert 1 <= len(errors.splitlines()) <= 2
    assert errors.startswith("maml-exp: ")
    assert [needle for needle in needles if needle not in errors] == [], errors


@pytest.mark.parametrize("case", ALL)
def test_refused_before_anything_is_written(case, capsys):
    override, *needles = case
    overrides = re.split(r" (?=[\w.]+=)", override)
    short = [] if "iterations" in override else ["training.iterations=1"]  # if it is not refused: a short run
    status = main([*overrides, *short])
    captured = capsys.readouterr()
    assert_refused(status, captured.err, needles)
    assert captured.out == ""
    assert list(Path().iterdir()) == []


REAL = [
    ["inner.lrr=1"],
    ["inner.lr=-1"],
    ["model=foo"],
    ["inner=3"],
    ["inner.lr"],
    ["frobnicate"],
    ["gradcheck", "inner.lr=-1"],
    ["resume", "nowhere"],
    ["rerun", "nowhere"],
    ["diff", "nowhere", "nowhere"],
    ["plot", "nowhere"],
]


@pytest.mark.parametrize("arguments", REAL, ids=" ".join)
def test_the_same_for_a_real_process(arguments, tmp_path):
    process = command(*arguments, cwd=tmp_path)
    assert_refused(process.returncode, process.stderr, [arguments[-1].split("=")[0]])
    assert process.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file", "full"], ids=["a file in the way", "a folder with something in it"])
def test_a_folder_that_cannot_be_used_is_named(where, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full" / "file").write_text("mine")
    target = tmp_path / "file" / "run" if where == "file" else tmp_path / "full"
    assert_refused(
        main(["+experiment=smoke", f"hydra.run.dir={target}"]), capsys.readouterr().err, [str(tmp_path / where)]
    )
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "file", "full"]
    assert (tmp_path / "full" / "file").read_text() == "mine"
