"""`maml-exp -m --jobs 2`, and what is left of a sweep handed to a launcher: stopped and killed in every way."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import COMMAND, TINY, assert_same_result, command, environment, read_status, saved_steps, train, tree

from maml_exp.cli import main
from maml_exp.sweep.session import hold_sweep

from .conftest import job_folders
from .processes import check_completed, settings, started_command

# the first ends at once; the others take a second or more, and save early
SWEPT = "training.iterations=10,6000,6001"
LONG = [*TINY, "training.log_every=500", "training.evaluate_every=0", "training.checkpoint_every=250", SWEPT]
NAMES = ["0_training.iterations=10", "1_training.iterations=6000", "2_training.iterations=6001"]
FAST = [*TINY, "training.iterations=10"]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The sweep under the basic launcher."""
    folder = tmp_path_factory.mktemp("never-stopped") / "sweep"
    assert main(["-m", *LONG, f"hydra.sweep.dir={folder}"]) == 0
    return folder


def both_run(started):
    """Until two jobs are in the middle, at the same time."""

    def under_way():
        folders = job_folders(started.sweep)[1:]
        return len(folders) == 2 and all(saved_steps(folder) for folder in folders)

    started.wait_for(under_way)
    assert started.process.poll() is None, started.ended()


@pytest.fixture
def started(tmp_path):
    """`-m --jobs 2` of the sweep, with its options where people put them: after the settings."""
    arguments = [*LONG, "-m", f"hydra.sweep.dir={tmp_path / 'sweep'}", "--jobs", "2"]
    with started_command(arguments, tmp_path) as sweep:
        yield sweep


def statuses(output):
    """The second column of the table of jobs."""
    return [line.split()[1] for line in output.splitlines() if re.match(r"\d_\S+ +\w+ +\S", line)]


def test_two_at_a_time_make_the_same_bits_and_files_as_one(started, never_stopped):
    both_run(started)
    status, output = started.ended()
    assert status == 0, output
    assert started.left() == []
    assert "1_training.iterations=6000: finished, objective" in output
    assert "3 of 3 jobs finished" in output
    for name in NAMES:
        mine, theirs = started.sweep / name, never_stopped / name
        assert_same_result(mine, theirs)
        for file in ("config.yaml", "overrides.yaml"):
            assert (mine / ".hydra" / file).read_bytes() == (theirs / ".hydra" / file).read_bytes()


STOPS = {  # how it is stopped, the exit status, and what then finishes it
    "Ctrl-C": (130, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=99"]),
    "SIGTERM to all": (143, ["hydra/launcher=workers", "hydra.launcher.jobs=2"]),
    "SIGHUP to all, twice": (129, ["--jobs", "2"]),
    "a file .stop": (130, ["hydra/launcher=basic"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", STOPS)
def test_stopped_it_saves_and_any_launcher_finishes_it(started, never_stopped, tmp_path, how):
    if how == "Ctrl-C":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")  # which finishes it
    both_run(started)
    group = started.process.pid
    if how == "Ctrl-C":
        os.killpg(group, signal.SIGINT)
    elif how == "SIGTERM to all":
        os.killpg(group, signal.SIGTERM)
    elif how == "a file .stop":
        (started.sweep / ".stop").touch()
    else:  # by the system, and by the shell
        os.killpg(group, signal.SIGHUP)
        os.killpg(group, signal.SIGHUP)

    status, output = started.ended()
    expected, arguments = STOPS[how]
    assert status == expected, output
    assert "Traceback" not in output
    assert started.left() == []
    assert not (started.sweep / ".stop").exists()
    assert statuses(output)[0] == "finished"
    assert "interrupted" in statuses(output)[1:]
    assert "maml-exp resume" in output
    finished = tree(started.sweep / NAMES[0])

    shutil.rmtree(started.sweep / NAMES[2])  # as if it had not begun
    process = command("resume", started.sweep, *arguments, cwd=tmp_path)
    assert "3 of 3 jobs finished" in process.stdout, process.stderr
    assert statuses(process.stdout) == ["finished"] * 3
    check_completed(process, started.sweep, never_stopped)
    assert tree(started.sweep / NAMES[0]) == finished
    resumed = (started.sweep / NAMES[1] / "maml_exp.log").read_text()
    assert re.search(r"resumed at iteration [1-9]\d* of 6000", resumed) or "finished" in statuses(output)[1]


def test_a_killed_worker_costs_its_job_alone(started):
    both_run(started)
    os.kill(read_status(started.sweep / NAMES[1])["pid"], signal.SIGKILL)
    status, output = started.ended()
    assert status == 1, output
    assert "1_training.iterations=6000: failed: its process was killed; out of memory?" in output
    assert statuses(output) == ["finished", "killed", "finished"]
    assert started.left() == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_job_that_raises_before_it_begins_says_so_and_the_others_go_on(jobs, tmp_path):
    swept = ["-m", "--jobs", jobs, *TINY, "optimizer=raises", "optimizer.lr=0.1,0.5,0.2"]
    sweep = tmp_path / "sweep"
    process = command(*swept, f"hydra.sweep.dir={sweep}", cwd=tmp_path, env=settings(tmp_path))
    error = "ZeroDivisionError: a fault of the user's"
    assert process.returncode == 1
    assert f"1_optimizer.lr=0.5: failed: {error}" in process.stdout
    assert statuses(process.stdout) == ["finished", "failed", "finished"]
    assert read_status(sweep / "1_optimizer.lr=0.5")["error"] == error
    log = (sweep / "1_optimizer.lr=0.5" / "maml_exp.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert log.endswith(f"{error}\n")
    assert "Traceback" not in process.stderr
    again = command("resume", sweep, cwd=tmp_path, env=settings(tmp_path))
    assert re.fullmatch(r"maml-exp: job 1: .*a fault of the user's\n", again.stderr)


ON_A_TERMINAL = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)  # of a session without one: it becomes the one that controls it
for number in (0, 1, 2):
    os.dup2(terminal, number)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.slow
def test_a_terminal_that_closes_costs_nothing(never_stopped, tmp_path):
    """The terminal itself, as when a connection drops: signals, and nothing can be written any more."""
    ours, theirs = pty.openpty()
    wrapped = [sys.executable, "-c", ON_A_TERMINAL, os.ttyname(theirs), *COMMAND[1:]]
    arguments = ["-m", *LONG, f"hydra.sweep.dir={tmp_path / 'sweep'}", "hydra/launcher=basic"]
    with started_command(arguments, tmp_path, wrapped) as sweep:
        sweep.wait_for(lambda: saved_steps(tmp_path / "sweep" / NAMES[1]))
        os.close(theirs)
        os.close(ours)
        assert sweep.process.wait(60) == 129
        assert sweep.left() == []
    status = read_status(tmp_path / "sweep" / NAMES[1])
    assert (status["state"], status["error"][:6]) == ("interrupted", "SIGHUP")
    assert saved_steps(tmp_path / "sweep" / NAMES[1])[-1] == status["step"]
    check_completed(command("resume", tmp_path / "sweep", "--jobs=2", cwd=tmp_path), tmp_path / "sweep", never_stopped)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [(signal.SIGKILL, -9), (signal.SIGHUP, 129)])
def test_no_worker_of_joblib_s_is_left_that_was_starting(tmp_path, how, status):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    arguments = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *FAST, "seed=0,1,2,3"]
    with started_command([*arguments, f"hydra.sweep.dir={tmp_path / 'sweep'}"], tmp_path) as sweep:
        sweep.wait_for(lambda: any("popen_loky_posix" in line for line in sweep.alive()))
        if how == signal.SIGKILL:
            sweep.process.kill()
        else:
            os.killpg(sweep.process.pid, how)
        assert sweep.ended()[0] == status
        assert sweep.left() == []


# ---- what resume is given, and what it finds


NOT_LAUNCHERS = [
    (["another"], "another is one too many: one run or sweep at a time"),
    (["seed=3"], "seed=3 is not usable here: a resumed run keeps its settings"),
    (["hydra.launcher.jobs=2"], "hydra.launcher.jobs=2 needs a launcher beside it"),
    (["hydra/launcher=basic", "hydra.sweep.dir=x"], "hydra.sweep.dir=x is not usable here"),
    (["hydra/launcher=basic,workers"], "hydra/launcher=basic,workers is not usable here"),
    (["hydra/launcher=basic", "--jobs=2"], "--jobs=2 is a launcher of its own"),
    (["hydra/launcher=nope"], "hydra/launcher=nope is not usable: it must be one of basic, "),
    (["hydra/launcher=workers", "hydra.launcher.jobs=x"], "hydra.launcher.jobs='x' is not usable"),
]


@pytest.mark.parametrize(("arguments", "message"), NOT_LAUNCHERS)
def test_resume_takes_a_launcher_and_nothing_else(arguments, message, never_stopped, tmp_path, capsys):
    shutil.copytree(never_stopped, tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep" / NAMES[0])
    before = tree(tmp_path / "sweep")
    assert main(["resume", str(tmp_path / "sweep"), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"maml-exp: {message}")
    assert captured.out == ""
    after = tree(tmp_path / "sweep")
    assert {name: after[name] for name in before} == before | {".": after["."]}


def test_a_launcher_is_for_a_sweep(never_stopped, capsys):
    assert main(["resume", str(never_stopped / NAMES[0]), "hydra/launcher=basic"]) == 1
    assert "hydra/launcher=basic is for sweeps" in capsys.readouterr().err


def test_a_sweep_that_runs_is_not_resumed_at_the_same_time(never_stopped, capsys):
    with hold_sweep(never_stopped):
        assert main(["resume", str(never_stopped)]) == 1
    assert f"{never_stopped} is being run by another process; wait for it, or stop it" in capsys.readouterr().err


HOSTILE = ["hydra.job.name=x", "hydra/job_logging=default", "name=${oc.env:HOME}", "+x._target_=os.system"]


@pytest.mark.parametrize("override", HOSTILE)
def test_a_stranger_s_plan_gives_settings_of_ours_also_to_a_launcher(override, never_stopped, tmp_path, capsys):
    sweep = shutil.copytree(never_stopped, tmp_path / "sweep")
    shutil.rmtree(sweep / NAMES[0])
    plan = (sweep / "sweep.json").read_text()
    (sweep / "sweep.json").write_text(plan.replace('"training.iterations=10"', f'"{override}"', 1))
    assert main(["resume", str(sweep), "hydra/launcher=basic"]) == 1
    assert f"job 0: the sweep's plan holds '{override}', which is not a setting of a job" in capsys.readouterr().err
    assert [path.name for path in job_folders(sweep)] == NAMES[1:]


def test_resume_with_nobody_listening_does_what_is_left(never_stopped, tmp_path):
    sweep = shutil.copytree(never_stopped, tmp_path / "sweep")
    shutil.rmtree(sweep / NAMES[0])
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run([*COMMAND, "resume", sweep], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert process.returncode == 0, process.stderr
    assert "Broken" not in process.stderr
    assert read_status(sweep / NAMES[0])["state"] == "finished"


def test_a_finished_run_without_its_results_is_judged_again(never_stopped, tmp_path):
    sweep = shutil.copytree(never_stopped, tmp_path / "sweep")
    (sweep / NAMES[0] / "summary.json").unlink()
    assert main(["resume", str(sweep)]) == 0
    assert_same_result(sweep / NAMES[0], never_stopped / NAMES[0])


# ---- a system without signal masks, SIGHUP and locks, as Windows is

WITHOUT = """
import signal, sys
for name in ("pthread_sigmask", "sigwait", "pthread_kill", "SIGHUP"):
    delattr(signal, name)
sys.modules["fcntl"] = None
"""


def test_what_windows_lacks_is_not_needed(tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(WITHOUT)  # for worker processes, too
    repository = str(Path(__file__).parents[2])
    lacking = environment(PYTHONPATH=os.pathsep.join([str(tmp_path / "without"), repository]))
    sweep = command(*FAST, "-m", "--jobs=2", "seed=0,1", "hydra.sweep.dir=sweep", cwd=tmp_path, env=lacking)
    assert sweep.returncode == 0, sweep.stderr
    assert "2 of 2 jobs finished" in sweep.stdout
    shutil.rmtree(tmp_path / "sweep" / "1_seed=1")
    resumed = command("resume", "sweep", cwd=tmp_path, env=lacking)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_result(tmp_path / "sweep" / "1_seed=1", train(tmp_path / "run", "training.iterations=10", "seed=1"))
