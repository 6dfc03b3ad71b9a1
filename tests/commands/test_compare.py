import csv
import io
import shlex

import numpy as np
import pytest

from maml_exp.cli import main
from maml_exp.config.composing import compose
from tests.comparison.helpers import FOMAML, make_run


def sweep(tmp_path):
    """Two algorithms, three seeds; fomaml's errors are maml's plus 0.5, but for a failed seed."""
    base = tmp_path / "runs"
    for seed in range(3):
        errors = [4.0, 1.0 + 0.1 * seed, 0.5, 0.25]
        make_run(base / f"{seed}_m", {5: errors, 10: errors}, seed=seed, losses=[3, 2, 1 + seed])
        worse = [error + 0.5 for error in errors]
        extra = {**FOMAML, "losses": [3, 2, 2]}
        if seed < 2:
            make_run(base / f"{10 + seed}_f", {5: worse, 10: worse}, seed=seed, **extra)
        else:
            make_run(base / f"{10 + seed}_f", seed=seed, state="failed", **extra)
    return base


def compare(tmp_path, *arguments):
    out = tmp_path / "out"
    assert main(["compare", *map(str, arguments), "--out", str(out)]) == 0
    return out


def test_the_csv_holds_every_estimate(tmp_path):
    out = compare(tmp_path, sweep(tmp_path), "--no-figures")
    rows = list(csv.DictReader(io.StringIO((out / "comparison.csv").read_text())))
    assert len(rows) == 2 * 2 * 4  # groups x shots x steps
    by_key = {(row["algorithm.preset"], row["shots"], row["step"]): row for row in rows}
    maml, fomaml = by_key["maml", "10", "1"], by_key["fomaml", "10", "1"]
    assert (maml["n"], fomaml["n"], fomaml["pairs"]) == ("3", "2", "2")
    assert float(maml["mean"]) == pytest.approx(1.1)
    assert float(maml["ci95"]) == pytest.approx(4.3026527297 * 0.1 / np.sqrt(3))
    assert float(fomaml["difference"]) == pytest.approx(0.5)
    assert float(fomaml["difference_ci95"]) == pytest.approx(0.0, abs=1e-12)
    assert (maml["not_finished"], fomaml["not_finished"]) == ("", "1 failed")


def test_terminal_and_markdown_say_the_same(tmp_path, capsys):
    out = compare(tmp_path, sweep(tmp_path), "--no-figures")
    printed, markdown = capsys.readouterr().out, (out / "comparison.md").read_text()
    for text in ("K = 10 support points", "algorithm=fomaml", "1.10 ± 0.25", "1 failed", "paired by seed"):
        assert text in printed, text
        assert text in markdown, text
    assert "| algorithm=maml | 3 | 4.00 ± 0.0 | 1.10 ± 0.25 |" in markdown


def test_the_best_command_makes_the_best_groups_configuration(tmp_path, capsys):
    sweep(tmp_path)
    sgd = {"name": "sgd", "lr": 0.01, "momentum": 0.5, "clip_norm": 2.0}
    best = {"inner__lr": 0.02, "model__hidden": [64, 64, 64], "optimizer": sgd, "seed": 3, **FOMAML}
    make_run(tmp_path / "runs" / "best", {5: [1, 0.01, 0.01, 0.01], 10: [1, 0.01, 0.01, 0.01]}, **best)
    compare(tmp_path, tmp_path / "runs", "--no-figures")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("best: maml-exp "))
    # a choice that others do not have the settings of comes with its own
    assert "optimizer=sgd" in line
    config = compose(shlex.split(line.removeprefix("best: maml-exp "), comments=True))
    assert (config.inner.lr, config.model.hidden, config.optimizer.clip_norm) == (0.02, [64, 64, 64], 2.0)
    assert (config.optimizer.name, config.optimizer.momentum) == ("sgd", 0.5)
    assert (config.algorithm.preset, config.algorithm.outer) == ("fomaml", "first_order")
    assert config.evaluation.steps == 3  # of all these runs
    assert config.seed == 3  # of one run


def test_the_best_command_of_several_seeds_names_none(tmp_path, capsys):
    compare(tmp_path, sweep(tmp_path), "--no-figures")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("best: maml-exp "))
    assert "seed=" not in line
    assert line.endswith("3 seeds")


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_are_drawn_in_the_format_asked_for(tmp_path, suffix):
    out = compare(tmp_path, sweep(tmp_path), "--format", suffix)
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    for name in ("adaptation", "learning", "sweep"):
        assert (out / f"{name}.{suffix}").read_bytes().startswith(starts[suffix])


def test_where_chooses_runs(tmp_path, capsys):
    base = sweep(tmp_path)
    make_run(base / "other", {10: [9.0] * 4}, task__amplitude=[1.0, 2.0])
    assert main(["compare", str(base), "--no-figures"]) == 1
    message = capsys.readouterr().err
    assert "judged on different tasks" in message
    assert "Traceback" not in message
    compare(tmp_path, base, "--no-figures", "--where", "task.amplitude=[0.1,5.0]", "--where", "algorithm.preset=maml")
    assert "fomaml" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["."], "no run found"),
        (["runs", "--where", "seed"], "give KEY=VALUE"),
        (["runs", "--where", "seed=99"], "no run found"),
        (["runs", "--style", "nonsense"], "--style nonsense is not usable"),
    ],
)
def test_mistakes_cost_a_line(tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "runs" / "a", {10: [1.0] * 4})
    monkeypatch.chdir(tmp_path / "empty" if arguments == ["."] else tmp_path)
    assert main(["compare", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_hostile_configuration_is_passed_over_by_name(tmp_path, capsys):
    base = sweep(tmp_path)
    hostile = make_run(base / "z", {10: [1.0] * 4})
    (hostile / ".hydra" / "config.yaml").write_text("seed: ${oc.env:HOME}\n")
    compare(tmp_path, base, "--no-figures")
    assert "passed over" in capsys.readouterr().err


def test_two_swept_settings_make_a_heatmap_and_three_none(tmp_path):
    for number, (lr, steps, shots) in enumerate([(0.1, 1, 10), (0.1, 5, 10), (0.2, 1, 10), (0.2, 5, 10)]):
        settings = {"inner__lr": lr, "inner__steps": steps, "task__shots": shots}
        make_run(tmp_path / "runs" / str(number), {10: [1.0 + number] * 4}, **settings)
    assert (compare(tmp_path, tmp_path / "runs") / "sweep.png").exists()
    make_run(tmp_path / "runs" / "third", {10: [1.0] * 4}, inner__lr=0.1, inner__steps=1, task__shots=5)
    (tmp_path / "out" / "sweep.png").unlink()
    assert not (compare(tmp_path, tmp_path / "runs") / "sweep.png").exists()
