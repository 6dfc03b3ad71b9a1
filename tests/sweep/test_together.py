"""Sweeps whose runs go in lockstep: what they come to, and what is left of them when they are stopped and killed."""

import os
import signal

import pytest
from helpers import TINY, assert_same_result, command, read_status, saved_steps

from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.core.training.lockstep import most_together
from maml_exp.sweep.workers import in_groups

from .conftest import job_folders
from .processes import started_command

SMALL = [*TINY, "training.meta_batch=2", "task.shots=2", "task.query=2", "training.log_every=500"]
LONG = [*SMALL, "training.iterations=3000", "training.evaluate_every=0", "training.checkpoint_every=250"]
SWEPT = ["seed=0,1,2", "inner.lr=0.01,0.02"]
TOGETHER = ["hydra/launcher=together", "hydra.launcher.jobs=1"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The long sweep, one run after the other."""
    folder = tmp_path_factory.mktemp("alone") / "sweep"
    assert main(["-m", *LONG, *SWEPT, f"hydra.sweep.dir={folder}"]) == 0
    return folder


@pytest.fixture
def started(tmp_path):
    """The same in lockstep, in one worker."""
    arguments = ["-m", *LONG, *SWEPT, *TOGETHER, f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    with started_command(arguments, tmp_path) as sweep:
        yield sweep


def all_have_saved(started):
    def under_way():
        folders = job_folders(started.sweep)
        return len(folders) == 6 and all(saved_steps(folder) for folder in folders)

    started.wait_for(under_way)
    assert started.process.poll() is None, started.ended()


def check_same(sweep, alone):
    assert [folder.name for folder in job_folders(sweep)] == [folder.name for folder in job_folders(alone)]
    for ours, theirs in zip(job_folders(sweep), job_folders(alone), strict=True):
        assert_same_result(ours, theirs)


def test_runs_in_lockstep_come_to_what_they_come_to_alone(started, alone):
    status, output = started.ended()
    assert status == 0, output
    assert "6 of 6 jobs finished" in output
    check_same(started.sweep, alone)
    for folder in job_folders(started.sweep):
        assert "in lockstep with 5 other runs, 0 iterations made" in (folder / "maml_exp.log").read_text()
        assert (folder / ".hydra" / "overrides.yaml").is_file()


@pytest.mark.slow
def test_stopped_they_save_and_go_on_in_lockstep(started, alone, tmp_path):
    all_have_saved(started)
    (started.sweep / ".stop").touch()
    status, output = started.ended()
    assert status == 130, output
    assert [state for state, _ in started.states()] == ["interrupted"] * 6
    resumed = command("resume", started.sweep, "--jobs", "2", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    check_same(started.sweep, alone)
    logs = [(folder / "maml_exp.log").read_text() for folder in job_folders(started.sweep)]
    assert all("in lockstep with 2 other runs" in log for log in logs)


@pytest.mark.slow
def test_killed_they_are_named_and_go_on(started, alone, tmp_path):
    all_have_saved(started)
    os.kill(read_status(job_folders(started.sweep)[3])["pid"], signal.SIGKILL)
    status, output = started.ended()
    assert status == 1, output
    assert output.count("failed: its process was killed; out of memory?") == 6
    assert command("resume", started.sweep, "--jobs", "2", cwd=tmp_path).returncode == 0
    check_same(started.sweep, alone)


def test_what_diverges_or_is_refused_stops_no_other(tmp_path, capsys):
    swept = ["inner.lr=0.01,1e30", "training.iterations=20,30", "optimizer.lr=0.001,-1", "seed=0,1"]
    assert main(["-m", *SMALL, *swept, *TOGETHER, f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 1
    assert "4 of 16 jobs finished" in capsys.readouterr().out
    for folder in job_folders(tmp_path / "sweep"):
        expected = "diverged" if "1e+30" in folder.name or "1e30" in folder.name else "finished"
        if "optimizer.lr=-1" in folder.name:
            expected = "failed"
        assert read_status(folder)["state"] == expected


@pytest.mark.parametrize(
    ("alike", "most", "processes", "sizes"),
    [
        ([range(20)], 20, 2, [10, 10]),
        ([range(20)], 18, 2, [10, 10]),
        ([range(20)], 6, 2, [5, 5, 5, 5]),
        ([range(20)], 1, 2, [1] * 20),
        ([range(3)], 20, 2, [1, 2]),
        ([range(2)], 20, 2, [1, 1]),
        ([range(2)], 20, 8, [1, 1]),
        ([range(10), range(10, 20)], 20, 2, [10, 10]),
        ([range(4), range(4, 5)], 20, 2, [2, 2, 1]),
        ([], 20, 2, []),
    ],
)
def test_groups_are_as_large_as_pays_and_leave_no_process_without_work(alike, most, processes, sizes):
    groups = in_groups([list(keys) for keys in alike], lambda key: most, processes)
    assert [len(group) for group in groups] == sizes
    assert [key for group in groups for key in group] == [key for keys in alike for key in keys]


@pytest.mark.parametrize(
    ("overrides", "several"),
    [
        (["training.meta_batch=4", "task.shots=5", "task.query=5"], True),
        (["training.meta_batch=2", "inner.steps=14", "task.shots=5", "task.query=5"], True),
        (["training.meta_batch=25"], True),
        (["training.meta_batch=25", "inner.steps=5"], False),
        (["model.hidden=[256,256]"], False),
        (["model.hidden=[1024]", "training.meta_batch=4"], False),
        (["algorithm=ridge"], False),
    ],
)
def test_runs_go_in_lockstep_where_that_was_measured_to_pay(overrides, several):
    assert (most_together(compose(overrides).problem) > 1) is several
