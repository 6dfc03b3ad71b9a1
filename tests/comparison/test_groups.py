import math

import pytest

from maml_exp.comparison.groups import group_runs, shots_and_steps
from maml_exp.config.composing import compose, default_settings
from maml_exp.core.checks import SettingError
from maml_exp.core.statistics import estimate
from maml_exp.store.records import BOOKKEEPING, find_runs, judged_on, learning_curve, read_run
from maml_exp.store.run_folder import RunFolder
from tests.comparison.helpers import FOMAML, make_run

MEANS = {10: [4.0, 2.0, 1.0, 0.5]}
JUDGED_ON = [
    *(f"task.{key}" for key in ("name", "amplitude", "phase", "frequency", "x_range")),
    *(f"evaluation.{key}" for key in ("seed", "tasks", "grid")),
]


def records(tmp_path):
    return [read_run(run) for run in find_runs([tmp_path])]


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    for seed, shift in enumerate([0.0, 0.1, 0.2]):
        make_run(tmp_path / f"a{seed}", {10: [4.0, 2.0 + shift, 1.0, 0.5]}, seed=seed)
        make_run(tmp_path / f"b{seed}", {10: [4.0, 3.0 + 2 * shift, 1.0, 0.5]}, seed=seed, **FOMAML)
    groups, keys = group_runs(records(tmp_path))
    assert keys == ["algorithm.preset"]
    assert [group.label for group in groups] == ["algorithm=maml", "algorithm=fomaml"]
    first, second = groups
    assert first.estimate(10, 1) == estimate([2.0, 2.1, 2.2])
    difference = second.difference(first, 10, 1)
    assert difference.mean == pytest.approx(1.1)  # the differences are 1.0, 1.1, 1.2
    assert difference.ci95 == pytest.approx(4.3026527297 * 0.1 / math.sqrt(3))


def test_differences_pair_the_seeds_that_both_have(tmp_path):
    for seed, value in ((0, 2.0), (1, 5.0)):
        make_run(tmp_path / f"a{seed}", {10: [4.0, value, 1.0, 0.5]}, seed=seed)
    for seed, value in ((1, 6.0), (2, 100.0)):
        make_run(tmp_path / f"b{seed}", {10: [4.0, value, 1.0, 0.5]}, seed=seed, inner__lr=0.1)
    first, second = group_runs(records(tmp_path))[0]
    assert second.difference(first, 10, 1)[:2] == (1, 1.0)


SGD = {"name": "sgd", "lr": 0.01, "momentum": 0.0, "clip_norm": "auto"}


def test_a_choice_is_told_by_its_name_and_by_settings_that_others_have_too(tmp_path):
    """Of what only one choice has, groups of that choice are told; the others are not said to have none."""
    make_run(tmp_path / "a", MEANS)
    make_run(tmp_path / "b", MEANS, optimizer=SGD)
    groups, keys = group_runs(records(tmp_path))
    assert keys == ["optimizer.name", "optimizer.lr"]
    labels = ["optimizer=adam, optimizer.lr=0.001", "optimizer=sgd, optimizer.lr=0.01"]
    assert [group.label for group in groups] == labels
    make_run(tmp_path / "c", MEANS, optimizer={**SGD, "momentum": 0.9})
    groups, keys = group_runs(records(tmp_path))
    assert keys == ["optimizer.name", "optimizer.lr", "optimizer.momentum"]
    with_momentum = [f"{labels[1]}, optimizer.momentum={momentum}" for momentum in (0.0, 0.9)]
    assert [group.label for group in groups] == [labels[0], *with_momentum]


def test_a_method_that_was_changed_is_told_from_its_preset(tmp_path):
    make_run(tmp_path / "a", MEANS)
    make_run(tmp_path / "b", MEANS, algorithm__outer="joint")
    groups, keys = group_runs(records(tmp_path))
    assert keys == ["algorithm.outer"]
    assert [group.label for group in groups] == ["algorithm.outer=exact", "algorithm.outer=joint"]
    make_run(tmp_path / "c", MEANS, **FOMAML)
    groups, keys = group_runs(records(tmp_path))
    assert keys == ["algorithm.preset", "algorithm.outer"]
    assert [group.label for group in groups] == ["algorithm=maml", "algorithm=maml outer=joint", "algorithm=fomaml"]


def test_what_a_method_brings_along_is_not_told_but_what_was_changed_of_it_is(tmp_path):
    def run_of(name, *overrides):
        plain = compose([f"algorithm={name}", *overrides]).to_dict()
        make_run(
            tmp_path / f"{name}{len(overrides)}", MEANS, **{g: plain[g] for g in ("algorithm", "optimizer", "inner")}
        )

    for name in ("maml", "cavia", "reptile", "maml_plus_plus"):
        run_of(name)
    groups, _ = group_runs(records(tmp_path))
    assert sorted(group.label for group in groups) == [
        f"algorithm={name}" for name in ("cavia", "maml", "maml_plus_plus", "reptile")
    ]
    run_of("cavia", "inner.lr=0.5")
    groups, _ = group_runs(records(tmp_path))
    labels = {group.label for group in groups}
    assert {"inner.lr=0.5, algorithm=cavia", "inner.lr=1.0, algorithm=cavia", "inner.lr=0.01, algorithm=maml"} <= labels


@pytest.mark.parametrize("key", sorted(BOOKKEEPING - {"seed", "name", "schema"}))
def test_bookkeeping_does_not_split_a_group(tmp_path, key):
    make_run(tmp_path / "a", MEANS)
    value = False if key == "evaluation.plots" else True if key == "training.log_curvature" else 7
    make_run(tmp_path / "b", MEANS, seed=1, **{key.replace(".", "__"): value})
    assert len(group_runs(records(tmp_path))[0]) == 1


def test_the_names_of_settings_are_todays():
    assert set(default_settings()) >= BOOKKEEPING | set(JUDGED_ON)
    assert list(judged_on(compose([]).to_dict())) == JUDGED_ON


def test_what_did_not_finish_is_counted(tmp_path):
    make_run(tmp_path / "a", MEANS)
    make_run(tmp_path / "b", seed=1, state="failed")
    make_run(tmp_path / "c", seed=2, state="diverged")
    make_run(tmp_path / "d", seed=3, state="diverged")
    make_run(tmp_path / "e", MEANS)  # the seed of a
    (group,), _ = group_runs(records(tmp_path))
    assert (len(group.runs), dict(group.unfinished), group.repeated) == (1, {"failed": 1, "diverged": 2}, 1)


def test_a_mean_that_is_not_finite_stays_so_and_its_tasks_are_counted(tmp_path):
    make_run(tmp_path / "a", {10: [4.0, None, 1.0, 0.5]}, diverged=3)
    make_run(tmp_path / "b", MEANS, seed=1)
    (group,), _ = group_runs(records(tmp_path))
    assert group.estimate(10, 1).mean == math.inf
    assert group.diverged_tasks(10, 1) == 3


@pytest.mark.parametrize("key", JUDGED_ON)
def test_runs_judged_on_different_tasks_are_refused(tmp_path, key):
    other = {"task.name": "other"}.get(key, [0.0, 9.0] if key.startswith("task") else 77)
    make_run(tmp_path / "a", MEANS)
    make_run(tmp_path / "b", MEANS, **{key.replace(".", "__"): other})
    with pytest.raises(SettingError, match="judged on different tasks") as caught:
        group_runs(records(tmp_path))
    assert key in str(caught.value)
    assert f"--where '{key}=" in str(caught.value)


def test_only_shots_and_steps_that_all_have_are_compared(tmp_path):
    make_run(tmp_path / "a", {5: [1.0] * 4, 10: [1.0] * 4})
    make_run(tmp_path / "b", {10: [1.0] * 3, 20: [1.0] * 4}, inner__lr=0.1)
    assert shots_and_steps(group_runs(records(tmp_path))[0]) == {10: 2}


def test_nothing_finished_is_said(tmp_path):
    make_run(tmp_path / "a", state="failed")
    with pytest.raises(SettingError, match="none of these runs is finished"):
        shots_and_steps(group_runs(records(tmp_path))[0])


def test_runs_are_found_once_below_any_folder(tmp_path):
    run = make_run(tmp_path / "deep" / "er" / "run", MEANS)
    make_run(run / "not_searched", MEANS)
    found = list(find_runs([tmp_path, tmp_path / "deep", run]))
    assert [folder.path for folder in found] == [run]


def test_a_summary_that_cannot_be_read_makes_a_run_unreadable(tmp_path):
    make_run(tmp_path / "a", MEANS)
    for text in ("", "[]", '{"evaluation": 3}', '{"evaluation": {"shots": {"x": {}}}}'):
        (tmp_path / "a" / "summary.json").write_text(text)
        assert read_run(RunFolder(tmp_path / "a")).state == "unreadable"


def test_a_learning_curve_leaves_out_a_torn_line_and_rows_without_an_evaluation(tmp_path):
    run = make_run(tmp_path / "a", losses=[3.0, None, 2.5])
    with open(run / "metrics.csv", "a") as file:
        file.write("400,,,,\n50")
    steps, errors = learning_curve(RunFolder(run), 10, 1)
    assert (steps.tolist(), errors.tolist()) == ([100, 300], [3.0, 2.5])
    assert [len(part) for part in learning_curve(RunFolder(run), 5, 1)] == [0, 0]
