"""Every launcher that is installed: the same numbers to the bit, jobs that fail alone, and stopping.

.ci/launchers installs them all and runs this.
"""

import json
import os
import signal
from importlib.util import find_spec

import pytest
from helpers import (
    TINY,
    assert_same_result,
    command,
    read_status,
    read_summary,
    train,
)

from .conftest import job_folders
from .processes import STOPPED, check_completed, settings, started_command
from .test_sweep import table

pytestmark = pytest.mark.slow
PLUGINS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}
# jobs of two algorithms and two users' optimizers, one that calls for exit and one that waits for a second process
OVERRIDES = [*TINY, "optimizer.lr=0.001,1e30", "optimizer=adam,quits,meets"]
STATES = {
    ("0.001", "adam"): "finished",
    ("0.001", "quits"): "failed",
    ("0.001", "meets"): "finished",
    ("1e+30", "adam"): "diverged",
    ("1e+30", "quits"): "failed",
    ("1e+30", "meets"): "diverged",
}
NAMES = [f"{n}_optimizer.lr={lr},optimizer={name}" for n, (lr, name) in enumerate(STATES)]


@pytest.fixture(scope="module", params=list(PLUGINS))
def launcher(request):
    """Each launcher in turn; skipped where it is not installed."""
    name = PLUGINS[request.param]
    if find_spec(f"hydra_plugins.hydra_{name}_launcher") is None:
        pytest.skip(f"hydra-{name}-launcher is not installed; .ci/launchers installs it")
    return request.param


@pytest.fixture(scope="module")
def swept(launcher, tmp_path_factory):
    """A sweep under the launcher: the process, and the sweep's folder."""
    cwd = tmp_path_factory.mktemp(launcher)
    (cwd / "meeting").mkdir()
    arguments = ["-m", f"hydra/launcher={launcher}", *OVERRIDES, f"hydra.sweep.dir={cwd / 'sweep'}"]
    return command(*arguments, cwd=cwd, env=settings(cwd, MEETING=str(cwd / "meeting"))), cwd / "sweep"


def test_jobs_end_as_they_should_whatever_the_others_do(swept):
    process, sweep = swept
    assert process.returncode == 1, process.stderr
    assert [path.name for path in job_folders(sweep)] == NAMES
    assert [read_status(path)["state"] for path in job_folders(sweep)] == list(STATES.values())
    rows = table(process.stdout)
    assert [row[0] for row in rows] == NAMES
    assert [row[1] for row in rows] == list(STATES.values())
    for path, row in zip(job_folders(sweep), rows, strict=True):
        finished = read_status(path)["state"] == "finished"
        assert row[2] == (f"{read_summary(path)['objective']:.4g}" if finished else "-")
    assert f"2 of 6 jobs finished: {sweep}" in process.stdout


def test_a_job_that_calls_for_exit_says_so_in_its_own_log(swept):
    _, sweep = swept
    for path in job_folders(sweep):
        exited = "quits" in path.name
        log = (path / "maml_exp.log").read_text()
        assert ("Traceback" in log) == exited
        assert log.endswith("SystemExit: 7\n") == exited


def test_the_parameters_are_those_of_a_single_run(swept, tmp_path):
    _, sweep = swept
    alone = train(tmp_path / "alone", "optimizer.lr=0.001")
    folder = sweep / NAMES[0]
    assert read_summary(folder)["parameters_sha256"] == read_summary(alone)["parameters_sha256"]
    assert_same_result(folder, alone)


def test_two_jobs_ran_at_once_and_each_on_one_blas_thread(swept):
    """The jobs of the optimizer that meets would have failed without a second process."""
    _, sweep = swept
    met = [path for path in job_folders(sweep) if "meets" in path.name]
    assert [read_status(path)["state"] for path in met] == ["finished", "diverged"]
    for path in sweep.glob("*/provenance.json"):
        blas = json.loads(path.read_text())["environment"]["blas"]
        assert blas
        assert [library["num_threads"] for library in blas] == [1] * len(blas)


# ---- stopping


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The same sweep under the basic launcher, the gate open."""
    cwd = tmp_path_factory.mktemp("never-stopped")
    (cwd / "gate").touch()
    process = command(
        "-m", *STOPPED, f"hydra.sweep.dir={cwd / 'sweep'}", cwd=cwd, env=settings(cwd, GATE=str(cwd / "gate"))
    )
    assert process.returncode == 0, process.stderr
    return cwd / "sweep"


@pytest.fixture
def started(launcher, tmp_path):
    """A sweep that has just been started."""
    arguments = ["-m", f"hydra/launcher={launcher}", *STOPPED, f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    with started_command(arguments, tmp_path) as sweep:
        yield sweep


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_a_signal_stops_the_sweep_and_leaves_no_process(started, never_stopped, how):
    """Ctrl-C signals all processes of the terminal; SIGTERM is sent to one."""
    started.wait_for(lambda: ("finished", 10) in started.states() and ("running", 60) in started.states())
    assert started.process.poll() is None, started.ended()

    if how == "Ctrl-C":
        os.killpg(started.process.pid, signal.SIGINT)
    else:
        started.process.terminate()

    status, output = started.ended()
    assert status == (130 if how == "Ctrl-C" else 143), output
    assert started.left() == []
    rows = table(output)
    assert [row[1] for row in rows] == ["finished", "interrupted"]
    assert started.states()[1][1] > 60  # it saved where it was, not only at the checkpoint before
    assert "1 of 2 jobs finished" in output
    assert not (started.sweep / ".stop").exists()
    check_completed(started.resume(), started.sweep, never_stopped)


def test_ctrl_c_while_workers_start(started, never_stopped):
    """Whatever had begun by then: no process is left, and resume completes the sweep."""
    started.wait_for((started.sweep / "sweep.json").exists)
    started.wait_for(lambda: len(started.alive()) > 1)  # the first process that the launcher started
    os.killpg(started.process.pid, signal.SIGINT)
    status, output = started.ended()
    assert status == 130, output
    assert "Traceback" not in output
    assert started.left() == []
    check_completed(started.resume(), started.sweep, never_stopped)


def test_a_worker_that_is_killed_costs_no_more_than_its_sweep(started, never_stopped, launcher):
    """As the system does when memory runs out: the table is printed, and resume completes the sweep."""
    if launcher == "submitit_local":
        pytest.skip("submitit waits 15 seconds for the result of a job that was killed")
    started.wait_for(lambda: ("finished", 10) in started.states() and ("running", 60) in started.states())
    os.kill(read_status(job_folders(started.sweep)[1])["pid"], signal.SIGKILL)
    started.gate.touch()  # Ray starts a killed job again
    status, output = started.ended()
    states = [row[1] for row in table(output)]
    assert (status, states) in [
        (1, ["finished", "killed"]),
        (1, ["finished", "running"]),
        (0, ["finished", "finished"]),
    ]
    assert started.left() == []
    check_completed(started.resume(), started.sweep, never_stopped)


def test_workers_do_not_outlive_a_sweep_that_is_killed(started, never_stopped, launcher):
    if launcher == "submitit_local":
        pytest.skip("submitit's jobs outlive the sweep on purpose, as they do on a cluster")
    started.wait_for(lambda: ("finished", 10) in started.states() and ("running", 60) in started.states())
    started.process.kill()
    started.process.wait()
    assert started.left() == []
    check_completed(started.resume(), started.sweep, never_stopped)
