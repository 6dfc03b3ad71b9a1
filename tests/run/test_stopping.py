"""SIGTERM and SIGINT: the iteration is finished, a checkpoint written, and the way on printed; twice ends at once."""

import signal
import subprocess
import sys
import time

import pytest
from helpers import (
    COMMAND,
    PLANTED,
    TIMEOUT,
    TINY,
    assert_same_result,
    planted,
    read_rows,
    read_status,
    saved_steps,
    signalled,
    train,
    tree,
)

from maml_exp.cli import main

STATUS = {"SIGTERM": 143, "SIGINT": 130}
SWEEP = ["-m", *TINY, "seed=0,1,2"]


def assert_interrupted(process, folder, name, step):
    """The process ended as it should on this signal, with a checkpoint of `step`."""
    assert process.returncode == STATUS[name], process.stderr
    assert "Traceback" not in process.stderr
    status = read_status(folder)
    assert (status["state"], status["step"]) == ("interrupted", step)
    assert name in status["error"]
    assert f"maml-exp resume {folder}" in process.stderr
    assert saved_steps(folder)[-1:] == [step] if step else saved_steps(folder) == []
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("name", STATUS)
@pytest.mark.parametrize("at", [0, 62], ids=lambda at: f"iteration {at + 1}")
def test_a_signal_saves_the_very_step_and_resume_goes_on_from_it(name, at, tiny, tmp_path, capsys):
    folder = tmp_path / "run"
    process = planted(signalled(at, name), *TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert_interrupted(process, folder, name, at + 1)  # the iteration under way is finished
    assert main(["resume", str(folder)]) == 0
    assert f"resumed at iteration {at + 1} of 100" in capsys.readouterr().err
    assert_same_result(folder, tiny)


MOMENTS = {  # after the last iteration: the checkpoint of step 100 is there already
    "judging": "import maml_exp.run.run as runner\nplant(lambda: send(signal.{}), 0, runner, 'evaluate_finally')",
    "drawing": "import maml_exp.run.figures.of_run as plots\n"
    "plant(lambda: send(signal.{}), 0, plots, 'draw_adaptation')",
    "logging the result": "from maml_exp.run.final_evaluation import FinalEvaluation\n"
    "plant(lambda: send(signal.{}), 0, FinalEvaluation, 'arrays')",
    "closing the log": "from maml_exp.run.metrics_log import MetricsLog\n"
    "plant(lambda: send(signal.{}), 0, MetricsLog, 'close')",
}
TOO_LATE = ("logging the result", "closing the log")


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("judging", "SIGTERM"),
        ("judging", "SIGINT"),
        ("drawing", "SIGINT"),
        *((moment, "SIGTERM") for moment in TOO_LATE),
    ],
)
def test_a_signal_after_the_training(moment, name, tiny, tmp_path):
    folder, plots = tmp_path / "run", f"evaluation.plots={str(moment == 'drawing').lower()}"
    process = planted(MOMENTS[moment].format(name), *TINY, plots, f"hydra.run.dir={folder}", cwd=tmp_path)
    if moment in TOO_LATE:  # too late to stop: the run is finished, and says so
        assert process.returncode in (0, STATUS[name])
        assert read_status(folder)["state"] == "finished"
    else:
        assert_interrupted(process, folder, name, 100)
        assert main(["resume", str(folder)]) == 0
    if moment != "drawing":
        assert_same_result(folder, tiny)


def test_a_signal_while_a_log_closes_stops_the_sweep_behind_that_job(tmp_path):
    plant = MOMENTS["closing the log"].format("SIGINT")
    process = planted(plant, *SWEEP, f"hydra.sweep.dir={tmp_path / 'sweep'}", cwd=tmp_path)
    assert process.returncode == STATUS["SIGINT"], process.stderr
    assert "1 of 3 jobs finished, 2 not started" in process.stdout


def test_a_signal_before_a_run_has_begun_costs_nothing(killed, copied, tmp_path):
    folder = copied(killed)
    before = tree(folder)
    plant = "import maml_exp.run.run as runner\nplant(lambda: send(signal.SIGINT), 0, runner, 'require_tasks')"
    process = planted(plant, "resume", folder, cwd=tmp_path)
    assert process.returncode == STATUS["SIGINT"], process.stderr
    assert process.stderr.strip().endswith(f"SIGINT before the run in {folder} began")
    assert "Traceback" not in process.stderr
    assert tree(folder) == before


@pytest.mark.parametrize("signals", [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGINT", "SIGTERM")], ids="+".join)
def test_a_second_signal_ends_at_once(signals, tiny, tmp_path):
    folder = tmp_path / "run"
    process = planted(signalled(50, *signals), *TINY, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -signal.Signals[signals[1]]
    assert saved_steps(folder) == [20, 40]  # nothing was finished or saved any more
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)


@pytest.mark.parametrize("name", STATUS)
def test_a_signal_while_it_resumes(name, killed, tiny, copied):
    folder = copied(killed)
    process = planted(signalled(9, name), "resume", folder, cwd=folder.parent)
    assert_interrupted(process, folder, name, 90)
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, tiny)


def wait_for(condition, process):
    """Wait until `condition` holds; fails if the process ends before."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A run of some seconds, never interrupted."""
    return train(tmp_path_factory.mktemp("long") / "run", "training.iterations=3000", "training.checkpoint_every=900")


@pytest.mark.parametrize("name", STATUS)
def test_a_signal_from_another_process(name, long, tmp_path):
    folder = tmp_path / "run"
    arguments = [*TINY, "training.iterations=3000", "training.checkpoint_every=900", f"hydra.run.dir={folder}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, **pipes)
    wait_for(lambda: (folder / "metrics.csv").exists() and len(read_rows(folder)) > 20, process)
    process.send_signal(signal.Signals[name])
    _, process.stderr = process.communicate(timeout=TIMEOUT)
    step = read_status(folder)["step"]
    assert 100 < step < 3000
    assert_interrupted(process, folder, name, step)
    assert main(["resume", str(folder)]) == 0
    assert_same_result(folder, long)


def test_a_second_signal_ends_an_iteration_that_takes_for_ever(tmp_path):
    """The first signal waits for the iteration; the second does not."""
    plant = "import time\nplant(lambda: (print('busy', flush=True), time.sleep(600)), 30, Trainer, 'train_step')"
    code = PLANTED.replace("{plant}", plant)
    arguments = [*TINY, f"hydra.run.dir={tmp_path / 'run'}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=tmp_path, **pipes) as process:
        try:
            assert process.stdout.readline() == "busy\n"
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            while process.poll() is None:  # signals that arrive together count once: send until it has had two
                process.send_signal(signal.SIGINT)
                time.sleep(0.01)
            assert process.returncode in (-signal.SIGINT, -signal.SIGTERM)
        finally:
            process.kill()
    assert saved_steps(tmp_path / "run") == [20]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of three jobs, never interrupted."""
    folder = tmp_path_factory.mktemp("sweep") / "sweep"
    assert main([*SWEEP, f"hydra.sweep.dir={folder}"]) == 0
    return folder


def job_folders(sweep):
    return sorted(path.parent for path in sweep.glob("*/status.json"))


def assert_same_sweep(folder, reference):
    """Every job of the same name, and with the same result to the bit."""
    assert [path.name for path in job_folders(folder)] == [path.name for path in job_folders(reference)]
    assert len(job_folders(folder)) == 3
    for ours, theirs in zip(job_folders(folder), job_folders(reference), strict=True):
        assert_same_result(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at", "states"), [("SIGINT", 50, ["interrupted"]), ("SIGTERM", 150, ["finished", "interrupted"])]
)
def test_a_signal_stops_a_sweep_and_resume_finishes_it(name, at, states, sweep, tmp_path, capsys):
    folder = tmp_path / "sweep"
    process = planted(signalled(at, name), *SWEEP, f"hydra.sweep.dir={folder}", cwd=tmp_path)
    assert process.returncode == STATUS[name], process.stderr
    assert "Traceback" not in process.stderr
    assert [read_status(path)["state"] for path in job_folders(folder)] == states
    assert f"maml-exp resume {folder}" in process.stdout
    assert f"{states.count('finished')} of 3 jobs finished, {3 - len(states)} not started" in process.stdout
    before = tree(job_folders(folder)[0]) if states[0] == "finished" else None
    assert main(["resume", str(folder)]) == 0
    assert "3 of 3 jobs finished" in capsys.readouterr().out
    assert_same_sweep(folder, sweep)
    if before:
        assert tree(job_folders(folder)[0]) == before


@pytest.mark.parametrize("at", [0, 199], ids=lambda at: f"iteration {at + 1} of 300")
def test_a_sweep_that_was_killed_is_resumed_to_the_same_numbers(at, sweep, tmp_path):
    folder = tmp_path / "sweep"
    process = planted(signalled(at, "SIGKILL"), *SWEEP, f"hydra.sweep.dir={folder}", cwd=tmp_path)
    assert process.returncode == -signal.SIGKILL
    assert main(["resume", str(folder)]) == 0
    assert_same_sweep(folder, sweep)


def test_a_finished_sweep_is_left_as_it_is(sweep, capsys):
    before = {path.name: tree(path) for path in job_folders(sweep)}
    assert main(["resume", str(sweep)]) == 0
    assert "3 of 3 jobs finished" in capsys.readouterr().out
    assert {path.name: tree(path) for path in job_folders(sweep)} == before


def test_a_signal_while_a_sweep_is_resumed(sweep, tmp_path):
    folder = tmp_path / "sweep"
    assert planted(signalled(30, "SIGKILL"), *SWEEP, f"hydra.sweep.dir={folder}", cwd=tmp_path).returncode == -9
    process = planted(signalled(120, "SIGTERM"), "resume", folder, cwd=tmp_path)
    assert process.returncode == 143, process.stderr
    assert "Traceback" not in process.stderr
    assert [read_status(path)["state"] for path in job_folders(folder)] == ["finished", "interrupted"]
    assert main(["resume", str(folder)]) == 0
    assert_same_sweep(folder, sweep)
