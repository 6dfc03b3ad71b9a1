"""Hydra's task function where its folder is not new, or somebody else's, and where nobody is left to work for."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import TIMEOUT, TINY, planted, read_status, saved_steps, signalled, tree

from maml_exp.config.composing import compose_typed
from maml_exp.run.execution import execute_together
from maml_exp.run.outcome import Outcome
from maml_exp.store.run_folder import locked
from maml_exp.sweep.job import _run_or_refuse, ready_or_refused


def alone(composed, folder, stop):
    return _run_or_refuse(composed, folder, stop)


def with_others(composed, folder, stop):
    ready = ready_or_refused(composed, folder, stop)
    return ready if isinstance(ready, Outcome) else execute_together([ready], stop)[0]


@pytest.mark.parametrize("make", [alone, with_others])
def test_a_job_that_its_launcher_starts_again_goes_on(make, tiny, tmp_path, capsys):
    folder, composed = tmp_path / "run", compose_typed(TINY)
    settings = "training.keep_checkpoints=1"
    process = planted(signalled(67, "SIGKILL"), *TINY, settings, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert (process.returncode, saved_steps(folder)) == (-9, [60])
    composed.training.keep_checkpoints = 1
    outcome = make(composed, folder, tmp_path / "stop")
    assert (outcome.state, saved_steps(folder)) == ("finished", [100])
    assert "resumed at iteration 60 of 100" in capsys.readouterr().err
    assert read_status(folder)["state"] == "finished"
    ours, theirs = (run / "evaluation.npz" for run in (folder, tiny))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("make", [alone, with_others])
def test_what_another_process_writes_is_left_alone(make, tmp_path):
    folder = tmp_path / "run"
    process = planted(signalled(67, "SIGKILL"), *TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    config = folder / ".hydra" / "config.yaml"
    with locked(folder):
        before = tree(folder)
        outcome = make(compose_typed(TINY), folder, tmp_path / "stop")
        after = tree(folder)
    assert outcome.state == "failed"
    assert "being written by another process" in outcome.message
    name = str(config.relative_to(folder))
    assert after.pop(name)[0] == before.pop(name)[0]  # the same settings, written again
    before.pop(".hydra")
    after.pop(".hydra")
    assert after == before


ORPHAN = """
import os, signal, sys, time
from pathlib import Path
from maml_exp.config.composing import compose
from maml_exp.run.execution import execute
from maml_exp.sweep.workers import IN_THIS_PROCESS, end_with_parent
parent = os.getppid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a worker between runs
end_with_parent(parent)
with IN_THIS_PROCESS:
    print("there", flush=True)
    while os.getppid() == parent:
        time.sleep(0.05)
    time.sleep(1.5)  # the watch looks every second
    execute(compose(sys.argv[2:]), Path(sys.argv[1]))
"""


def test_a_run_that_begins_when_nobody_is_left_saves_and_ends(tmp_path):
    folder = tmp_path / "run"
    child = [sys.executable, "-c", ORPHAN, str(folder), *TINY, "training.iterations=10000000"]
    starting = f"import subprocess, time; subprocess.Popen({child!r}); time.sleep({TIMEOUT})"
    with subprocess.Popen([sys.executable, "-c", starting], stdout=subprocess.PIPE, text=True) as parent:
        folder.mkdir()
        assert parent.stdout.readline() == "there\n"
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + TIMEOUT
    while not (folder / "status.json").exists() or read_status(folder)["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.05)
    status = read_status(folder)
    assert status["state"] == "interrupted"
    assert "SIGTERM" in status["error"]
    assert saved_steps(folder)[-1:] == [status["step"]]


def test_a_refusal_leaves_what_a_run_has_left(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    process = planted(signalled(67, "SIGKILL"), *TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    status = (folder / "status.json").read_bytes()
    composed = compose_typed(TINY)
    composed.inner.lr = -1.0
    for make in (alone, with_others):
        outcome = make(composed, folder, tmp_path / "stop")
        assert outcome.state == "failed"
        assert "inner.lr=-1.0 is not usable" in outcome.message
    assert (folder / "status.json").read_bytes() == status
    assert (folder / "maml_exp.log").read_text().count("inner.lr=-1.0 is not usable") == 2


def test_a_job_begun_again_without_a_checkpoint_has_no_best_one_of_before(tmp_path):
    folder = tmp_path / "run"
    settings = [*TINY, "training.keep_best=true", "training.evaluate_every=10", "training.checkpoint_every=0"]
    process = planted(signalled(67, "SIGKILL"), *settings, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    assert (folder / "checkpoints" / "best_next.npz").exists()
    stop = tmp_path / "stop"
    again = planted(
        "from maml_exp.config.composing import compose_typed\nfrom maml_exp.sweep.job import _run_or_refuse\n"
        f"from pathlib import Path\n{signalled(6, 'SIGTERM')}\n"
        f"_run_or_refuse(compose_typed({settings!r}), Path({str(folder)!r}), Path({str(stop)!r}))",
        "--version",
        cwd=tmp_path,
    )
    assert read_status(folder)["state"] == "interrupted", again.stderr
    assert {path.name for path in (folder / "checkpoints").glob("*.npz")} == {"step_00000007.npz"}
