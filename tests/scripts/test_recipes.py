"""The recipes of scripts/reproduce, small: their tables against numbers computed here from what the runs saved."""

import csv
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers import read_rows, read_status, tree
from sweep.processes import started_command

from maml_exp.config.composing import compose

pytestmark = pytest.mark.slow
SMALL = ("training.iterations=4", "training.log_every=1", "training.evaluate_every=0", "evaluation.tasks=30")
COMMON = (*SMALL, "training.meta_batch=3", "evaluation.plots=false")
T_95 = {2: 12.7062, 3: 4.3027}  # Student's 97.5% quantile for so many seeds


@pytest.fixture
def items(monkeypatch):
    """The recipes with tiny runs and two seeds."""
    from recipes import items, runs

    monkeypatch.setattr(items, "COMMON", COMMON)
    monkeypatch.setattr(items, "PAPER", (*COMMON, "model.initializer=truncated_normal"))
    monkeypatch.setattr(items, "JOINT_RATES", "evaluation.lr=[0.001,0.02]")
    monkeypatch.setattr(items, "SEEDS", 2)
    monkeypatch.setattr(items, "DEPTHS", {1: [9], 2: [4, 4]})
    monkeypatch.setattr(items, "RATES", ("0.001", "0.01"))
    monkeypatch.setattr(items, "STEPS", (1, 2))
    monkeypatch.setattr(runs, "compose", lambda overrides: compose([*overrides, *SMALL]))  # whatever their length
    return items


def rows_of(out, name):
    """The rows of a table below its head, from the CSV file."""
    with open(out / f"{name}.csv", newline="") as file:
        return list(csv.reader(file))[1:]


def runs(start, *parts):
    """Folders of runs whose names begin so and hold all these parts, by seed."""
    named = [path for path in Path("runs/reproduce").iterdir() if path.name.startswith(start)]
    found = [path for path in named if all(part in path.name for part in parts)]
    return sorted(found, key=lambda path: int(re.search(r"seed(\d+)", path.name)[1]))


def errors(folders, key):
    """(seeds, tasks, steps + 1)"""
    return np.stack([np.load(folder / "evaluation.npz")[key].astype(float) for folder in folders])


def cell(values):
    """mean ± 95% CI over seeds of the means over tasks (seeds, tasks), and the median, as the tables print them."""
    means, medians = values.mean(axis=1), np.median(values, axis=1)
    half = T_95[len(means)] * means.std(ddof=1) / np.sqrt(len(means))
    return f"{means.mean():#.3g} ± {half:#.2g} (median {medians.mean():.3g})"


def test_the_depth_table_is_what_the_runs_measured_and_runs_are_reused(items, tmp_path, capsys):
    items.depth(tmp_path / "out", jobs=1, seeds=2)
    rows = rows_of(tmp_path / "out", "depth")
    assert [row[:3] for row in rows] == [
        ["1", "MAML", "28"],  # 1-9-1: 2 * 9 + 10 parameters
        ["1", "joint", "28"],
        ["2", "MAML", "33"],  # 1-4-4-1: 8 + 20 + 5
        ["2", "joint", "33"],
    ]
    for layers, method, _, *cells in rows:
        network = {"1": "-9-relu", "2": "-4x4-relu"}[layers]
        folders = runs(f"{method.lower()}{network}")
        assert len(folders) == 2
        assert cells == [cell(errors(folders, "trained_K10")[:, :, step]) for step in (0, 1, 10)]
    assert (tmp_path / "out" / "depth.png").stat().st_size > 5000

    before = tree("runs")
    capsys.readouterr()
    items.depth(tmp_path / "again", jobs=1, seeds=2)
    assert "8 runs, 8 of them finished before" in capsys.readouterr().out
    assert tree("runs") == before
    assert (tmp_path / "again" / "depth.csv").read_bytes() == (tmp_path / "out" / "depth.csv").read_bytes()


def test_the_paper_s_table_holds_all_methods_shots_and_steps(items, tmp_path):
    items.paper(tmp_path / "out", jobs=1)
    rows = rows_of(tmp_path / "out", "paper")
    folders = {
        "MAML, rate 0.01": runs("maml-", "lr0.01"),
        "MAML, rate 0.001": runs("maml-", "lr0.001"),
        "joint": [path for path in runs("joint-") if "oracle" not in path.name],
        "oracle": runs("joint-oracle"),
    }
    assert [row[:2] for row in rows] == [
        [name, k] for name in [*folders, "random initialisation"] for k in ["5", "10", "20"]
    ]
    for name, k, *cells in rows:
        which = "random" if name.startswith("random") else "trained"
        values = errors(folders.get(name, folders["MAML, rate 0.01"]), f"{which}_K{k}")
        assert cells == [cell(values[:, :, step]) for step in (0, 1, 5, 10)]


def test_the_curvature_table_has_the_logged_share_and_ratios_of_medians(items, tmp_path):
    items.curvature(tmp_path / "out", jobs=1)
    for rate, steps, share, cosine, maml, fomaml, ratio in rows_of(tmp_path / "out", "curvature"):
        folders = [runs(f"{name}-40x40-relu-lr{rate}x{steps}") for name in ("maml", "fomaml")]
        logged = [[row for row in read_rows(folder) if "meta/curvature_share" in row][2:] for folder in folders[0]]
        for text, tag in ((share, "meta/curvature_share"), (cosine, "meta/fomaml_cosine")):
            means = [np.mean([row[tag] for row in rows]) for rows in logged]  # the second half of four iterations
            assert float(text.split(" ± ")[0]) == pytest.approx(np.mean(means), rel=5e-3)
        both = [errors(group, "trained_K10")[:, :, int(steps)] for group in folders]
        assert [maml, fomaml] == [cell(values) for values in both]
        medians = [np.median(values, axis=1) for values in both]
        logs = np.log(medians[1] / medians[0])
        half = T_95[2] * logs.std(ddof=1) / np.sqrt(2)
        low, mean, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
        assert ratio == f"{mean:.3g} [{low:.2g}, {high:.2g}]"


def test_diverged_tasks_are_counted_and_their_means_not_averaged_away():
    from recipes.report import Errors, cell

    from maml_exp.comparison.groups import estimate

    shown = cell(Errors([estimate([np.inf, 1.0])], np.array([0.25]), np.array([0.1]), np.array([0.125]), 40), 0)
    assert shown == "not finite (median 0.25; 5 of 40 tasks diverged)"


def test_a_run_that_fails_is_named(items):
    from recipes.runs import ensure

    from maml_exp.core.checks import SettingError

    Path("runs").mkdir()
    Path("runs/reproduce").write_text("a file where a folder belongs")
    with pytest.raises(SettingError, match=r"training.iterations=4 .*seed=0: failed, cannot write .*reproduce"):
        ensure([(*COMMON, "seed=0")], jobs=1)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_a_signal_has_the_runs_under_way_save_and_starts_no_other(reproduce, tmp_path, how):
    """The real command, on runs that take long: two at a time of six."""
    base = tmp_path / "runs" / "reproduce"
    with started_command(["seed_figure", "--jobs", "2", "--out", "out"], tmp_path, command=reproduce) as command:

        def steps():
            return [read_status(path.parent)["step"] for path in base.glob("*/status.json")]

        command.wait_for(lambda: len(steps()) == 2 and len(list(base.glob("*/metrics.csv"))) == 2)
        if how == "Ctrl-C":
            os.killpg(command.process.pid, signal.SIGINT)
        else:
            command.process.terminate()
        status, output = command.ended()
        assert status == 130, output
        assert "Traceback" not in output
        assert "interrupted; the same command goes on from here" in output
        assert command.left() == []
    statuses = [read_status(path) for path in base.iterdir() if path.is_dir()]
    assert [status["state"] for status in statuses] == ["interrupted", "interrupted"]
    for path in base.iterdir():
        if path.is_dir():
            assert list((path / "checkpoints").glob("step_*.npz"))
    assert not (base / ".stop").exists()
