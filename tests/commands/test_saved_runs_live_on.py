"""Run folders as the first version left them, in tests/data/bd1b5f6: everything can be done with them that could.

bits.json holds hashes of parameters that the first version computed, and in which environment. Bits are compared
where numpy, BLAS and the core type that BLAS chose are those of the record; elsewhere values are, to rounding.
"""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import points, points_of_rows, read_rows, read_status, read_summary, result, shown_as, tree
from threadpoolctl import threadpool_info, threadpool_limits

import maml_exp
from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.config.migrations import typed_then
from maml_exp.core.training import Trainer

FIRST = Path(__file__).parents[1] / "data" / "bd1b5f6"
RECORD = json.loads((FIRST / "bits.json").read_text())
ROUNDING = 1e-4  # relative, of float32 over 20 iterations
JOBS = ["0_algorithm=maml", "1_algorithm=fomaml", "2_algorithm=joint"]


def same_environment():
    """Whether numpy and BLAS round as they did where the record was made."""
    keys = ("internal_api", "version", "architecture")
    ours = [[library.get(key) for key in keys] for library in threadpool_info() if library["user_api"] == "blas"]
    theirs = [[library.get(key) for key in keys] for library in RECORD["environment"]["blas"]]
    return (np.__version__, ours) == (RECORD["environment"]["numpy"], theirs)


def saved(name, tmp_path):
    """A copy of one of the folders."""
    return shutil.copytree(FIRST / name, tmp_path / name)


def assert_same_rows(ours, theirs):
    """Every number of the first version's rows is in ours, clocks apart; what later versions add has other columns."""
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        tags = [tag for tag in their if not tag.startswith("time/")]
        assert len(tags) > 3
        wanted = [their[tag] for tag in tags]
        found = [our[tag if tag in our else tag.replace("evaluation_K", "test_K")] for tag in tags]  # today's name
        if same_environment():  # evaluations are products in another order since
            learned = [number for number, tag in enumerate(tags) if tag.startswith("meta/")]
            assert [found[number] for number in learned] == [wanted[number] for number in learned]
        np.testing.assert_allclose(found, wanted, rtol=ROUNDING)


def assert_same_but_for_what_is_new(folder, reference):
    """To the bit the same; rows that the first version logged cannot have the columns that came after it."""
    ours, theirs = result(folder), result(reference)
    new = {tag for row in theirs["rows"] for tag in row if tag.startswith("health/")}
    for part in (ours, theirs):
        part["rows"] = [{tag: value for tag, value in row.items() if tag not in new} for row in part["rows"]]
        part["points"] = {key: value for key, value in part["points"].items() if key[0] not in map(shown_as, new)}
    assert ours["rows"] == theirs["rows"]
    assert ours == theirs


@pytest.fixture(scope="module")
def never_interrupted(tmp_path_factory):
    """The run in interrupted/, by today's code alone and in one go."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    overrides = yaml.safe_load((FIRST / "interrupted" / ".hydra" / "overrides.yaml").read_text())
    assert main([*typed_then(overrides, 1), f"hydra.run.dir={folder}"]) == 0
    return folder


def test_an_interrupted_run_goes_on_from_where_it_was(never_interrupted, tmp_path, capsys):
    folder = saved("interrupted", tmp_path)
    assert main(["resume", str(folder)]) == 0
    errors = capsys.readouterr().err
    assert "resumed at iteration 13 of 20" in errors
    assert "passed over" not in errors
    assert read_status(folder)["state"] == "finished"
    assert_same_rows(read_rows(folder)[:2], read_rows(FIRST / "interrupted"))
    assert points(folder) == points_of_rows(read_rows(folder))  # the event file was written anew
    if same_environment():
        assert_same_but_for_what_is_new(folder, never_interrupted)
    else:
        assert_same_rows(read_rows(never_interrupted), read_rows(folder))  # whose columns are older ones
    assert main(["rerun", str(folder)]) == 0 or not same_environment()


def test_a_finished_run_is_rerun_to_the_same_parameters(tmp_path, capsys):
    folder = saved("finished", tmp_path)
    before = tree(folder)
    status = main(["rerun", str(folder)])
    out = capsys.readouterr().out
    (new,) = (path.parent for path in Path.cwd().glob("runs/*/*/status.json"))
    assert_same_rows(read_rows(new), read_rows(folder))
    if same_environment():
        assert status == 3  # what is learned is the same to the bit, what evaluations measure to rounding
        assert "the parameters are the same to the bit" in out
        assert read_summary(new)["parameters_sha256"] == read_summary(folder)["parameters_sha256"]
    assert tree(folder) == before


def test_a_finished_run_is_left_as_it_is(tmp_path, capsys):
    folder = saved("finished", tmp_path)
    before = tree(folder)
    assert main(["resume", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder} is finished; nothing to resume\n"
    assert tree(folder) == before


@pytest.mark.parametrize("override", ["seed=3", "algorithm=joint", "optimizer=sgd", "inner=five_steps"])
def test_a_finished_run_is_rerun_with_overrides(override, tmp_path):
    assert main(["rerun", str(saved("finished", tmp_path)), override]) == 0
    (new,) = (path.parent for path in Path.cwd().glob("runs/*/*/status.json"))
    command = yaml.safe_load((FIRST / "finished" / ".hydra" / "overrides.yaml").read_text())
    then = command if override.startswith("optimizer=") else typed_then(command, 1)  # a new choice has new defaults
    expected = compose([*then, override])
    assert read_summary(new)["config"] == expected.to_dict()


def test_a_sweep_is_completed_and_what_was_finished_is_not_touched(tmp_path, capsys):
    sweep = saved("sweep", tmp_path)
    before = tree(sweep / JOBS[0])
    assert main(["resume", str(sweep)]) == 0
    captured = capsys.readouterr()
    assert "3 of 3 jobs finished" in captured.out
    assert "resumed at iteration 9 of 20" in captured.err
    assert sorted(path.parent.name for path in sweep.glob("*/status.json")) == JOBS
    assert tree(sweep / JOBS[0]) == before
    plan = json.loads((sweep / "sweep.json").read_text())["jobs"]
    for name, overrides in list(zip(JOBS, plan, strict=True))[1:]:
        alone = tmp_path / f"alone_{name.partition('=')[2]}"
        assert main([*typed_then(overrides, 1), f"hydra.run.dir={alone}"]) == 0
        if same_environment():
            assert_same_but_for_what_is_new(sweep / name, alone)
        else:
            assert_same_rows(read_rows(alone), read_rows(sweep / name))  # whose columns are older ones


@pytest.mark.parametrize("name", ["finished", f"sweep/{JOBS[0]}"])
def test_its_figures_are_drawn_again(name, tmp_path, capsys):
    folder = shutil.copytree(FIRST / name, tmp_path / "run")
    assert main(["plot", str(folder)]) == 0
    assert capsys.readouterr().out.split() == [str(folder / "plots" / f"{n}.png") for n in ("finetune", "adaptation")]
    for path in (folder / "plots").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_two_of_them_are_told_apart(tmp_path, capsys):
    finished, job = saved("finished", tmp_path), FIRST / "sweep" / JOBS[0]
    assert main(["diff", str(finished), str(job)]) == 0  # the same run twice
    assert "results: identical" in capsys.readouterr().out
    assert main(["diff", str(finished), str(FIRST / "sweep" / JOBS[1])]) == 3
    out = capsys.readouterr().out
    assert "algorithm.preset: maml -> fomaml" in out
    assert "algorithm.outer: exact -> first_order" in out
    assert "parts at step 5: meta/" in out


def test_old_runs_and_new_ones_are_compared(tmp_path, capsys):
    """A run of the first version and one of today's with another seed are one group; another method is another."""
    command = yaml.safe_load((FIRST / "finished" / ".hydra" / "overrides.yaml").read_text())
    saved("finished", tmp_path)
    for name, overrides in (("seed", ["seed=1"]), ("joint", ["algorithm=joint"])):
        assert main([*command, *overrides, f"hydra.run.dir={tmp_path / name}"]) == 0
    out = tmp_path / "out"
    capsys.readouterr()
    folders = [str(tmp_path / name) for name in ("finished", "seed", "joint")]
    assert main(["compare", *folders, "--out", str(out), "--no-figures"]) == 0
    with open(out / "comparison.csv", newline="") as file:
        rows = {(row["algorithm.preset"], row["shots"], row["step"]): row for row in csv.DictReader(file)}
    assert {key[0]: row["n"] for key, row in rows.items()} == {"maml": "2", "joint": "1"}
    means = [read_summary(folder)["evaluation"]["shots"]["10"]["trained"]["mean"][1] for folder in folders[:2]]
    assert float(rows["maml", "10", "1"]["mean"]) == pytest.approx(np.mean(means), rel=1e-12)
    assert main(["compare", str(FIRST / "sweep"), "--out", str(out), "--no-figures"]) == 0
    assert "1 interrupted" in (out / "comparison.md").read_text()


def test_it_is_opened_from_python():
    run = maml_exp.load(FIRST / "finished")
    assert run.state == "finished"
    assert hashlib.sha256(run.theta.tobytes()).hexdigest() == run.summary["parameters_sha256"]
    assert run.config.algorithm.outer == "exact"
    assert run.adapt([0.0, 1.0], [0.5, 0.25], steps=2).predict([0.5]).shape == (1,)


def test_the_record_has_the_configurations_of_the_default_problem():
    assert len(RECORD["sha256"]) == 8
    assert "" in RECORD["sha256"]


@pytest.mark.parametrize("overrides", RECORD["sha256"], ids=lambda overrides: overrides or "default")
def test_parameters_have_the_bits_that_the_first_version_gave_them(overrides):
    if not same_environment():
        pytest.skip("numpy, BLAS or its core type are not those of the record: bits may differ")
    config = compose(overrides.split())
    trainer = Trainer(config.problem)
    with threadpool_limits(config.threads):
        state = trainer.init(config.seed)
        for _ in range(20):
            state, _ = trainer.train_step(state)
    assert hashlib.sha256(state.vector.tobytes()).hexdigest() == RECORD["sha256"][overrides]["20"]
