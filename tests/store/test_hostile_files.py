"""Garbage and tricks in the other files of a stranger's folder: JSON, metrics.csv, a sweep's plan, links, pipes."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from helpers import TINY, assert_same_result, command, read_status, tree

from maml_exp.cli import main

GARBAGE = {
    "empty": b"",
    "binary": bytes(range(256)) * 20,
    "text": b"garbage\n" * 50,
    "a list": b"[1, 2, 3]\n",
    "null": b"null\n",
    "an empty object": b"{}\n",
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "another shape": b'{"state": ["finished"], "step": {}, "evaluation": [1], "environment": 3, "code": []}\n',
    "numbers for texts": b'{"state": 1e999, "parameters_sha256": NaN, "evaluation": {"shots": 3}, "resumes": 5}\n',
    "half an evaluation": b'{"evaluation": {"shots": {"5": {}}, "steps": 2, "tasks": 20, "lr": 0.01}}\n',
    "a pickle": pickle.dumps({"state": "finished"}),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_plot_says_that_a_summary_is_garbage(kind, tiny, copied, capsys):
    folder = copied(tiny)
    (folder / "summary.json").write_bytes(GARBAGE[kind])
    assert main(["plot", str(folder)]) == 1
    errors = capsys.readouterr().err
    assert str(folder / "summary.json") in errors
    assert len(errors.splitlines()) <= 2


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize(("name", "status"), [("status.json", 0), ("summary.json", 3), ("provenance.json", 0)])
def test_diff_goes_on_without_what_is_garbage(name, status, kind, tiny, copied, capsys):
    folder = copied(tiny)
    (folder / name).write_bytes(GARBAGE[kind])
    assert main(["diff", str(folder), str(tiny)]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    assert ("the final parameters differ" in captured.out) == (name == "summary.json")
    assert ("environment: identical" in captured.out) == (name != "provenance.json")


@pytest.mark.parametrize("name", ["status.json", "summary.json", "provenance.json"])
@pytest.mark.parametrize("kind", ["empty", "deep", "another shape", "numbers for texts"])
def test_resume_goes_on_without_what_is_garbage(name, kind, killed, tiny, copied, capsys):
    folder = copied(killed)
    (folder / name).write_bytes(GARBAGE[kind])
    assert main(["resume", str(folder)]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert_same_result(folder, tiny)


@pytest.mark.parametrize("kind", ["empty", "binary", "text", "deep"])
def test_garbage_in_metrics_csv_is_reported(kind, tiny, killed, copied, capsys):
    folder = copied(tiny)
    (folder / "metrics.csv").write_bytes(GARBAGE[kind])
    assert main(["diff", str(folder), str(tiny)]) == 3
    assert "metrics.csv" in capsys.readouterr().out
    stopped = copied(killed, "stopped")
    (stopped / "metrics.csv").write_bytes(GARBAGE[kind])
    status = main(["resume", str(stopped)])
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert "metrics.csv" in errors
    if status == 0:
        assert_same_result(stopped, tiny)


PLANS = {  # overrides of the one job in a stranger's sweep.json; what the message names
    "hydra's folder": (["hydra.run.dir=/tmp/pwned"], "hydra.run.dir"),
    "hydra's folder with +": (["+hydra.sweep.dir=/tmp/pwned"], "hydra.sweep.dir"),
    "hydra's folder with ++": (["++hydra.run.dir=/tmp/pwned"], "hydra.run.dir"),
    "a launcher": (["hydra/launcher=joblib"], "hydra/launcher"),
    "a callback": (["+hydra.callbacks.x._target_=os.getcwd"], "hydra.callbacks"),
    "_target_": (["+model._target_=os.getcwd"], "_target_"),
    "an environment variable": (["name=${oc.env:HOME}"], "${oc.env:HOME}"),
    "a path as the name": (["name=../../pwned"], "name"),
    "a file of a group": (["model=../../../pwned"], "pwned"),
    "a package": (["model@hydra=one_hidden"], "model@hydra"),
    "a package at the top": (["model@_global_=one_hidden"], "model@_global_"),
    "a setting there is not": (["modle=one_hidden"], "modle"),
    "a huge value": (["name=" + "x" * 1_000_000], "name"),
    "deep nesting": (["model.hidden=" + "[" * 5000 + "]" * 5000], "job 0"),
    "no override": (["garbage"], "garbage"),
    "an option": (["--config-dir=/tmp"], "config-dir"),
    "an empty text": ([""], "job 0"),
}


@pytest.mark.parametrize("what", PLANS)
def test_a_hostile_plan_of_a_sweep_is_refused(what, tmp_path, capsys):
    overrides, needle = PLANS[what]
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text(
        json.dumps({"overrides": overrides, "constant": [], "jobs": [[*TINY, *overrides]]})
    )
    before = {p for p in tmp_path.rglob("*") if folder not in p.parents}
    status = main(["resume", str(folder)])
    captured = capsys.readouterr()
    assert status == 1, captured
    assert needle in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err) < 2000
    assert {p for p in tmp_path.rglob("*") if folder not in p.parents} == before
    assert list(Path().iterdir()) == []
    assert [p.name for p in folder.rglob("*.npz")] == []


NO_PLANS = [3, None, "x", [3], [["seed=1"], 3], [[3]], [[["seed=1"]]], {"a": 1}]
NO_TEXTS = [3, None, "x", [3], [["seed=1"]], {"a": 1}]


@pytest.mark.parametrize(
    ("key", "value"),
    [*[("jobs", value) for value in NO_PLANS], *[(key, v) for key in ("overrides", "constant") for v in NO_TEXTS]],
)
def test_a_plan_that_is_none_is_refused(key, value, tmp_path, capsys):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"overrides": [], "constant": [], "jobs": [], key: value}))
    assert main(["resume", str(folder)]) == 1
    assert str(folder / "sweep.json") in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["sweep.json"]


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_in_place_of_a_plan_is_refused(kind, tmp_path, capsys):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_bytes(GARBAGE[kind])
    assert main(["resume", str(folder)]) == 1
    errors = capsys.readouterr().err
    assert str(folder / "sweep.json") in errors
    assert len(errors.splitlines()) == 1


LINKS = [".hydra/config.yaml", "metrics.csv", "maml_exp.log", "status.json", "provenance.json", ".lock", "checkpoints"]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_folder_writes_nothing_where_it_points(name, killed, copied, tmp_path):
    """What a run writes is a link to somewhere else: what is there stays as it is."""
    folder, target = copied(killed), tmp_path / "precious"
    shutil.move(folder / name, target)
    (folder / name).symlink_to(target)
    before = {path: content for path, (content, _) in tree(target).items()}
    main(["resume", str(folder)])
    assert {path: content for path, (content, _) in tree(target).items()} == before


@pytest.mark.parametrize("name", ["maml_exp.log", ".lock", "summary.json", "evaluation.npz", "plots"])
def test_a_link_to_nothing_makes_nothing_where_it_points(name, killed, copied, tmp_path):
    folder, target = copied(killed), tmp_path / "pwned"
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target, target_is_directory=name == "plots")
    if name == "plots":
        target.mkdir()
        main(["resume", str(folder)])
        main(["plot", str(folder)])
        assert list(target.iterdir()) == []
    else:
        main(["resume", str(folder)])
        assert not target.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(
    ("verb", "name"), [("resume", "status.json"), ("resume", "metrics.csv"), ("diff", "summary.json")]
)
def test_a_pipe_in_place_of_a_file_holds_nobody_up(verb, name, killed, copied):
    folder = copied(killed)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    process = command(verb, *[folder] * (2 if verb == "diff" else 1), cwd=folder.parent, timeout=30)
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("state", ["finished", "running", "nonsense"])
def test_a_status_is_believed_only_for_what_it_is(state, killed, tiny, copied, capsys):
    """No word keeps a run that has no results from going on."""
    folder = copied(killed)
    (folder / "status.json").write_text(json.dumps({**read_status(killed), "state": state, "pid": os.getpid()}))
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)
