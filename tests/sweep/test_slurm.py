"""A real Slurm cluster, of one node: sweeps, scancel, Ctrl-C, a killed command, and resume through the cluster."""

import os
import re
import shutil
import signal

import pytest
from helpers import TINY, command, read_status, saved_steps

from maml_exp.cli import main

from .conftest import job_folders
from .processes import check_completed, started_command
from .slurm import asked, slurm, until  # noqa: F401  a fixture

# the first ends at once; the others can be stopped in the middle
SWEPT = "training.iterations=10,8000,8001,8002"
LONG = [*TINY, "training.log_every=1000", "training.evaluate_every=0", "training.checkpoint_every=250", SWEPT]
LAUNCHER = [
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.partition=cpu",
    "hydra.launcher.timeout_min=10",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.array_parallelism=2",
]

pytestmark = pytest.mark.usefixtures("slurm")


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The sweep under the basic launcher."""
    folder = tmp_path_factory.mktemp("never-stopped") / "sweep"
    assert main(["-m", *LONG, f"hydra.sweep.dir={folder}"]) == 0
    return folder


@pytest.fixture
def started(tmp_path):
    """The sweep, on the cluster."""
    with started_command(["-m", *LAUNCHER, *LONG, f"hydra.sweep.dir={tmp_path / 'sweep'}"], tmp_path) as sweep:
        yield sweep


def queue():
    """(job id, state) of what Slurm has, a line each element of an array."""
    return [tuple(line.split()) for line in asked("squeue", "-h", "-r", "-o", "%i %T").splitlines()]


def in_the_middle(sweep, number):
    return any(saved_steps(folder) for folder in job_folders(sweep) if folder.name.startswith(f"{number}_"))


def state_of(sweep, number):
    (folder,) = sweep.glob(f"{number}_*")
    return read_status(folder)["state"]


def test_a_sweep_and_what_is_left_of_it_have_the_bits_of_one_machine(started, never_stopped, tmp_path):
    status, output = started.ended()
    assert status == 0, output
    assert "4 of 4 jobs finished" in output
    assert len(list(started.sweep.glob(".submitit/*/*_log.out"))) == 4
    assert queue() == []

    for name in ("0_training.iterations=10", "2_training.iterations=8001"):
        shutil.rmtree(started.sweep / name)
    process = command("resume", started.sweep, *LAUNCHER, cwd=tmp_path)
    check_completed(process, started.sweep, never_stopped)
    assert len(list(started.sweep.glob(".submitit/*/*_log.out"))) == 4 + 2  # by the cluster, not here
    assert "4 of 4 jobs finished" in process.stdout


def test_scancel_and_ctrl_c_save_and_resume_finishes_on_the_cluster(started, never_stopped, tmp_path):
    started.wait_for(lambda: in_the_middle(started.sweep, 1) and len(queue()) > 1)
    (element,) = [job for job, _ in queue() if job.endswith("_1")]
    asked("scancel", element)
    until(lambda: state_of(started.sweep, 1) == "interrupted", "scancel did not interrupt the job")
    started.wait_for(lambda: in_the_middle(started.sweep, 2))
    assert started.process.poll() is None

    os.killpg(started.process.pid, signal.SIGINT)
    status, output = started.ended()
    assert status == 130, output
    assert "Traceback" not in output
    until(lambda: queue() == [], "jobs are left in the queue")
    assert [state_of(started.sweep, n) for n in (0, 1, 2)] == ["finished", "interrupted", "interrupted"]
    for folder in job_folders(started.sweep)[1:3]:
        assert saved_steps(folder)[-1] == read_status(folder)["step"] > 0

    check_completed(command("resume", started.sweep, *LAUNCHER, cwd=tmp_path), started.sweep, never_stopped)
    log = next(started.sweep.glob("1_*/maml_exp.log")).read_text()
    assert re.search(r"resumed at iteration [1-9]\d* of 8000", log)


def test_jobs_outlive_a_killed_command_until_they_are_asked_to_stop(started, never_stopped, tmp_path):
    started.wait_for(lambda: in_the_middle(started.sweep, 1))
    started.process.kill()
    started.process.wait()
    assert state_of(started.sweep, 1) == "running"
    (started.sweep / ".stop").touch()
    until(lambda: queue() == [], "jobs are left in the queue")
    assert state_of(started.sweep, 1) == "interrupted"
    process = command("resume", started.sweep, *LAUNCHER, cwd=tmp_path)
    check_completed(process, started.sweep, never_stopped)
    assert not (started.sweep / ".stop").exists()
