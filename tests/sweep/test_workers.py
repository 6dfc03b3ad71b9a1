"""Many runs at a time, where what can go wrong with processes goes wrong."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from helpers import TIMEOUT, TINY, assert_same_result, read_status, saved_steps, train

from maml_exp.config.composing import compose
from maml_exp.sweep.workers import Work, run_all

FAST, SLOW = "training.iterations=20", "training.iterations=1000000"


def works(folder, *lengths):
    """One run of each length, with different seeds."""
    made = {}
    for seed, length in enumerate(lengths):
        config = compose([*TINY, length, "training.log_every=10", f"seed={seed}"])
        made[seed] = Work(config, folder / str(seed), resume=False)
    return made


def running(folder, *names):
    """Wait until these runs have saved once; returns their processes."""
    until = time.monotonic() + TIMEOUT
    while not all(saved_steps(folder / str(name)) for name in names):
        assert time.monotonic() < until
        time.sleep(0.02)
    return [read_status(folder / str(name))["pid"] for name in names]


@pytest.mark.parametrize(("jobs", "in_process"), [(1, True), (2, False), (8, False)])
def test_all_runs_are_made_as_if_alone(tmp_path, jobs, in_process):
    outcomes = dict(run_all(works(tmp_path / "runs", FAST, FAST, FAST), jobs, in_process))
    assert {seed: outcome.state for seed, outcome in outcomes.items()} == dict.fromkeys(range(3), "finished")
    assert [outcomes[seed].folder for seed in range(3)] == [tmp_path / "runs" / str(seed) for seed in range(3)]
    alone = train(tmp_path / "alone", FAST, "training.log_every=10", "seed=2")
    assert_same_result(tmp_path / "runs" / "2", alone)


def test_no_runs_are_no_trouble():
    assert list(run_all({}, 4)) == []


def test_a_killed_process_costs_its_run_and_the_others_are_made_by_a_new_one(tmp_path):
    """With two runs waiting, a second process at work, and no signal to that one."""
    outcomes = {}
    with closing(run_all(works(tmp_path, SLOW, FAST, FAST, FAST), 2)) as made:
        for seed, outcome in made:
            outcomes[seed] = outcome
            if seed == 1:
                os.kill(running(tmp_path, 0)[0], signal.SIGKILL)
    assert [outcomes[seed].state for seed in range(4)] == ["failed", "finished", "finished", "finished"]
    assert outcomes[0].message == "its process was killed; out of memory?"


def test_a_process_that_is_killed_while_it_waits_is_replaced(tmp_path):
    first = {}
    with closing(run_all(works(tmp_path, FAST, FAST, FAST), 1)) as made:
        for seed, outcome in made:
            first[seed] = outcome.state
            if seed == 0:
                idle = read_status(tmp_path / "0")["pid"]
                os.kill(idle, signal.SIGKILL)
                os.waitid(os.P_PID, idle, os.WEXITED | os.WNOWAIT)  # until it is gone
    assert first == dict.fromkeys(range(3), "finished")


def test_closing_has_running_ones_save_and_starts_no_other(tmp_path):
    with closing(run_all(works(tmp_path, FAST, SLOW, SLOW), 2)) as made:
        assert next(made)[0] == 0
        running(tmp_path, 1)
    assert read_status(tmp_path / "1")["state"] == "interrupted"
    assert not (tmp_path / "2" / "metrics.csv").exists() or read_status(tmp_path / "2")["state"] == "interrupted"


def test_a_signal_between_runs_interrupts_the_others(tmp_path):
    outcomes = {}
    for seed, outcome in run_all(works(tmp_path, FAST, FAST, FAST), 1, in_process=True):
        outcomes[seed] = outcome
        if seed == 0:
            os.kill(os.getpid(), signal.SIGTERM)
    assert [outcomes[seed].state for seed in range(3)] == ["finished", "interrupted", "interrupted"]
    assert outcomes[2].exit_status == 143
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(("jobs", "in_process"), [(1, True), (2, False)])
def test_a_folder_that_cannot_be_written_is_one_outcome(tmp_path, jobs, in_process):
    (tmp_path / "0" / ".lock").mkdir(parents=True)
    outcomes = dict(run_all(works(tmp_path, FAST, FAST), jobs, in_process))
    assert [outcomes[seed].state for seed in (0, 1)] == ["failed", "finished"]
    assert ".lock" in outcomes[0].message


TWO_COMMANDS = """
import sys, pathlib
sys.path[:0] = {path!r}
from test_workers import SLOW, works
from maml_exp.sweep.workers import run_all
if __name__ == "__main__":
    print([outcome.state for _, outcome in run_all(works(pathlib.Path(sys.argv[1]), SLOW), 1)])
"""


def test_two_commands_side_by_side_are_stopped_one_by_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_COMMANDS.format(path=[os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]))
    commands = [
        subprocess.Popen([sys.executable, script, tmp_path / name], stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    try:
        running(tmp_path / "a", 0)
        running(tmp_path / "b", 0)
        commands[0].send_signal(signal.SIGTERM)
        assert commands[0].communicate(timeout=TIMEOUT)[0] == "['interrupted']\n"
        assert read_status(tmp_path / "b" / "0")["state"] == "running"
        commands[1].send_signal(signal.SIGINT)
        assert commands[1].communicate(timeout=TIMEOUT)[0] == "['interrupted']\n"
    finally:
        for command in commands:
            command.kill()
            command.wait()
