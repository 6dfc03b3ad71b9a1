"""`maml-exp list`: a line a run, whatever is damaged of it."""

import json
import os
import socket
import subprocess
import sys

import pytest
from comparison.helpers import FOMAML, make_run

from maml_exp.cli import main


def dated(folder, when, **status):
    path = folder / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "updated": f"{when}:00+0000", **status}))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs of all kinds, below the working directory."""
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "runs"
    dated(make_run(base / "b-late", {10: [1.0, 0.25, 1.0, 1.0]}, inner__steps=2, seed=3), "2026-03-04T05:06")
    dated(make_run(base / "z-early", {10: [1.0, 0.5, 1.0, 1.0]}, **FOMAML), "2026-01-02T03:04")
    sweep = base / "multirun" / "sweep"
    for number in (0, 1, 10):
        means = {10: [1.0] * 4} if number else None
        state = "finished" if number else "interrupted"
        job = make_run(sweep / f"{number}_seed={number}", means, state=state, seed=number)
        dated(job, f"2026-02-02T0{number % 9}:00")
    (sweep / "sweep.json").write_text(json.dumps({"overrides": [], "constant": [], "jobs": [[]] * 5}))
    return base


def lines(capsys, *arguments):
    assert main(["list", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_line_says_state_method_differences_objective_time_and_folder(runs, capsys):
    heading, *found = lines(capsys)
    columns = ["state", "method", "differs from the default in", "objective", "when", "folder"]
    assert [heading.index(name) for name in columns] == sorted(heading.index(name) for name in columns)
    assert found[0].split() == [
        "finished",
        "fomaml",
        "evaluation.steps=3",
        "0.5",
        "2026-01-02",
        "03:04",
        "runs/z-early",
    ]
    expected = "finished maml seed=3 inner.steps=2 evaluation.steps=3 0.25 2026-03-04 05:06 runs/b-late"
    assert found[-1].split() == expected.split()


def test_the_newest_is_last_and_a_sweep_stands_together(runs, capsys):
    folders = [line.split()[-1] for line in lines(capsys)[1:]]
    assert folders == ["runs/z-early", "finished", "0_seed=0", "1_seed=1", "10_seed=10", "runs/b-late"]
    assert lines(capsys)[2] == "runs/multirun/sweep: a sweep, 2 of 5 jobs finished"


def test_where_chooses_and_a_sweep_s_count_stays(runs, capsys):
    found = lines(capsys, "--where", "seed=10")
    assert found[1] == "runs/multirun/sweep: a sweep, 2 of 5 jobs finished"
    assert [line.split()[-1] for line in found[2:]] == ["10_seed=10"]
    assert [line.split()[-1] for line in lines(capsys, "--where", "algorithm=fomaml")[1:]] == ["runs/z-early"]


MISTAKES = [
    (["nowhere"], "nowhere is not a folder"),
    (["empty"], "no run found in empty"),
    (["begun"], "begun is a sweep whose jobs have not begun; maml-exp resume begun starts them"),
    (["searching"], "searching is a sweep whose jobs have not begun; start it again, as it was started"),
    (["runs", "--where", "seed=77"], "no run found with these settings; 5 have others"),
    (["runs", "--where", "sed=7"], "did you mean seed?"),
    (["runs", "--were", "seed=7"], "--were seed=7 is not understood; did you mean --where?"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[case[1] for case in MISTAKES])
def test_a_mistake_costs_a_line(runs, capsys, arguments, message):
    (runs.parent / "empty").mkdir()
    (runs.parent / "begun").mkdir()
    (runs.parent / "begun" / "sweep.json").write_text(json.dumps({"overrides": [], "constant": [], "jobs": [["a=1"]]}))
    (runs.parent / "searching").mkdir()
    (runs.parent / "searching" / "sweep.json").write_text(json.dumps({"overrides": [], "constant": [], "jobs": []}))
    assert main(["list", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_without_a_folder_runs_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 1
    assert "maml-exp list PATH" in capsys.readouterr().err


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_damaged_running_and_killed_runs_are_named(tmp_path, capsys):
    here = {"host": socket.gethostname()}
    dated(make_run(tmp_path / "alive", state="running"), "2026-01-01T00:00", pid=os.getpid(), **here)
    dated(make_run(tmp_path / "killed", state="running"), "2026-01-01T00:00", pid=dead_process(), **here)
    dated(make_run(tmp_path / "elsewhere", state="running"), "2026-01-01T00:00", pid=dead_process(), host="other")
    make_run(tmp_path / "diverged", state="diverged")
    make_run(tmp_path / "infinite", {10: [1.0] * 4})
    for name, file, text in [
        ("torn", ".hydra/config.yaml", "a: ["),
        ("hostile", ".hydra/config.yaml", "seed: ${oc.env:HOME}\n"),
        ("empty", ".hydra/config.yaml", "{}"),
        ("no-status", "status.json", "{"),
        ("no-summary", "summary.json", "[]"),
    ]:
        (make_run(tmp_path / name, {10: [1.0] * 4}) / file).write_text(text)
    summary = json.loads((tmp_path / "infinite" / "summary.json").read_text())
    (tmp_path / "infinite" / "summary.json").write_text(json.dumps({**summary, "objective": None}))
    found = {line.split()[-1].rpartition("/")[2]: line for line in lines(capsys, tmp_path)[1:]}
    states = {name: line.split()[0] for name, line in found.items()}
    assert states == {
        "alive": "running",
        "killed": "killed",
        "elsewhere": "running",
        "diverged": "diverged",
        "infinite": "finished",
        "torn": "unreadable",
        "hostile": "unreadable",
        "empty": "finished",
        "no-status": "unknown",
        "no-summary": "unreadable",
    }
    assert "not finite" in found["infinite"]


def test_a_run_of_the_first_version_is_listed(capsys, request):
    data = request.config.rootpath / "tests" / "data" / "bd1b5f6"
    found = lines(capsys, data)
    assert found[1].startswith("finished ")
    assert "optimizer=sgd" in found[2]
    assert "inner.steps=5" in found[2]
