"""`maml-exp resume`: after SIGKILL at any moment a run goes on to the bits of one never interrupted."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import (
    COMMAND,
    TIMEOUT,
    TINY,
    assert_same_result,
    command,
    planted,
    points,
    points_of_rows,
    read_rows,
    read_status,
    result,
    saved_steps,
    signalled,
    train,
    tree,
)

from maml_exp.cli import main
from maml_exp.store.run_folder import RunFolder, locked

SCRIPT = Path(__file__).parents[2] / "scripts" / "attack" / "kill_and_resume.py"


def test_a_killed_run_keeps_what_it_had(killed):
    assert saved_steps(killed) == [20, 40, 60, 80]
    assert [row["step"] for row in read_rows(killed) if "meta/loss" in row][-1] == 84
    assert points(killed) == points_of_rows(read_rows(killed))  # nothing was waiting to be written
    assert read_status(killed)["state"] == "running"
    assert not (killed / "summary.json").exists()


def test_a_killed_run_goes_on_to_the_same_bits(killed, tiny, copied, capsys):
    folder = copied(killed)
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)
    captured = capsys.readouterr()
    assert "resumed at iteration 80 of 100" in captured.err
    assert captured.out.splitlines()[-1] == str(folder)
    (resume,) = json.loads((folder / "provenance.json").read_text())["resumes"]
    assert resume["step"] == 80


# moments in which the process dies: plant(action, number of the call, owner, name of the function)
FOLDER = "import maml_exp.store.run_folder as folder\n"
MOMENTS = {
    "before the first step": signalled(0, "SIGKILL"),
    "before the first row": signalled(5, "SIGKILL"),
    "before the first checkpoint": signalled(19, "SIGKILL"),
    "between a row and its checkpoint": signalled(40, "SIGKILL"),
    "before the last step": signalled(99, "SIGKILL"),
    "flushing a file to the disk": "plant(lambda: send(signal.SIGKILL), 8, os, 'fsync')",
    "renaming the first checkpoint": FOLDER + "real = os.replace\n"
    "def replace(a, b, **folders):\n"
    "    if 'step_00000020' in str(b): send(signal.SIGKILL)\n"
    "    real(a, b, **folders)\n"
    "os.replace = replace",
    "after renaming a checkpoint": "real = os.replace\n"
    "def replace(a, b, **folders):\n"
    "    real(a, b, **folders)\n"
    "    if 'step_00000060' in str(b): send(signal.SIGKILL)\n"
    "os.replace = replace",
    "between a row of metrics.csv and its point": "from maml_exp.run.tensorboard import Board\n"
    "plant(lambda: send(signal.SIGKILL), 5, Board, 'scalars')",
    "judging": "import maml_exp.run.run as runner\nplant(lambda: send(signal.SIGKILL), 0, runner, 'evaluate_finally')",
    "after the final row": "from maml_exp.run.run import files  # checkpoints have their own name for it\n"
    "plant(lambda: send(signal.SIGKILL), 0, files, 'write_arrays')",
    "writing the summary": "real = os.replace\n"
    "def replace(a, b, **folders):\n"
    "    if 'summary' in str(b): send(signal.SIGKILL)\n"
    "    real(a, b, **folders)\n"
    "os.replace = replace",
    "before it says finished": "real = os.replace\n"
    "def replace(a, b, **folders):\n"
    "    real(a, b, **folders)\n"
    "    if 'summary' in str(b): send(signal.SIGKILL)\n"
    "os.replace = replace",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_an_awkward_moment(moment, tiny, tmp_path):
    folder = tmp_path / "run"
    process = planted(MOMENTS[moment], *TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert read_status(folder)["state"] == "running"
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)


@pytest.mark.parametrize("moment", ["renaming the first checkpoint", "writing the summary"])
def test_half_written_files_of_a_killed_process_are_cleared_away(moment, tmp_path):
    planted(MOMENTS[moment], *TINY, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert len(list(tmp_path.rglob("*.tmp"))) == 1
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert list(tmp_path.rglob("*.tmp")) == []


@pytest.mark.parametrize("moment", ["before the first step", "before the last step", "flushing a file to the disk"])
def test_killed_again_while_it_resumes(moment, killed, tiny, copied):
    folder = copied(killed)
    plant = MOMENTS[moment].replace(" 99,", " 13,")  # of the twenty that are left
    assert planted(plant, "resume", folder, cwd=folder.parent).returncode == -signal.SIGKILL
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)
    assert len(json.loads((folder / "provenance.json").read_text())["resumes"]) == 2


def test_killed_before_it_had_said_anything_itself(tiny, tmp_path):
    """Hydra's own copy of the configuration is all there is."""
    plant = "plant(lambda: send(signal.SIGKILL), 0, os, 'replace')"
    process = planted(plant, *TINY, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "status.json").exists()
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert_same_result(tmp_path / "run", tiny)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=sgd", "optimizer.momentum=0.9", "algorithm=joint"],
        ["dtype=float64", "algorithm=fomaml", "inner.steps=3"],
        ["training.keep_checkpoints=1"],
        ["training.checkpoint_every=0"],
        ["training.log_every=33", "training.checkpoint_every=10", "optimizer.clip_norm=0.5"],
    ],
    ids=" ".join,
)
def test_every_state_is_saved(overrides, tmp_path):
    alone = train(tmp_path / "alone", *overrides)
    process = planted(signalled(77, "SIGKILL"), *TINY, *overrides, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert process.returncode == -signal.SIGKILL
    steps = [20, 40, 60] if "training.checkpoint_every=10" not in overrides else range(10, 71, 10)
    kept = {"training.keep_checkpoints=1": [60], "training.checkpoint_every=0": []}.get(overrides[0], list(steps))
    assert saved_steps(tmp_path / "run") == kept
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert_same_result(tmp_path / "run", alone)


def test_a_moved_folder_resumes(killed, tiny, tmp_path, monkeypatch):
    folder = shutil.copytree(killed, tmp_path / "else where" / "ünï")
    monkeypatch.chdir(folder.parent)
    assert main(["resume", folder.name]) == 0
    assert_same_result(folder, tiny)


def test_a_finished_run_is_left_as_it_is(smoke, copied, capsys):
    folder = copied(smoke[1])
    before = tree(folder)
    assert main(["resume", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder} is finished; nothing to resume\n"
    assert tree(folder) == before
    process = command("resume", folder, cwd=folder.parent)
    assert process.returncode == 0
    assert "finished" in process.stdout
    assert tree(folder) == before


def test_a_diverged_run_is_not_resumed(tmp_path, capsys):
    process = command(*TINY, "optimizer.lr=1e9", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert process.returncode == 1
    before = tree(tmp_path / "run")
    assert main(["resume", str(tmp_path / "run")]) == 1
    errors = capsys.readouterr().err
    assert "diverged" in errors
    assert "maml-exp rerun" in errors
    assert tree(tmp_path / "run") == before


def test_a_run_that_another_process_writes_is_refused(tmp_path):
    """Two real processes: the second is sent away, the first is not disturbed."""
    folder = tmp_path / "run"
    arguments = [*TINY, "training.iterations=1000000", f"hydra.run.dir={folder}"]
    first = subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not saved_steps(folder) and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        second = command("resume", folder, cwd=tmp_path)
        assert first.poll() is None
        assert second.returncode == 1
        assert second.stderr.splitlines()[0].startswith("maml-exp: ")
        assert f"{folder} is being written by another process" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        assert read_status(folder)["pid"] == first.pid
    finally:
        first.kill()
        first.communicate()


def test_a_lock_left_behind_holds_nobody_up(killed, tiny, copied):
    folder = copied(killed)
    with locked(folder):
        before = tree(folder)
        assert main(["resume", str(folder)]) == 1
        assert tree(folder) == before
    assert (folder / ".lock").exists()
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)


@pytest.mark.slow
def test_killed_at_many_random_moments(tmp_path):
    """The script's own verdict, and ours on the runs that it kept."""
    process = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "15", "--seed", "3", "--folder", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    made = re.search(r"killed 15 times in (\d+) runs: identical", process.stdout)
    assert made, process.stdout
    assert len(list(tmp_path.glob("killed_*"))) == int(made[1])
    for folder in tmp_path.glob("killed_*"):
        assert_same_result(folder, tmp_path / "alone")


def test_the_script_s_comparison_sees_a_difference(tiny, tmp_path):
    from maml_exp.comparison.differences import compare_runs

    other = train(tmp_path / "other", "optimizer.lr=0.0010000001")
    assert not compare_runs(RunFolder(tiny), RunFolder(other)).identical
    assert result(other) != result(tiny)
