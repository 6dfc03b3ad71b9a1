"""The health watch: sequences with known answers, and real runs that explode, killed in the middle."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import TINY, command, planted, points, read_events, read_rows, read_status, read_summary, train

from maml_exp.cli import main
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.network import ModelSettings
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import sinusoid
from maml_exp.core.training import StepMetrics
from maml_exp.run.health import Watch, advice


def problem(clip_norm=None, steps=5):
    parts = (ModelSettings(), gradient.Settings(), InnerSettings(steps=steps), sinusoid.Settings())
    return Problem(*parts, adam.Settings(clip_norm=clip_norm), meta_batch=25)


def values(norm=2.0, loss=1.0, support_loss=3.0):
    return StepMetrics(loss, support_loss, norm, {})


def watched(sequence, clip_norm=None, resumed_at=()):
    """A watch that saw a sequence, and {step: lines said}; at some steps it goes on from its saved state."""
    watch, said = Watch(problem(clip_norm)), {}
    for step, these in enumerate(sequence, start=1):
        lines = watch.add(step, these)
        if lines:
            said[step] = lines
        if step in resumed_at:
            watch = Watch(problem(clip_norm), json.loads(json.dumps(watch.state())))
    watch.end(len(sequence))
    return watch, said


def spikes(*at, length=400, norm=1e6):
    return [values(norm=norm * k if (k := at.index(i) + 1 if i in at else 0) else 2.0) for i in range(1, length + 1)]


def test_explosions_are_counted_and_the_worst_is_described():
    watch, said = watched(spikes(150, 160, 350))
    assert watch.summary() == {
        "explosions": 3,
        "worst": {"step": 350, "norm": 3e6, "median": 2.0, "loss": 1.0},
        "inner_loop_exploded_at": None,
        "outer_loop_exploded_at": None,
    }
    (note,) = watch.notes()
    for part in ("3 meta-gradients", "iteration 350", "3e+06", "is 2", "optimizer.clip_norm=10"):
        assert part in note
    assert list(said) == [150]  # later ones are not ten times as large


def test_what_is_far_larger_than_any_before_is_said_again():
    sequence = spikes(150, 160)
    sequence[299] = values(norm=1e12)
    assert list(watched(sequence)[1]) == [150, 300]


@pytest.mark.parametrize(("norm", "found"), [(2000.0, 0), (2000.1, 1), (float("inf"), 1), (float("nan"), 0)])
def test_an_explosion_is_more_than_a_thousand_medians(norm, found):
    assert watched(spikes(200, norm=norm))[0].explosions == found


@pytest.mark.parametrize(("at", "found"), [(1, 0), (20, 0), (21, 1)])
def test_there_must_be_twenty_norms_to_compare_with(at, found):
    assert watched(spikes(at))[0].explosions == found


def test_the_median_is_that_of_the_last_101_norms_and_resuming_anywhere_changes_nothing():
    rng = np.random.default_rng(0)
    norms = np.exp(rng.standard_normal(600) * 4)  # heavy tails: medians move and explosions are many
    expected = []
    for i, norm in enumerate(norms):
        before = sorted(norms[max(0, i - 101) : i])
        if len(before) >= 20 and norm > 1000 * before[len(before) // 2]:
            expected.append((i + 1, norm, before[len(before) // 2]))
    assert len(expected) > 10
    sequence = [values(norm=float(norm), loss=float(i)) for i, norm in enumerate(norms)]
    whole, said = watched(sequence)
    worst = max(expected, key=lambda row: row[1] / row[2])
    assert whole.explosions == len(expected)
    assert whole.summary()["worst"] == dict(
        zip(("step", "norm", "median", "loss"), (*worst, worst[0] - 1), strict=True)
    )
    resumed, said_again = watched(sequence, resumed_at=range(1, 600, 7))
    assert resumed.state() == whole.state()
    assert said_again == said
    assert resumed.notes() == whole.notes()


@pytest.mark.parametrize(("limit", "complains"), [(None, True), (10.0, False), (1e5, True)])
def test_what_clipping_tames_is_counted_and_not_complained_about(limit, complains):
    watch, said = watched(spikes(150, 160), clip_norm=limit)
    assert watch.explosions == 2
    assert bool(watch.notes()) == bool(said) == complains


@pytest.mark.parametrize(("worse", "found"), [(50, None), (51, 100)])
@pytest.mark.parametrize("resumed_at", [(), (49,), (99,), range(1, 300)])
def test_an_inner_loop_that_mostly_makes_the_loss_ten_times_worse(worse, found, resumed_at):
    sequence = [values(loss=31.0 if i < worse else 30.0) for i in range(100)] + [values()] * 50
    watch, said = watched(sequence, resumed_at=resumed_at)
    assert watch.summary()["inner_loop_exploded_at"] == found
    assert list(said) == ([found] if found else [])
    assert len(watch.notes()) == (found is not None)
    assert all("inner.lr" in note for note in watch.notes())


def test_an_outer_loop_that_makes_the_first_loss_ten_times_worse():
    sequence = [values(support_loss=1.0)] + [values(support_loss=11.0, loss=1e9)] * 99
    watch, said = watched(sequence)
    assert watch.summary()["outer_loop_exploded_at"] == 100
    assert watch.summary()["inner_loop_exploded_at"] is None  # a starting point like this one explodes anywhere
    assert list(said) == [100]
    (note,) = watch.notes()
    assert "optimizer.lr" in note


def test_a_training_of_few_iterations_is_judged_at_its_end():
    watch, said = watched([values(loss=1e9)] * 7)
    assert said == {}
    assert watch.summary()["inner_loop_exploded_at"] == 7
    (note,) = watch.notes()
    assert "in most of the 7 iterations up to 7," in note
    assert note.endswith("try a smaller inner.lr (now 0.01) or fewer inner.steps (now 5)")


def test_a_support_loss_that_is_no_error_of_the_task_s_is_not_compared_with_one():
    without = replace(problem(), task=sinusoid.Settings(support_targets="none"))
    watch = Watch(without)
    for step in range(1, 101):
        assert watch.add(step, values(loss=1e9)) == []
    assert watch.notes() == []


@pytest.mark.parametrize(
    ("step", "steps", "words"),
    [
        (1, 1, "try a smaller inner.lr (now 0.01)"),
        (1, 5, "try a smaller inner.lr (now 0.01) or fewer inner.steps (now 5)"),
        (2, 1, "try optimizer.clip_norm=10, or a smaller optimizer.lr (now 0.001) or inner.lr (now 0.01)"),
        (None, 0, "try optimizer.clip_norm=10, or a smaller optimizer.lr (now 0.001)"),
    ],
)
def test_advice_is_about_what_has_moved_and_says_what_it_is_now(step, steps, words):
    assert advice(problem(steps=steps), step) == words


# meta-gradients of these iterations get another norm, also in a process that resumes
PLANT = """
from maml_exp.core import training
before = Trainer.train_step
def planted_step(self, state):
    after, values = before(self, state)
    norm = {60: 1e6, 90: 3e7}.get(after.step, values.gradient_norm)
    return after, values._replace(gradient_norm=norm)
Trainer.train_step = planted_step
"""
KILL = "plant(lambda: send(signal.SIGKILL), 75, Trainer, 'train_step')"


@pytest.fixture(scope="module")
def exploding(tmp_path_factory):
    """A run with two planted explosions, and the same, killed between them and resumed: (process, folder) each."""
    cwd = tmp_path_factory.mktemp("exploding")
    whole = planted(PLANT, *TINY, "hydra.run.dir=whole", cwd=cwd)
    killed = planted(f"{PLANT}\n{KILL}", *TINY, "hydra.run.dir=killed", cwd=cwd)
    assert killed.returncode == -9
    resumed = planted(PLANT, "resume", "killed", cwd=cwd)
    return [(whole, cwd / "whole"), (resumed, cwd / "killed")]


@pytest.mark.parametrize("which", [0, 1], ids=["whole", "killed and resumed"])
def test_an_explosion_is_said_everywhere(exploding, which):
    process, folder = exploding[which]
    assert process.returncode == 0, process.stderr
    note = read_status(folder)["notes"][0]
    for part in ("2 meta-gradients", "iteration 90", "3e+07", "optimizer.clip_norm=10"):
        assert part in note
    summary = read_summary(folder)
    assert summary["notes"] == [note]
    assert summary["health"]["explosions"] == 2
    assert note in process.stdout.splitlines()  # below the table
    assert f"warning: {note}" in process.stderr
    assert "iteration 60: a meta-gradient exploded" in (folder / "maml_exp.log").read_text()
    texts = [v for event in read_events(folder) for v in event.summary.value if v.tag.startswith("health")]
    assert note in [v for v in texts if v.tensor.string_val][-1].tensor.string_val[0].decode()
    counts = {step: value for (tag, step), value in points(folder).items() if tag == "meta/explosions"}
    assert {step: value for step, value in counts.items() if step in (56, 60, 84, 91)} == {
        56: [0.0],
        60: [1.0],
        84: [1.0],
        91: [2.0],
    }


def test_a_killed_run_says_the_same_to_the_bit(exploding):
    (_, whole), (_, resumed) = exploding
    assert read_status(whole)["notes"] == read_status(resumed)["notes"]
    first, second = (read_summary(folder) for folder in (whole, resumed))
    assert {k: v for k, v in first.items() if k != "time"} == {k: v for k, v in second.items() if k != "time"}
    counts = [[row.get("health/explosions") for row in read_rows(folder)] for folder in (whole, resumed)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("overrides", "key", "remedy"),
    [
        (["inner.lr=0.3", "inner.steps=2"], "inner_loop_exploded_at", "inner.lr"),
        (["optimizer.lr=3"], "outer_loop_exploded_at", "optimizer.lr"),
    ],
    ids=["inner loop", "outer rate"],
)
def test_real_runs_that_explode(overrides, key, remedy, tmp_path, capsys):
    folder = train(tmp_path / "run", *overrides)
    assert read_summary(folder)["health"][key] == 100
    note = next(note for note in read_status(folder)["notes"] if "loop exploded" in note)
    assert f"a smaller {remedy}" in note
    said = capsys.readouterr()
    assert note in said.out.splitlines()
    assert note in said.err


def test_a_healthy_run_has_nothing_to_say(tiny):
    assert read_status(tiny)["notes"] == read_summary(tiny)["notes"] == []
    assert {row["health/explosions"] for row in read_rows(tiny)[:-1]} == {0}


def test_a_last_point_that_is_not_finite_is_diverged(tmp_path):
    run = [*TINY, "optimizer.lr=1e30", "training.iterations=1", "hydra.run.dir=run"]
    process = command(*run, cwd=tmp_path)
    assert process.returncode == 1
    status = read_status(tmp_path / "run")
    assert (status["state"], status["step"]) == ("diverged", 1)
    assert "after iteration 1" in status["error"]
    assert "; try " in status["error"]
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "run" / "summary.json").exists()
    again = command("resume", "run", cwd=tmp_path)
    assert again.returncode == 1
    assert "diverged" in again.stderr


def test_parameters_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    from maml_exp.core.training import Trainer

    train_step = Trainer.train_step

    def poisoned(self, state):
        after, found = train_step(self, state)
        if after.step == 40:
            after.vector[3] = np.nan
        return after, found

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    assert main([*TINY, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    status = read_status(tmp_path / "run")
    assert (status["state"], status["step"]) == ("diverged", 40)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000020.npz"]
