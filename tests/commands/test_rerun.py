"""`maml-exp rerun` and `diff`: identical where it is, and the first step and its cause where it is not."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import (
    TINY,
    assert_same_result,
    command,
    planted,
    read_rows,
    read_summary,
    train,
    tree,
)

from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.core.optimizers import adam


def new_run():
    """The run below runs/ of the working directory."""
    (status,) = Path.cwd().glob("runs/*/*/status.json")
    return status.parent


def test_a_rerun_is_identical_in_a_new_folder(tiny, capsys):
    before = tree(tiny)
    assert main(["rerun", str(tiny)]) == 0
    out = capsys.readouterr().out
    assert str(tiny) in out.splitlines()[-1]
    assert out.splitlines()[-1].startswith("identical: ")
    assert_same_result(new_run(), tiny)
    assert (new_run() / ".hydra" / "config.yaml").read_bytes() == (tiny / ".hydra" / "config.yaml").read_bytes()
    assert tree(tiny) == before


def test_a_rerun_in_a_real_process_of_a_copied_folder(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "another user's" / "run")
    process = command("rerun", copy, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "identical" in process.stdout
    (folder,) = tmp_path.glob("runs/*/*")
    assert_same_result(folder, tiny)
    assert tree(copy).keys() == tree(tiny).keys()


def test_a_rerun_of_one_job_of_a_sweep(tmp_path, capsys):
    assert main(["-m", *TINY, "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 0
    (job,) = (tmp_path / "sweep").glob("1_*")
    assert main(["rerun", str(job)]) == 0
    assert "identical: " in capsys.readouterr().out
    assert_same_result(new_run(), job)
    assert compose([*TINY, "seed=1"]).to_dict() == yaml.safe_load((new_run() / ".hydra" / "config.yaml").read_text())


def test_a_rerun_of_an_interrupted_run_compares_what_there_is(killed, tiny, capsys):
    assert main(["rerun", str(killed)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"identical, as far as both went: every row of metrics.csv up to there equals {killed}"
    assert_same_result(new_run(), tiny)


def test_a_rerun_of_a_run_without_results_is_refused(killed, copied, capsys):
    folder = copied(killed)
    (folder / "metrics.csv").unlink()
    assert main(["rerun", str(folder)]) == 1
    assert "metrics.csv" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_rerun_of_a_run_without_a_row_repeats_nothing(killed, copied, capsys):
    folder = copied(killed)
    metrics = folder / "metrics.csv"
    metrics.write_text(metrics.read_text().splitlines(keepends=True)[0])
    assert main(["rerun", str(folder)]) == 3
    assert "there is nothing to compare" in capsys.readouterr().out


def change_cell(folder, step, column, change):
    """Change one number of the row at `step` in metrics.csv."""
    lines = (folder / "metrics.csv").read_text().splitlines()
    at = lines[0].split(",").index(column)
    number = next(i for i, line in enumerate(lines) if line.split(",")[0] == str(step) and line.split(",")[at])
    cells = lines[number].split(",")
    cells[at] = change(cells[at])
    lines[number] = ",".join(cells)
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def next_digit(text):
    """The same number with another last digit."""
    return text[:-1] + ("1" if text[-1] != "1" else "2")


CHANGES = [
    (7, "meta/loss"),
    (42, "meta/support_loss"),
    (91, "meta/grad_norm"),
    (100, "test_K5/median_step_02"),
    (100, "final/objective"),
]


@pytest.mark.parametrize(("step", "column"), CHANGES, ids=[f"{column} at {step}" for step, column in CHANGES])
def test_one_digit_changed_in_the_original_is_found(step, column, tiny, copied, capsys):
    folder = copied(tiny)
    theirs = next(row[column] for row in read_rows(tiny) if row["step"] == step and column in row)
    change_cell(folder, step, column, next_digit)
    assert main(["rerun", str(folder)]) == 3
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "parts at step" in line]
    assert f"parts at step {step}: {column} " in line
    assert repr(theirs) in line  # what the rerun gave
    assert float(line.split("(relative ")[1].split(")")[0]) < 1e-5
    assert "environment: identical" in out


def test_columns_of_the_clock_are_not_compared(tiny, copied, capsys):
    folder = copied(tiny)
    for column in ("time/iterations_per_second", "time/seconds", "time/unix"):
        change_cell(folder, 42, column, lambda cell: "123.5")
    assert main(["rerun", str(folder)]) == 0
    assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["parameters_sha256", "objective", "a number of the evaluation"])
def test_a_changed_result_is_found(key, tiny, copied, capsys):
    folder, summary = copied(tiny), read_summary(tiny)
    if key in summary:
        summary[key] = {"parameters_sha256": "0" * 64, "objective": 1.25}[key]
        expected = {
            "parameters_sha256": "the final parameters differ",
            "objective": f"objective: 1.25 -> {read_summary(tiny)['objective']:.3g}",
        }[key]
    else:
        means = summary["evaluation"]["shots"]["5"]["trained"]["mean"]
        means[1] *= 1 + 1e-15
        shown = f"{means[1]:.3g}"
        expected = f"K=5, step 1: {shown} -> {shown} (relative "
    (folder / "summary.json").write_text(json.dumps(summary))
    assert main(["rerun", str(folder)]) == 3
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("since", [0, 33, 98])
def test_a_change_in_the_core_is_found_at_the_right_step(since, tiny, monkeypatch, capsys):
    """Adam's second moment decays a millionth faster from one update on."""
    update = adam.update

    def changed(gradient, state, theta, settings):
        theta, new = update(gradient, state, theta, settings)
        return (theta * (1 + 1e-6) if state.count == since else theta), new

    monkeypatch.setattr(adam, "update", changed)
    assert main(["rerun", str(tiny)]) == 3
    # update number `since` changes the weights that iteration since + 2 sees first
    first = next(row["step"] for row in read_rows(tiny) if row["step"] >= since + 2 and "meta/loss" in row)
    assert f"parts at step {first:g}: meta/" in capsys.readouterr().out


def test_a_changed_core_in_a_real_process(tiny, tmp_path):
    plant = (
        "from maml_exp.core.learners import gradient\n"
        "real = gradient.initial_parameters\n"
        "gradient.initial_parameters = lambda *arguments: real(*arguments) * real(*arguments).dtype.type(1.0001)"
    )
    process = planted(plant, "rerun", tiny, cwd=tmp_path)
    assert process.returncode == 3, process.stderr
    assert "parts at step 7: meta/loss" in process.stdout


TO_FOMAML = ["algorithm.preset: maml -> fomaml", "algorithm.outer: exact -> first_order"]
TO_SGD = ["optimizer.name: adam -> sgd", "optimizer.lr: 0.001 -> 0.01", "optimizer.momentum: (not there) -> 0.0"]
TO_SGD += [f"optimizer.{k}: {v} -> (not there)" for k, v in (("beta1", 0.9), ("beta2", 0.999), ("epsilon", 1e-08))]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=5"], ["seed: 0 -> 5"]),
        (["inner.lr=0.02", "algorithm=fomaml"], ["inner.lr: 0.01 -> 0.02", *TO_FOMAML]),
        (["optimizer=sgd"], TO_SGD),
        (["model.hidden=[4,4]"], ["model.hidden: [8] -> [4, 4]"]),
        (["training.iterations=110"], ["training.iterations: 100 -> 110"]),
        (["name=other"], ["name: None -> other"]),
        (["optimizer.lr=0.1", "optimizer=sgd"], [*TO_SGD[:1], "optimizer.lr: 0.001 -> 0.1", *TO_SGD[2:]]),
    ],
    ids=str,
)
def test_overrides_change_what_they_name(overrides, expected, tiny, tmp_path, capsys):
    assert main(["rerun", str(tiny), *overrides]) == 0
    lines = capsys.readouterr().out.split("configuration:")[1].splitlines()
    assert sorted(line.strip() for line in lines if line.startswith("  ")) == sorted(expected)
    assert_same_result(new_run(), train(tmp_path / "direct", *overrides))
    assert yaml.safe_load((new_run() / ".hydra" / "overrides.yaml").read_text()) == overrides
