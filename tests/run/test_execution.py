"""Runs that are made together, in lockstep, come to what they come to alone."""

import os
import signal

import pytest
from helpers import TINY, TINY_STEPS, assert_same_result, checkpoint_path, read_rows, read_status, saved_steps

from maml_exp.config.composing import compose
from maml_exp.core.learners.gradient import Learner
from maml_exp.core.training import Trainer
from maml_exp.core.training.lockstep import LockstepTrainer
from maml_exp.run.execution import Ready, execute, execute_together
from maml_exp.run.health import Watch
from maml_exp.run.run import LiveRun
from maml_exp.store.run_folder import locked

CHOOSING = ["training.keep_best=true", "training.evaluate_every=10", "evaluation.validation_tasks=10"]
DIFFERENT = {
    "plain": ["seed=1"],
    "rates": ["seed=2", "inner.lr=0.02", "optimizer.lr=0.003"],
    "rows": ["seed=3", "training.log_every=10", "training.checkpoint_every=35", "evaluation.shots=[5]"],
    "patient": ["seed=4", "optimizer.lr=0.05", *CHOOSING, "training.patience=2"],
}


def ready(folder, runs, resume=False):
    """A run of each of {name: overrides}."""
    for name in runs:
        (folder / name).mkdir(parents=True, exist_ok=True)
    return [Ready(compose([*TINY, *overrides]), folder / name, resume) for name, overrides in runs.items()]


def states_of(outcomes):
    return [outcome.state for outcome in outcomes]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same runs, one by one."""
    folder = tmp_path_factory.mktemp("alone")
    assert states_of(execute(*one) for one in ready(folder, DIFFERENT)) == ["finished"] * 4
    return folder


@pytest.fixture
def steps(monkeypatch):
    """Counts runs by training step; what a test puts under "before" is called first, with the state."""
    found = {"together": [], "alone": 0, "before": lambda state: None}
    together, single = LockstepTrainer.train_step, Trainer.train_step

    def train_together(self, state):
        found["before"](state)
        found["together"].append(len(state.vector))
        return together(self, state)

    def train_alone(self, state):
        found["before"](state)
        found["alone"] += 1
        return single(self, state)

    monkeypatch.setattr(LockstepTrainer, "train_step", train_together)
    monkeypatch.setattr(Trainer, "train_step", train_alone)
    return found


def test_runs_come_to_what_they_come_to_alone(tmp_path, alone, steps):
    outcomes = execute_together(ready(tmp_path, DIFFERENT))
    assert states_of(outcomes) == ["finished"] * 4
    early = int(read_rows(tmp_path / "patient")[-1]["step"])
    assert early < 100  # stopped by its patience; the others go on
    assert steps["together"] == [4] * early + [3] * (100 - early)
    assert steps["alone"] == 0
    for name, outcome in zip(DIFFERENT, outcomes, strict=True):
        assert outcome.folder == tmp_path / name
        assert_same_result(tmp_path / name, alone / name)


def test_each_log_is_of_its_own_run(tmp_path):
    execute_together(ready(tmp_path, DIFFERENT))
    for name in DIFFERENT:
        log = (tmp_path / name / "maml_exp.log").read_text()
        assert str(tmp_path / name) in log
        assert not any(str(tmp_path / other) in log for other in set(DIFFERENT) - {name})


def test_one_that_diverges_leaves_the_others_to_go_on(tmp_path, alone, steps):
    runs = {"plain": DIFFERENT["plain"], "wild": ["inner.lr=1e30"], "rates": DIFFERENT["rates"]}
    outcomes = execute_together(ready(tmp_path, runs))
    assert states_of(outcomes) == ["finished", "diverged", "finished"]
    assert read_status(tmp_path / "wild")["state"] == "diverged"
    assert steps["together"][0] == 3
    assert steps["together"][-1] == 2
    for name in ("plain", "rates"):
        assert_same_result(tmp_path / name, alone / name)


def test_one_that_cannot_write_leaves_the_others_to_go_on(tmp_path, alone):
    runs = ready(tmp_path, {name: DIFFERENT[name] for name in ("plain", "rates", "rows")})
    (tmp_path / "plain" / "checkpoints").write_text("in the way")
    with locked(tmp_path / "rates"):
        outcomes = execute_together(runs)
    assert states_of(outcomes) == ["failed", "failed", "finished"]
    assert "checkpoints" in outcomes[0].message
    assert "is being written by another process" in outcomes[1].message
    assert_same_result(tmp_path / "rows", alone / "rows")


@pytest.mark.parametrize("names", [["plain"], ["plain", "rates"]])
@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("at", [0, 40, 53])
def test_a_step_that_raises_is_the_end_of_all_that_made_it(at, error, names, tmp_path, steps):
    def fail(state):
        if state.step == at:
            raise error("in the middle")

    steps["before"] = fail
    outcomes = execute_together(ready(tmp_path, {name: DIFFERENT[name] for name in names}))
    assert states_of(outcomes) == ["failed"] * len(names)
    for name in names:
        assert read_status(tmp_path / name)["error"] == f"{error.__name__}: in the middle"
        assert read_status(tmp_path / name)["step"] == at  # what was made before it is
        assert "Traceback" in (tmp_path / name / "maml_exp.log").read_text()
        assert [int(row["step"]) for row in read_rows(tmp_path / name)] == [step for step in TINY_STEPS if step <= at]


@pytest.mark.parametrize("names", [["plain"], ["plain", "rates"]])
def test_every_iteration_is_watched_by_its_number(names, tmp_path, monkeypatch):
    watched, add = [], Watch.add
    monkeypatch.setattr(Watch, "add", lambda self, step, values: watched.append(step) or add(self, step, values))
    execute_together(ready(tmp_path, {name: DIFFERENT[name] for name in names}))
    assert sorted(watched) == sorted(len(names) * list(range(1, 101)))


def test_a_signal_before_the_first_step_waits_for_that(tmp_path, alone, monkeypatch):
    opened, runs = LiveRun._open, {"plain": DIFFERENT["plain"]}
    with monkeypatch.context() as patched:
        patched.setattr(LiveRun, "_open", lambda *given: opened(*given) or os.kill(os.getpid(), signal.SIGTERM))
        (first,) = execute_together(ready(tmp_path, runs))
    assert (first.state, first.exit_status) == ("interrupted", 128 + signal.SIGTERM)
    assert saved_steps(tmp_path / "plain") == [1]
    assert states_of(execute_together(ready(tmp_path, runs, resume=True))) == ["finished"]
    assert_same_result(tmp_path / "plain", alone / "plain")


@pytest.mark.parametrize("names", [["plain"], ["plain", "rates"]])
def test_what_a_step_raises_counts_more_than_a_signal(names, tmp_path, alone, steps, monkeypatch):
    runs = {name: DIFFERENT[name] for name in names}

    def fail(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError("somebody else has got the signal, too")

    def fail_soon(state):
        if state.step == 53:
            monkeypatch.setattr(Learner, "meta_gradient", fail)  # when the step has drawn its tasks

    steps["before"] = fail_soon
    assert states_of(execute_together(ready(tmp_path, runs))) == ["failed"] * len(runs)
    monkeypatch.undo()
    for name in runs:
        assert read_status(tmp_path / name)["error"].startswith("ZeroDivisionError: somebody else")
        assert saved_steps(tmp_path / name)[-1] == 40  # and not 53, with generators that are further
    assert states_of(execute_together(ready(tmp_path, runs, resume=True))) == ["finished"] * len(runs)
    for name in runs:
        assert_same_result(tmp_path / name, alone / name)


@pytest.mark.parametrize("behind", [["rates"], ["plain", "rates"]])
def test_stopped_runs_go_on_where_each_is(behind, tmp_path, alone, steps, monkeypatch):
    monkeypatch.setattr("maml_exp.run.stopping.SECONDS_BETWEEN_LOOKS", 0)
    stop, names = tmp_path / "stop", ["plain", "rates", "rows"]
    runs = {name: DIFFERENT[name] for name in names}
    steps["before"] = lambda state: stop.touch() if state.step == 52 else None
    outcomes = execute_together(ready(tmp_path, runs), stop)
    assert [(outcome.state, outcome.exit_status) for outcome in outcomes] == [("interrupted", 130)] * 3
    assert [saved_steps(tmp_path / name)[-1] for name in names] == [53] * 3
    for name in behind:  # by 13 iterations
        checkpoint_path(tmp_path / name, 53).unlink()
    steps.update(together=[], before=lambda state: None)
    assert states_of(execute_together(ready(tmp_path, runs, resume=True))) == ["finished"] * 3
    apart = (13, []) if len(behind) == 1 else (0, [2] * 13)
    assert (steps["alone"], steps["together"]) == (apart[0], apart[1] + [3] * 47)
    for name in names:
        assert_same_result(tmp_path / name, alone / name)


def test_runs_that_have_nothing_left_to_train_are_judged(tmp_path, alone):
    runs = {name: DIFFERENT[name] for name in ("plain", "rates")}
    execute_together(ready(tmp_path, runs))
    for name in runs:
        (tmp_path / name / "summary.json").unlink()
    assert states_of(execute_together(ready(tmp_path, runs, resume=True))) == ["finished"] * 2
    for name in runs:
        assert_same_result(tmp_path / name, alone / name)
