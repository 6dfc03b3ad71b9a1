"""Comparisons by seed and task: against the same numbers computed here from the runs' own evaluation.npz."""

import csv
import io

import numpy as np
import pytest
from helpers import train

import maml_exp
from maml_exp.comparison.tables import shown_steps
from maml_exp.core.statistics import paired_difference, trimmed_mean_interval


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two methods, two seeds each: {(method, seed): folder}."""
    folder = tmp_path_factory.mktemp("by_task")
    pairs = [(method, seed) for method in ("maml", "joint") for seed in (0, 1)]
    return {
        (method, seed): train(folder / f"{method}{seed}", f"algorithm={method}", f"seed={seed}")
        for method, seed in pairs
    }


def errors(runs, method, shots, step):
    """(seeds, tasks)"""
    return np.stack(
        [np.load(runs[method, seed] / "evaluation.npz")[f"trained_K{shots}"][:, step].astype(float) for seed in (0, 1)]
    )


@pytest.mark.parametrize("shots", [5, 10])
@pytest.mark.parametrize("step", [1, 2])
def test_interquartile_means_and_paired_differences_are_those_of_the_task_errors(runs, shots, step):
    maml, joint = maml_exp.compare(list(runs.values())).groups
    ours, theirs = errors(runs, "joint", shots, step), errors(runs, "maml", shots, step)
    assert joint.iqm(shots, step) == trimmed_mean_interval(ours)
    assert joint.paired(maml, shots, step) == paired_difference(ours, theirs)
    assert joint.median(shots, step).mean == pytest.approx(np.median(ours, axis=1).mean(), rel=1e-6)


def test_the_csv_has_intervals_at_the_step_trained_for_and_at_the_last(runs):
    comparison = maml_exp.compare(list(runs.values()))
    rows = list(csv.DictReader(io.StringIO(comparison.csv)))
    for row in rows:
        assert bool(row["iqm"]) == (int(row["step"]) in (1, 2))
        if row["iqm"]:
            method = row["group"].partition("=")[2]
            expected = trimmed_mean_interval(errors(runs, method, row["shots"], int(row["step"])))
            assert [float(row[name]) for name in ("iqm", "iqm_low", "iqm_high")] == pytest.approx(list(expected))
        assert bool(row["paired_iqm"]) == (bool(row["iqm"]) and row["group"] == "algorithm=joint")


def test_a_run_without_task_errors_has_no_interval_and_says_a_dash(runs, copied):
    folder = copied(runs["maml", 0], "without")
    (folder / "evaluation.npz").write_bytes(b"damaged")
    comparison = maml_exp.compare([folder, runs["joint", 0]])
    maml, joint = comparison.groups
    assert np.isnan(maml.iqm(10, 1).value)
    assert joint.paired(maml, 10, 1) is None
    assert not np.isnan(joint.iqm(10, 1).value)
    middle = comparison.text.split("interquartile mean with")[1].splitlines()
    row = next(line for line in middle if line.startswith("algorithm=maml"))
    assert row.split()[-1] == "-"


def test_tables_show_the_step_trained_for_and_the_last_one(tmp_path):
    steps = ["evaluation.steps=14", "inner.steps=12", "evaluation.shots=[5]", "training.iterations=5"]
    run = train(tmp_path / "long", *steps)
    comparison = maml_exp.compare([run])
    assert comparison.shots == {5: 14}
    assert shown_steps(comparison.groups, 14) == [0, 1, 5, 10, 12, 14]
    head = comparison.text.splitlines()[1]
    assert all(f"step {step}" in head for step in (0, 1, 5, 10, 12, 14))


def test_groups_are_ranked_by_one_measure_whatever_their_objectives(tmp_path):
    """A run whose objective is a median is not better than one with a smaller mean."""
    by_mean = train(tmp_path / "mean", "inner.lr=0.01")
    by_median = train(tmp_path / "median", "inner.lr=0.0101", "evaluation.objective=median")
    comparison = maml_exp.compare([by_mean, by_median])
    scores = {group.settings["inner.lr"]: comparison.score(group).mean for group in comparison.groups}
    means = {
        lr: float(np.load(folder / "evaluation.npz")["trained_K10"][:, 1].astype(float).mean())
        for lr, folder in ((0.01, by_mean), (0.0101, by_median))
    }
    assert scores == pytest.approx(means, rel=1e-6)
    best = min(means, key=means.__getitem__)
    assert f"inner.lr={best} " in comparison.best_command


def test_the_best_command_names_what_was_swept_even_where_it_is_a_default(tmp_path):
    runs = [train(tmp_path / str(rate), f"optimizer.lr={rate}") for rate in (0.001, 1e-9)]
    assert "optimizer.lr=0.001 " in maml_exp.compare(runs).best_command
    methods = [train(tmp_path / name, f"algorithm={name}", "optimizer.lr=0.01") for name in ("maml", "joint")]
    assert " algorithm=maml " in maml_exp.compare(methods).best_command


def test_threads_change_bits_and_so_make_groups(tmp_path):
    runs = [train(tmp_path / str(threads), f"threads={threads}") for threads in (1, 2)]
    assert [group.label for group in maml_exp.compare(runs).groups] == ["threads=1", "threads=2"]


def test_auto_and_what_it_means_are_one_group(tmp_path):
    clips = {"0": "auto", "1": "null"}  # by seed
    one = [train(tmp_path / clip, f"optimizer.clip_norm={clip}", f"seed={seed}") for seed, clip in clips.items()]
    comparison = maml_exp.compare(one)
    assert [len(group.runs) for group in comparison.groups] == [2]
    assert "clip_norm" not in comparison.best_command
    two = [train(tmp_path / f"{clip}2", f"optimizer.clip_norm={clip}", "inner.steps=2") for clip in clips.values()]
    assert len(maml_exp.compare(two).groups) == 2  # with several inner steps auto clips
