"""--where KEY=VALUE: by value, by group, by name; the same for list and compare."""

import re
import shlex
from collections import namedtuple

import pytest

from maml_exp.cli import main
from maml_exp.comparison.conditions import choose
from maml_exp.config.composing import compose
from maml_exp.config.plain import flatten
from maml_exp.core.checks import SettingError

from .helpers import make_run

Run = namedtuple("Run", "name settings")
MADE = {
    "default": [],
    "fomaml": ["algorithm=fomaml", "seed=1"],
    "oracle": ["task.oracle=true", "model=one_hidden"],
    "sgd": ["optimizer=sgd", "inner.lr=0.02", "name='one, two'", "task.amplitude=[1,3]"],
}
RUNS = [Run(name, flatten(compose(overrides).to_dict())) for name, overrides in MADE.items()]
CHOSEN = [
    ("algorithm=maml", {"default", "oracle", "sgd"}),
    ("algorithm.preset=fomaml", {"fomaml"}),
    ("optimizer=sgd", {"sgd"}),
    ("momentum=0", {"sgd"}),
    ("task=sinusoid", set(MADE)),
    ("task.oracle=true", {"oracle"}),
    ("oracle=True", {"oracle"}),
    ("task.oracle=1", set()),  # true is no number
    ("seed=true", set()),
    ("inner.lr=1e-2", {"default", "fomaml", "oracle"}),
    ("inner.lr=.02", {"sgd"}),
    ("task.amplitude=[1, 3.0]", {"sgd"}),
    ("task.amplitude=[0.1,5]", {"default", "fomaml", "oracle"}),
    ("name=null", {"default", "fomaml", "oracle"}),
    ("name='one, two'", {"sgd"}),
    ("model=one_hidden", {"oracle"}),
    ("hidden=[40]", {"oracle"}),
    ("inner=one_step", {"default", "fomaml", "oracle"}),
    ("algorithm=no_such", set()),
]
REFUSED = [
    ("seed", "give KEY=VALUE"),
    ("=3", "give KEY=VALUE"),
    ("seed=0,1", "give one value"),
    ("algoritm=maml", "did you mean algorithm=..."),
    ("inner.stesp=3", "inner.stesp is not a setting of these runs; did you mean inner.steps?"),
    ("hiden=[3]", "did you mean model.hidden?"),
    ("algorithm.name=maml", "choose a method with algorithm="),
    ("model=nope", "must be one of one_hidden"),
    ("experiment=smoke", "runs hold settings"),
]


@pytest.mark.parametrize(("condition", "names"), CHOSEN, ids=[case[0] for case in CHOSEN])
def test_a_condition_chooses_by_value(condition, names):
    assert {run.name for run in choose(RUNS, [condition])} == names


def test_all_conditions_must_hold():
    assert [run.name for run in choose(RUNS, ["algorithm=maml", "seed=0", "lr=0.01", "optimizer=adam"][:2])] == [
        "default",
        "oracle",
        "sgd",
    ]
    assert choose(RUNS, ["algorithm=maml", "seed=1"]) == []


@pytest.mark.parametrize(("condition", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_condition_about_nothing_is_named(condition, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        choose(RUNS, [condition])


def test_all_that_makes_runs_incomparable_is_named_with_a_way_out_that_works(tmp_path, capsys):
    for seed in range(3):
        make_run(tmp_path / f"a{seed}", {10: [1.0] * 4}, seed=seed)
    make_run(tmp_path / "b", {10: [2.0] * 4}, task__amplitude=[1.0, 2.0], evaluation__tasks=50)
    make_run(tmp_path / "c", {10: [2.0] * 4}, evaluation__seed=7)
    assert main(["compare", str(tmp_path), "--no-figures"]) == 1
    message = capsys.readouterr().err
    for line in (
        "task.amplitude is [0.1, 5.0] (4 runs), [1.0, 2.0] (1 runs)",
        "evaluation.tasks is 600 (4 runs), 50 (1 runs)",
        "evaluation.seed is 1000 (4 runs), 7 (1 runs)",
    ):
        assert line in message
    assert "(3 do)" in message
    words = shlex.split(message.splitlines()[-1].partition(": ")[2])
    assert words.count("--where") == 3
    assert main(["compare", str(tmp_path), "--no-figures", "--out", str(tmp_path / "out"), *words]) == 0
    assert "± 0" in capsys.readouterr().out  # three seeds with the same error
