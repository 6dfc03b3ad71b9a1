"""How many steps a run is judged after where it is not told, and what adapts at once."""

from pathlib import Path

import pytest
from helpers import TINY, read_rows, read_summary

from maml_exp.api import load
from maml_exp.cli import main
from maml_exp.comparison.comparison import Comparison
from maml_exp.config.composing import compose
from maml_exp.config.migrations import typed_then
from maml_exp.config.saved import load_config
from maml_exp.core.checks import SettingError

DATA = Path(__file__).parents[1] / "data"
LEARNED = "algorithm=lslr"
FEW = [text for text in TINY if not text.startswith("evaluation.steps")]


@pytest.mark.parametrize(
    ("texts", "steps", "objective"),
    [
        ([], 10, 1),
        (["inner.steps=5"], 10, 5),
        (["inner.steps=12"], 12, 12),
        (["inner.steps=0"], 10, 1),
        (["algorithm=joint"], 10, 1),
        ([LEARNED], 1, 1),
        ([LEARNED, "inner.steps=5"], 5, 5),
        ([LEARNED, "inner.steps=5", "evaluation.steps=10"], 10, 5),
        (["algorithm=ridge"], 1, 1),
        (["algorithm=ridge", "inner.steps=5"], 1, 1),
        (["algorithm=ridge", "evaluation.steps=4"], 4, 1),
        (["algorithm=ridge", "evaluation.steps=0"], 0, 0),
        (["evaluation.steps=3", "inner.steps=5"], 3, 3),
        (["evaluation.objective_steps=7"], 10, 7),
    ],
    ids=str,
)
def test_a_method_is_judged_as_far_as_it_was_trained_to_go(texts, steps, objective):
    config = compose(texts)
    assert (config.evaluation_steps, config.objective_steps) == (steps, objective)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["evaluation.objective_steps=11"], "evaluation.objective_steps=11 is not usable: .* from 0 to 10"),
        ([LEARNED, "evaluation.objective_steps=2"], "evaluation.objective_steps=2 is not usable: .* from 0 to 1"),
        (["algorithm=ridge", "evaluation.lr=0.1"], "evaluation.lr=0.1 with algorithm.learner=ridge is not usable"),
    ],
    ids=["beyond", "beyond learned", "no rate"],
)
def test_what_makes_no_sense_is_refused(texts, words):
    with pytest.raises(SettingError, match=words):
        compose(texts)


@pytest.mark.parametrize("folder", ["bd1b5f6/finished", "schema2/finished", "schema3/finished"])
def test_saved_runs_keep_the_steps_they_had(folder):
    config = load_config(DATA / folder / ".hydra" / "config.yaml")
    assert isinstance(config.evaluation.steps, int)
    assert config.evaluation_steps == config.evaluation.steps


def test_a_job_that_an_older_sweep_has_not_started_keeps_the_default_of_then():
    assert compose(typed_then(["inner.steps=12"], 3)).evaluation_steps == 10
    assert compose(typed_then(["evaluation.steps=4"], 3)).evaluation_steps == 4
    assert compose(typed_then(["inner.steps=12"], 4)).evaluation_steps == 12


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    for name, texts in {"maml": ["inner.steps=2"], "ridge": ["algorithm=ridge", "evaluation.plots=true"]}.items():
        assert main([*FEW, *texts, f"hydra.run.dir={folder / name}"]) == 0
    return folder


def test_a_run_that_adapts_at_once_says_so_and_has_steps_0_and_1(sweep, tmp_path, capsys):
    assert main(["rerun", str(sweep / "ridge")]) == 0
    out = capsys.readouterr().out
    assert "identical" in out
    assert "it adapts at once, without gradient steps: step 0 is before, step 1 after" in out
    assert " with rate " not in out
    summary = read_summary(sweep / "ridge")
    assert summary["evaluation"]["steps"] == 1
    assert all(len(both["trained"]["mean"]) == 2 for both in summary["evaluation"]["shots"].values())
    assert {tag for row in read_rows(sweep / "ridge") for tag in row if "_step_" in tag and "K10" in tag} == {
        *(f"test_K10/{name}_step_0{step}" for name in ("mean", "median") for step in (0, 1)),
        *(f"final/mean_K10_step_0{step}" for step in (0, 1)),
    }
    assert {path.name for path in (sweep / "ridge" / "plots").iterdir()} == {"finetune.png", "adaptation.png"}


def test_more_steps_are_asked_for_and_the_table_says_that_they_repeat(tmp_path, capsys):
    assert main([*FEW, "algorithm=ridge", "evaluation.steps=5", f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert "step 1 after; the others repeat it" in capsys.readouterr().out
    means = read_summary(tmp_path / "run")["evaluation"]["shots"]["10"]["trained"]["mean"]
    assert means[1:] == [means[1]] * 5 != [means[0]] * 5


def test_a_run_that_adapts_at_once_adapts_and_refuses_a_rate(sweep):
    run = load(sweep / "ridge")
    made = run.adapt([0.0, 1.0, 2.0], [1.0, 2.0, 1.5]).path([0.5, 1.5])
    assert made.shape == (2, 2)
    assert not made[0].any()
    with pytest.raises(SettingError, match=r"lr=0.1 is not usable: ridge adapts at once"):
        run.adapt([0.0], [1.0], lr=0.1)


def test_a_comparison_shows_common_steps_and_each_one_s_own(sweep, capsys):
    comparison = Comparison.of([sweep])
    assert set(comparison.shots.values()) == {1}
    maml, ridge = comparison.groups
    assert (maml.objective_step, ridge.objective_step) == (2, 1)
    assert (maml.last_step(10), ridge.last_step(10)) == (10, 1)
    errors = {
        name: read_summary(sweep / name)["evaluation"]["shots"]["10"]["trained"]["mean"] for name in ("maml", "ridge")
    }
    assert comparison.score(maml).mean == pytest.approx(errors["maml"][2], rel=1e-12)
    assert comparison.score(ridge).mean == pytest.approx(errors["ridge"][1], rel=1e-12)
    rows = [row for row in comparison.rows if row["shots"] == 10]
    assert [(row["group"], row["step"]) for row in rows] == [
        *((maml.label, step) for step in (0, 1, 2)),
        *((ridge.label, step) for step in (0, 1)),
    ]
    paired = ridge.paired(maml, 10, 1, 2)
    assert paired.mean.value == pytest.approx(errors["ridge"][1] - errors["maml"][2], rel=1e-4)
    assert "step 2: " in comparison.text
    assert "own steps, mean" in comparison.text
    assert main(["compare", str(sweep), "--panels", "--out", "compared"]) == 0
    assert {path.name for path in Path("compared").glob("*.png")} >= {"adaptation.png", "learning.png", "panels.png"}
