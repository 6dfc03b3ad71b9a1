"""The public API: the same runs as the command line's, read back; what importing costs."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import TINY, assert_same_result, read_rows, read_summary, train

import maml_exp

NAMES = {
    "Adapted",
    "Comparison",
    "Run",
    "SettingError",
    "__version__",
    "compare",
    "load",
    "main",
    "register_learner",
    "register_optimizer",
    "register_task",
    "train",
}


def loaded(code):
    output = subprocess.run(
        [sys.executable, "-c", f"import sys, json; {code}; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name.partition(".")[0] for name in json.loads(output)}


def test_importing_costs_numpy_and_the_standard_library():
    extra = loaded("import maml_exp") - loaded("import numpy")
    assert "maml_exp" in extra
    assert {name for name in extra if name not in sys.stdlib_module_names} == {"maml_exp"}


def test_all_its_names_are_there_and_no_others():
    assert set(maml_exp.__all__) == set(dir(maml_exp)) == NAMES
    assert all(getattr(maml_exp, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        maml_exp.nothing_of_ours  # noqa: B018


@pytest.mark.parametrize(
    ("overrides", "settings"),
    [(["inner.lr=0.02", "seed=3"], None), ([], {"inner.lr": 0.02, "seed": 3}), (["seed=3"], {"inner": {"lr": 0.02}})],
)
def test_train_makes_the_run_that_the_command_line_makes(overrides, settings, tmp_path):
    run = maml_exp.train(*TINY, *overrides, settings=settings, folder=tmp_path / "api")
    assert run.state == "finished"
    assert_same_result(run.folder, train(tmp_path / "command", "inner.lr=0.02", "seed=3"))


def test_train_without_a_folder_makes_one_below_runs():
    run = maml_exp.train(*TINY, "training.iterations=2")
    assert run.folder.parts[0] == "runs"
    assert "-maml,model.hidden=_8_,training.iterations=2" in run.folder.name
    assert (run.folder / ".hydra" / "overrides.yaml").read_text().endswith("- training.iterations=2\n")


def test_a_run_read_back_is_what_its_files_say(tiny):
    run, rows, summary = maml_exp.load(tiny), read_rows(tiny), read_summary(tiny)
    assert run.summary == summary
    assert run.config.to_dict() == summary["config"]
    np.testing.assert_array_equal(run.metrics["step"], [row["step"] for row in rows])
    np.testing.assert_array_equal(run.metrics["meta/loss"], [row.get("meta/loss", np.nan) for row in rows])
    assert run.theta.shape == (25,)
    assert set(run.parts) == {"theta"}
    for shots in (5, 10):
        errors = run.evaluation[f"trained_K{shots}"]
        assert errors.shape == (20, 3)
        mean = summary["evaluation"]["shots"][str(shots)]["trained"]["mean"]
        np.testing.assert_allclose(errors.mean(axis=0), mean, rtol=1e-6)


def test_a_run_that_has_not_finished_says_so(killed):
    run = maml_exp.load(killed)
    assert run.state == "killed"
    assert run.theta.shape == (25,)  # of its newest checkpoint
    for part in ("summary", "evaluation"):
        with pytest.raises(maml_exp.SettingError, match="it is killed"):
            getattr(run, part)


def test_mistakes_are_one_exception_and_leave_no_folder(tmp_path):
    for overrides in (["inner.lr=-1"], ["nonsense"], ["inner.lrr=1"], ["algorithm=nothing"]):
        with pytest.raises(maml_exp.SettingError):
            maml_exp.train(*overrides, folder=tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with pytest.raises(maml_exp.SettingError, match="is not a folder"):
        maml_exp.load(tmp_path / "nowhere")


def test_a_run_that_diverges_is_an_exception_that_names_its_folder(tmp_path):
    with pytest.raises(maml_exp.SettingError, match="diverged") as caught:
        maml_exp.train(*TINY, "optimizer.lr=1e30", folder=tmp_path / "far")
    assert str(tmp_path / "far") in str(caught.value)
    assert maml_exp.load(tmp_path / "far").state == "diverged"


def test_compare_gives_numbers(tiny, tmp_path):
    other = train(tmp_path / "other", "algorithm=fomaml")
    comparison = maml_exp.compare([tiny, other])
    assert [group.label for group in comparison.groups] == ["algorithm=maml", "algorithm=fomaml"]
    row = next(r for r in comparison.rows if (r["group"], r["shots"], r["step"]) == ("algorithm=fomaml", 10, 1))
    ours, theirs = (read_summary(run)["evaluation"]["shots"]["10"]["trained"]["mean"][1] for run in (other, tiny))
    assert row["mean"] == pytest.approx(ours)
    assert row["difference"] == pytest.approx(ours - theirs)
    assert row["n"] == 1


def test_the_version_is_the_installed_one():
    from importlib.metadata import version

    assert maml_exp.__version__ == version("maml-exp")


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: maml_exp.register_task("sinusoid", object, type("S", (), {"name": "sinusoid"})), "is there already"),
        (lambda: maml_exp.register_task("two words", object, type("S", (), {"name": "two words"})), "identifier"),
        (lambda: maml_exp.register_task("steps", object, type("S", (), {"name": "other"})), "must have name = 'steps'"),
        (lambda: maml_exp.register_learner("mine", object, type("S", (), {})), "must have learner = 'mine'"),
    ],
)
def test_what_cannot_be_registered_says_why(register, message):
    with pytest.raises(maml_exp.SettingError, match=message):
        register()
