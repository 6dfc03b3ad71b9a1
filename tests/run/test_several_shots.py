"""What a list of task.shots means for the objective, and what a run and a comparison say of it."""

import json
import shutil

import pytest
from helpers import TINY, assert_same_result, checkpoint_path, read_summary, saved_steps

from maml_exp.cli import main
from maml_exp.comparison.comparison import Comparison
from maml_exp.config.composing import compose
from maml_exp.core.checks import SettingError


@pytest.mark.parametrize(
    ("trained", "judged", "wanted", "expected"),
    [
        ("[2,10,5]", "[5,10,20]", "null", 5),
        ("[2,20]", "[5,10,20]", "null", 20),
        ("[2,20]", "[5,10,20]", "10", 10),
        ("[2,3]", "[5,10]", "10", 10),
        ("7", "[5,10]", "null", 5),
        ("[10]", "[5,10]", "null", 10),
    ],
)
def test_the_objective_is_about_a_number_that_was_trained_with(trained, judged, wanted, expected):
    texts = [f"task.shots={trained}", f"evaluation.shots={judged}", f"evaluation.objective_shots={wanted}"]
    assert compose(texts).objective_shots == expected


def test_where_none_of_them_is_judged_it_must_be_said_which_counts():
    words = r"evaluation.objective_shots=None is not usable: it must be one of evaluation.shots, \[5, 10\], where none"
    with pytest.raises(SettingError, match=words):
        compose(["task.shots=[2,3]", "evaluation.shots=[5,10]"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several") / "run"
    assert main([*TINY, "task.shots=[2,5,9]", "evaluation.plots=true", f"hydra.run.dir={folder}"]) == 0
    return folder


def test_the_run_says_what_it_was_trained_with(run, capsys):
    assert "K drawn from [2, 5, 9]" in (run / "maml_exp.log").read_text()
    assert read_summary(run)["config"]["task"]["shots"] == [2, 5, 9]
    assert main(["rerun", str(run)]) == 0
    out = capsys.readouterr().out
    assert "trained with K drawn anew every iteration, from 2, 5, 9 (task.shots)" in out
    assert "identical" in out


def test_it_resumes_to_the_same_bits(run, tmp_path):
    cut = shutil.copytree(run, tmp_path / "cut")
    steps = saved_steps(cut)
    checkpoint_path(cut, steps[-1]).unlink()
    (cut / "summary.json").unlink()
    (cut / "status.json").write_text(json.dumps({"state": "interrupted"}))
    assert len(steps) > 1
    assert main(["resume", str(cut)]) == 0
    assert_same_result(cut, run)


def test_it_is_compared_with_a_run_of_one_number(run, tmp_path):
    assert main([*TINY, "task.shots=5", f"hydra.run.dir={tmp_path / 'one'}"]) == 0
    comparison = Comparison.of([run, tmp_path / "one"])
    assert comparison.ranked_shots == 5  # both were trained and judged with it
    assert [group.label for group in comparison.groups] == ["task.shots=[2,5,9]", "task.shots=5"]
    assert "task.shots" in comparison.best_command
