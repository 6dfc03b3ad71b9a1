"""A disk that is full, for real: a limit on the size of files, and a tiny file system."""

import os
import resource
import shutil
import signal
import subprocess

import pytest
from helpers import TINY, assert_same_result, checkpoint_path, command, read_rows, read_status, saved_steps, train, tree

from maml_exp.cli import main
from maml_exp.store import checkpoints as checkpoint

pytestmark = pytest.mark.slow
CAUSES = ("File too large", "No space left on device", "Disk quota exceeded")


def limited(size, *arguments, cwd):
    """A real `maml-exp` process that may write no file larger than `size` bytes."""
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    return command(*arguments, cwd=cwd, **limit)


def assert_says_what_is_wrong(process, folder):
    """Exit status 1, and a short message that names a file of this run and the cause."""
    assert process.returncode == 1, (process.returncode, process.stderr)
    assert "Traceback" not in process.stderr
    said = [line for line in process.stderr.splitlines() if any(cause in line for cause in CAUSES)]
    assert said, process.stderr
    assert str(folder) in said[0]
    assert len(process.stderr.splitlines()) <= 8, process.stderr


def whole_files(folder):
    """Every checkpoint that is there can be read, and every row of metrics.csv has a step."""
    for step in saved_steps(folder):
        assert checkpoint.load(checkpoint_path(folder, step)).state.step == step
    return [row["step"] for row in read_rows(folder)] if (folder / "metrics.csv").exists() else []


# bytes: Hydra's files; status.json; the log; provenance.json; metrics.csv's header; events; a checkpoint; many rows
SIZES = [0, 600, 1500, 4000, 6000, 7000, 12000]


@pytest.mark.parametrize("size", SIZES)
def test_every_file_may_be_the_one_that_does_not_fit(size, tiny, tmp_path, capfd):
    folder = tmp_path / "run"
    process = limited(size, *TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
    if process.returncode == 0:  # everything fitted, but perhaps for the event file's last record
        if not any(cause in process.stderr for cause in CAUSES):
            assert_same_result(folder, tiny)
        return
    assert_says_what_is_wrong(process, folder)
    whole_files(folder)
    if (folder / "status.json").exists():
        assert read_status(folder)["state"] in ("failed", "running", "unknown")
    status = main(["resume", str(folder)])
    if status == 0:
        assert_same_result(folder, tiny)
    else:  # not even its configuration fitted: there is nothing to go on with
        errors = capfd.readouterr().err
        assert str(folder) in errors
        assert "Traceback" not in errors


def test_the_last_record_of_the_event_file_is_not_lost_in_silence(tmp_path):
    """All results are written when the record does not fit that says how the run ended."""
    rows = ["training.log_every=1", "training.evaluate_every=1"]  # so that the event file is the largest
    whole = train(tmp_path / "whole", *rows)
    (events,) = whole.glob("events.out.tfevents.*")
    assert events.stat().st_size == max(p.stat().st_size for p in whole.rglob("*") if p.is_file())
    process = limited(events.stat().st_size - 30, *TINY, *rows, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert "Traceback" not in process.stderr
    assert read_status(tmp_path / "run")["state"] == "finished"
    said = [line for line in process.stderr.splitlines() if "File too large" in line]
    assert said, process.stderr
    assert str(tmp_path / "run") in said[0]


def test_what_was_there_survives_and_the_run_goes_on(killed, tiny, copied):
    """A resumed run whose metrics.csv cannot grow: rows and checkpoints of before are there, then all is as ever."""
    folder = copied(killed)
    rows = read_rows(folder)
    process = limited((folder / "metrics.csv").stat().st_size + 50, "resume", folder, cwd=folder.parent)
    assert_says_what_is_wrong(process, folder)
    assert saved_steps(folder)[:4] == [20, 40, 60, 80]
    assert read_rows(folder)[:11] == rows[:11]
    whole_files(folder)
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tiny, tmp_path, capfd):
    """A wide network's checkpoints are far larger than its rows: the first one is what does not fit."""
    folder = tmp_path / "run"
    settings = [*TINY, "model.hidden=[200,200]", "training.iterations=45", f"hydra.run.dir={folder}"]
    process = limited(100_000, *settings, cwd=tmp_path)
    assert_says_what_is_wrong(process, folder)
    assert f"{checkpoint_path(folder, 20)}: File too large" in process.stderr
    assert saved_steps(folder) == []
    assert list(folder.rglob("*.tmp")) == []
    assert read_status(folder)["state"] == "failed"
    assert "File too large" in read_status(folder)["error"]
    assert read_rows(folder)[-1]["step"] == 14


def mounted(path, size):
    """A tmpfs of `size` bytes at `path`, or skip where that is not allowed."""
    path.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True, timeout=30
    )
    if mounting.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounting.stderr.strip()}")


@pytest.mark.parametrize("pages", [8, 14, 20, 26, 32])
def test_a_full_file_system(pages, tiny, tmp_path, capfd):
    disk = tmp_path / "disk"
    mounted(disk, pages * 4096)
    try:
        folder = disk / "run"
        process = command(*TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
        if process.returncode != 0:
            assert_says_what_is_wrong(process, disk)
            assert "No space left on device" in process.stderr
        had = saved_steps(folder)
        whole_files(folder)
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True, timeout=30)
        status = main(["resume", str(folder)])
        errors = capfd.readouterr().err
        assert "Traceback" not in errors
        if had:
            assert status == 0
            assert set(had) <= set(saved_steps(folder))
        if status == 0:
            assert_same_result(folder, tiny)
    finally:
        subprocess.run(["umount", disk], check=True, timeout=30)


# bytes: nothing; the new run's configuration; its checkpoints and rows
@pytest.mark.parametrize("size", [0, 1500, 6000])
def test_a_rerun_that_does_not_fit(size, tiny, tmp_path):
    before = tree(tiny)
    process = limited(size, "rerun", tiny, cwd=tmp_path)
    assert_says_what_is_wrong(process, "runs")
    assert tree(tiny) == before
    for folder in tmp_path.glob("runs/*/*"):
        whole_files(folder)


@pytest.mark.parametrize("size", [0, 300, 3000, 20_000])  # the first table; the page; a figure
def test_a_comparison_that_does_not_fit(size, tiny, tmp_path):
    before, out = tree(tiny), tmp_path / "out"
    process = limited(size, "compare", tiny, "--out", out, cwd=tmp_path)
    assert_says_what_is_wrong(process, out)
    assert tree(tiny) == before
    assert list(tmp_path.rglob("*.tmp")) == []
    assert command("compare", tiny, "--out", out, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("size", [0, 10_000])
def test_figures_that_do_not_fit(size, tiny, copied):
    folder = copied(tiny)
    before = tree(folder)
    process = limited(size, "plot", folder, cwd=folder.parent)
    assert_says_what_is_wrong(process, folder)
    assert list((folder / "plots").iterdir()) == []
    (folder / "plots").rmdir()
    assert {**tree(folder), ".": None} == {**before, ".": None}  # but for when it was changed


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    process = command(*TINY, f"hydra.run.dir={locked / 'run'}", cwd=tmp_path)
    assert process.returncode == 1
    assert "Permission denied" in process.stderr
    assert "Traceback" not in process.stderr


def test_the_limit_is_real(tmp_path):
    """The limit that these tests rely on makes writing fail rather than kill the process."""
    process = limited(1000, "--cfg", "job", cwd=tmp_path)
    assert process.returncode not in (-signal.SIGXFSZ, None)
    assert process.returncode == 0
