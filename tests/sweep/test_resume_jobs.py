"""`maml-exp resume --jobs 2`: several runs of a sweep at the same time, and whatever may stop them."""

import os
import shutil
import signal

import pytest
from helpers import TINY, command, planted, read_status, signalled

from maml_exp.cli import main

from .conftest import job_folders
from .processes import check_completed, settings, started_command
from .test_sweep import table

pytestmark = pytest.mark.slow

# the first ends at once; the others wait at iteration 60, at the same time only if there are two processes
WAITING = [*TINY, "optimizer=waits", "optimizer.lr=0.001", "training.iterations=10,100,101"]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The sweep under the basic launcher, the gate open."""
    cwd = tmp_path_factory.mktemp("never-stopped")
    (cwd / "gate").touch()
    environment = settings(cwd, GATE=str(cwd / "gate"))
    process = command("-m", *WAITING, f"hydra.sweep.dir={cwd / 'sweep'}", cwd=cwd, env=environment)
    assert process.returncode == 0, process.stderr
    return cwd / "sweep"


@pytest.fixture
def resuming(tmp_path):
    """`resume --jobs 2` of the sweep, which was killed in its first job; two jobs wait at iteration 60."""
    overrides, gate = [*WAITING, f"hydra.sweep.dir={tmp_path / 'sweep'}"], str(tmp_path / "gate")
    killed = planted(signalled(5, "SIGKILL"), "-m", *overrides, cwd=tmp_path, env=settings(tmp_path, GATE=gate))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(job_folders(tmp_path / "sweep")) == 1
    with started_command(["resume", tmp_path / "sweep", "--jobs", "2"], tmp_path) as resuming:
        resuming.wait_for(lambda: resuming.states() == [("finished", 10), ("running", 60), ("running", 60)])
        resuming.wait_for(lambda: len(list(resuming.gate.parent.glob("waits.*"))) == 2)  # both beyond iteration 60
        assert resuming.process.poll() is None, resuming.ended()
        yield resuming


def test_two_at_a_time_make_the_same_bits(resuming, never_stopped):
    resuming.gate.touch()
    status, output = resuming.ended()
    assert status == 0, output
    assert "3 of 3 jobs finished" in output
    check_completed(resuming.resume(), resuming.sweep, never_stopped)
    assert resuming.left() == []


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGTERM to all"])  # as `timeout` and batch systems do
def test_a_signal_has_all_save_and_leaves_no_process(resuming, never_stopped, how):
    if how == "SIGTERM":
        resuming.process.terminate()
    else:
        os.killpg(resuming.process.pid, signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
    status, output = resuming.ended()
    assert status == (130 if how == "Ctrl-C" else 143), output
    assert "Traceback" not in output
    assert [row[1] for row in table(output)] == ["finished", "interrupted", "interrupted"]
    assert all(step > 60 for _, step in resuming.states()[1:])  # where they were, not the checkpoint before
    assert resuming.left() == []
    assert not (resuming.sweep / ".stop").exists()
    check_completed(resuming.resume(), resuming.sweep, never_stopped)


def test_a_worker_that_is_killed_costs_its_run_alone(resuming, never_stopped):
    os.kill(read_status(job_folders(resuming.sweep)[1])["pid"], signal.SIGKILL)
    resuming.gate.touch()
    status, output = resuming.ended()
    assert status == 1, output
    assert "Traceback" not in output
    assert "1_training.iterations=100: failed: its process was killed; out of memory?" in output
    assert [row[1] for row in table(output)] == ["finished", "killed", "finished"]
    assert resuming.left() == []
    check_completed(resuming.resume(), resuming.sweep, never_stopped)


def test_workers_do_not_outlive_a_command_that_is_killed(resuming, never_stopped):
    resuming.process.kill()
    resuming.process.wait()
    assert resuming.left() == []
    check_completed(resuming.resume(), resuming.sweep, never_stopped)


def test_jobs_that_never_started_get_the_folders_they_would_have_had(never_stopped, tmp_path):
    sweep = tmp_path / "sweep"
    shutil.copytree(never_stopped, sweep)
    names = [path.name for path in job_folders(sweep)]
    for name in names[1:]:
        shutil.rmtree(sweep / name)
    environment = settings(tmp_path, GATE=str(never_stopped.parent / "gate"))
    process = command("resume", sweep, "--jobs", "8", cwd=tmp_path, env=environment)
    check_completed(process, sweep, never_stopped)
    for name in names:
        mine, theirs = (folder / name / ".hydra" / "overrides.yaml" for folder in (sweep, never_stopped))
        assert sorted(mine.read_text().splitlines()) == sorted(theirs.read_text().splitlines())


@pytest.mark.parametrize("jobs", ["0", "-1", "2000"])
def test_a_number_of_jobs_out_of_range_is_refused(jobs, tmp_path, capsys):
    assert main(["resume", str(tmp_path), f"--jobs={jobs}"]) == 1
    assert f"--jobs={jobs} is not usable: it must be an integer from 1 to 1024" in capsys.readouterr().err
