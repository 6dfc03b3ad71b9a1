"""Learners that do not descend, as runs: swept, listed, compared, resumed, repeated, adapted, drawn."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, assert_same_result, checkpoint_path, read_rows, read_summary, saved_steps, train

from maml_exp.api import load
from maml_exp.cli import main
from maml_exp.comparison.comparison import Comparison

JUDGED = {  # behind which step
    "ridge": 1,
    "recurrent": 1,
    "neural_process": 1,
    "attention": 1,
    "learned_optimizer": 5,
    "lstm_meta_learner": 5,
}
PRESETS = list(JUDGED)
SHOTS = "task.shots=[2,5]"
each_preset = pytest.mark.parametrize("preset", PRESETS)
COMMON = [text for text in TINY if not text.startswith(("evaluation.steps", "evaluation.plots"))]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learners") / "sweep"
    chosen = f"algorithm={','.join(PRESETS)}"
    assert main(["-m", *COMMON, SHOTS, "evaluation.plots=true", chosen, f"hydra.sweep.dir={folder}"]) == 0
    return folder


def run_of(sweep, preset):
    (folder,) = sweep.glob(f"*_algorithm={preset}")
    return folder


@pytest.mark.slow
@each_preset
def test_a_run_cut_off_goes_on_to_the_same_bits(sweep, preset, tmp_path):
    whole = run_of(sweep, preset)
    cut = shutil.copytree(whole, tmp_path / "cut")
    steps = saved_steps(cut)
    assert len(steps) > 1
    checkpoint_path(cut, steps[-1]).unlink()
    (cut / "summary.json").unlink()
    (cut / "status.json").write_text(json.dumps({"state": "interrupted"}))
    assert main(["resume", str(cut)]) == 0
    assert_same_result(cut, whole)


@pytest.mark.slow
@each_preset
def test_a_rerun_is_identical(sweep, preset, capsys):
    assert main(["rerun", str(run_of(sweep, preset))]) == 0
    assert "identical: parameters, every row of metrics.csv and the evaluation" in capsys.readouterr().out


@each_preset
def test_it_adapts_to_points_of_one_s_own(sweep, preset, capsys):
    Path("points.csv").write_text("x,y\n-1,0.5\n0.5,1\n2,-1\n")
    assert main(["adapt", str(run_of(sweep, preset)), "points.csv"]) == 0
    said = capsys.readouterr().out
    assert "3 support points: mean squared error " in said
    assert {"points-adapted.csv", "points-adapted.png"} <= {path.name for path in Path().iterdir()}
    run = load(run_of(sweep, preset))
    before, *_, after = run.adapt([-1, 0.5, 2], [0.5, 1, -1]).path([0.0, 1.0])
    assert np.isfinite(after).all()
    assert (after != before).all()
    if run.config.adapts_at_once:
        assert not before.any()
        assert "error 0.75 before, " in said  # (0.25 + 1 + 1) / 3


@each_preset
def test_its_parts_have_names_and_theta_is_one(sweep, preset):
    run = load(run_of(sweep, preset))
    assert next(iter(run.parts)) == "theta"
    assert len(run.parts) > 1
    assert sum(part.size for part in run.parts.values()) == run.vector.size


def test_they_are_compared_and_listed_by_their_names(sweep, capsys):
    comparison = Comparison.of([sweep])
    assert [group.label for group in comparison.groups] == [f"algorithm={preset}" for preset in PRESETS]
    assert set(comparison.shots.values()) == {1}
    for group, preset in zip(comparison.groups, PRESETS, strict=True):
        expected = read_summary(run_of(sweep, preset))["evaluation"]["shots"]["5"]["trained"]["mean"][JUDGED[preset]]
        assert comparison.score(group).mean == pytest.approx(expected, rel=1e-12)
    assert main(["list", str(sweep)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:]] == PRESETS


@each_preset
def test_the_log_says_what_it_is(sweep, preset):
    said = (run_of(sweep, preset) / "maml_exp.log").read_text()
    assert {
        "ridge": "a head fitted to",
        "recurrent": "3-64-1 LSTM, an LSTM of 64 units that reads points",
        "neural_process": "2-128-128-128 and 129-128-128-1 relu, the mean of encoded points",
        "learned_optimizer": "1-8-1 relu, 5 steps by an LSTM of 20 units for every weight",
        "lstm_meta_learner": "1-8-1 relu, 5 steps by two gates for every weight",
        "attention": "2-64-64 and 65-64-64-1 relu, attention of 4 heads to encoded points",
    }[preset] in said


def test_an_evolved_run_goes_on_to_the_same_bits_is_repeated_and_adapts(tmp_path, capsys):
    whole = train(tmp_path / "whole", "algorithm=evolution", "algorithm.evolution.population=4")
    assert "1 inner step of rate 0.01, evolved by 4 pairs of perturbations" in (whole / "maml_exp.log").read_text()
    assert all("meta/population_loss" in row for row in read_rows(whole) if "meta/loss" in row)
    cut = shutil.copytree(whole, tmp_path / "cut")
    checkpoint_path(cut, saved_steps(cut)[-1]).unlink()
    (cut / "summary.json").unlink()
    (cut / "status.json").write_text(json.dumps({"state": "interrupted"}))
    assert main(["resume", str(cut)]) == 0
    assert_same_result(cut, whole)
    assert main(["rerun", str(whole)]) == 0
    assert "identical: parameters, every row of metrics.csv and the evaluation" in capsys.readouterr().out
    before, after = load(whole).adapt([-1, 0.5, 2], [0.5, 1, -1]).path([0.0, 1.0])
    assert (after != before).all()
    assert main(["list", str(whole)]) == 0
    assert "evolution evolution.population=4" in capsys.readouterr().out
