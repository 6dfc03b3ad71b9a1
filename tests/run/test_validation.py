"""training.keep_best and training.patience: what is chosen, judged and loaded, also after kills."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from helpers import CLOCK, TINY, command, planted, read_rows, read_status, read_summary, saved_steps, signalled, train

from maml_exp.api import load
from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.core.checks import SettingError
from maml_exp.core.evaluation import adaptation_errors
from maml_exp.core.training import Trainer
from maml_exp.run import validation
from maml_exp.run.validation import Best

# the objective goes up and down: it is best at 30 of the first five evaluations, and at 70 of all ten
RESTLESS = [
    *TINY,
    "seed=2",
    "optimizer.lr=0.05",
    "training.evaluate_every=10",
    "training.keep_checkpoints=1",
    "evaluation.validation_tasks=30",
]
KEEP, STOP = ["training.keep_best=true"], ["training.patience=2"]


def objectives(folder):
    """{step: objective on validation tasks} of a run's metrics.csv."""
    rows = read_rows(folder)
    return {int(row["step"]): row["validation/objective"] for row in rows if "validation/objective" in row}


def vector_of(folder, name):
    with np.load(folder / "checkpoints" / name, allow_pickle=False) as file:
        return file["vector"]


def outcome(folder):
    """All of a finished run but clocks and names."""
    rows = [{name: value for name, value in row.items() if name not in CLOCK} for row in read_rows(folder)]
    summary = {key: value for key, value in read_summary(folder).items() if key != "time"}
    kept = sorted(path.name for path in (folder / "checkpoints").glob("*.npz"))  # not what is set aside
    vectors = {name: vector_of(folder, name).tobytes() for name in kept}
    return read_status(folder)["state"], read_status(folder)["notes"], rows, summary, vectors


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that keeps the best checkpoint and stops early, and one that only keeps it, never interrupted."""
    cwd = tmp_path_factory.mktemp("whole")
    return {
        "both": train(cwd / "both", *RESTLESS[len(TINY) :], *KEEP, *STOP),
        "keep": train(cwd / "keep", *RESTLESS[len(TINY) :], *KEEP),
    }


def test_the_objective_is_that_of_the_core_on_validation_tasks(whole):
    config = compose([*RESTLESS, *KEEP])
    trainer, found = Trainer(config.problem), {}
    state = trainer.init(config.seed)
    tasks = config.problem.family.held_out("validation", 2000, 30, 10, config.evaluation.grid)
    for step in range(1, 101):
        state, _ = trainer.train_step(state)
        if step % 10 == 0:
            found[step] = adaptation_errors(trainer.learner, state.vector, tasks, 10, 1)[:, 1].mean()
    assert objectives(whole["keep"]) == pytest.approx(found, rel=1e-12)


def test_the_best_checkpoint_is_kept_judged_and_loaded(whole):
    folder = whole["keep"]
    by_step = objectives(folder)
    best = min(by_step, key=by_step.get)
    assert best < 100  # or the test would not tell
    summary = read_summary(folder)
    assert (summary["step"], summary["judged_step"], summary["stopped_early"]) == (100, best, False)
    assert summary["validation"] == {"step": best, "objective": by_step[best]}
    assert saved_steps(folder) == [100]  # it survives that only one is kept
    kept = vector_of(folder, "best.npz")
    config = compose([*RESTLESS, *KEEP])
    trainer = Trainer(config.problem)
    state = trainer.init(config.seed)
    for _ in range(best):
        state, _ = trainer.train_step(state)
    assert kept.tobytes() == state.vector.tobytes() == load(folder).vector.tobytes()
    assert summary["parameters_sha256"] == hashlib.sha256(kept.tobytes()).hexdigest()
    tasks = config.problem.family.held_out("test", 1000, 20, 10, config.evaluation.grid)
    errors = adaptation_errors(trainer.learner, state.vector, tasks, 10, 2)
    assert summary["evaluation"]["shots"]["10"]["trained"]["mean"] == pytest.approx(errors.mean(axis=0).tolist())


def test_patience_ends_a_run_that_is_finished_and_says_so(whole):
    everything, folder = objectives(whole["keep"]), whole["both"]
    steps, misses, least = sorted(everything), 0, float("inf")
    for step in steps:
        misses = 0 if everything[step] < least else misses + 1
        least = min(least, everything[step])
        if misses == 2:
            break
    assert 20 < step < 100  # or the test would not tell
    assert objectives(folder) == {s: everything[s] for s in steps if s <= step}
    summary, status = read_summary(folder), read_status(folder)
    assert (status["state"], status["step"], status["iterations"]) == ("finished", step, 100)
    assert (summary["step"], summary["stopped_early"]) == (step, True)
    assert summary["validation"]["objective"] == least
    assert f"stopped early, after iteration {step} of 100" in status["notes"][0]
    assert status["notes"][0] in (folder / "maml_exp.log").read_text()
    assert saved_steps(folder) == [step]
    assert main(["resume", str(folder)]) == 0  # nothing is left to do


@pytest.mark.parametrize(
    ("which", "extra", "at"),
    [("both", [*KEEP, *STOP], 15), ("both", [*KEEP, *STOP], 37), ("keep", KEEP, 75), ("keep", KEEP, 99)],
)
def test_killed_and_resumed_they_are_the_same_to_the_bit(which, extra, at, whole, tmp_path):
    folder = tmp_path / "run"
    last = read_summary(whole[which])["step"]
    at = min(at, last - 1)
    process = planted(signalled(at, "SIGKILL"), *RESTLESS, *extra, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    assert main(["resume", str(folder)]) == 0
    assert outcome(folder) == outcome(whole[which])


# the best checkpoint is of a later iteration than the newest one; the run had ended but for its evaluation
BETWEEN = {
    "after a best checkpoint": "from maml_exp.store import checkpoints\n"
    "save = checkpoints.save\n"
    "def killing(folder, point, name=None):\n"
    "    path = save(folder, point, name)\n"
    "    if name is not None and point.state.step >= 30:\n"
    "        send(signal.SIGKILL)\n"
    "    return path\n"
    "checkpoints.save = killing",
    "before the best one has its place": "from maml_exp.store import checkpoints\n"
    "plant(lambda: send(signal.SIGKILL), 1, checkpoints, 'settle_best')",
    "in the final evaluation": "import maml_exp.run.run as runner\n"
    "plant(lambda: send(signal.SIGKILL), 0, runner, 'evaluate_finally')",
}


@pytest.mark.parametrize("moment", BETWEEN)
def test_killed_at_the_moments_that_matter(moment, whole, tmp_path, capsys):
    folder = tmp_path / "run"
    process = planted(BETWEEN[moment], *RESTLESS, *KEEP, *STOP, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    assert main(["resume", str(folder)]) == 0
    assert "passed over" not in capsys.readouterr().err
    assert outcome(folder) == outcome(whole["both"])


def test_a_best_checkpoint_that_is_not_made_again_is_not_the_one_that_is_judged(whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    settings = [*RESTLESS, *KEEP, "training.checkpoint_every=20"]
    process = planted(BETWEEN["after a best checkpoint"], *settings, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    assert saved_steps(folder) == [20]
    found = objectives(folder)
    assert vector_of(folder, "best_next.npz").tobytes() != vector_of(folder, "best.npz").tobytes()
    judged = min(found, key=found.get)
    # as on a processor whose bits differ: from here on no objective is as good
    of_core = validation.validation_objective
    monkeypatch.setattr(validation, "validation_objective", lambda *given: 1e3 + of_core(*given))
    assert main(["resume", str(folder)]) == 0
    assert read_status(folder)["state"] == "finished"
    assert read_summary(folder)["judged_step"] == judged == 20
    kept = vector_of(folder, "best.npz").tobytes()
    assert hashlib.sha256(kept).hexdigest() == read_summary(folder)["parameters_sha256"]
    assert not (folder / "checkpoints" / "best_next.npz").exists()


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_without_its_best_checkpoint_none_is_used_to_go_on(damage, whole, tmp_path, capsys):
    folder = tmp_path / "run"
    process = planted(signalled(95, "SIGKILL"), *RESTLESS, *KEEP, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    best = folder / "checkpoints" / "best.npz"
    if damage == "deleted":
        best.unlink()
    else:
        best.write_bytes(best.read_bytes()[:-100])
    assert main(["resume", str(folder)]) == 0
    assert "the run starts over" in capsys.readouterr().err
    assert outcome(folder) == outcome(whole["keep"])


def test_plot_draws_and_adapt_uses_the_best_checkpoint(whole, tmp_path, monkeypatch):
    from maml_exp.run.figures import of_run as figures

    drawn = []
    monkeypatch.setattr(figures, "draw_all", lambda config, learner, vectors, *rest: drawn.append(vectors) or [])
    assert main(["plot", str(whole["keep"])]) == 0
    assert drawn[0]["trained"].tobytes() == vector_of(whole["keep"], "best.npz").tobytes()
    assert drawn[0]["trained"].tobytes() != vector_of(whole["keep"], "step_00000100.npz").tobytes()
    (tmp_path / "points.csv").write_text("x,y\n0,1\n1,2\n")
    process = command("adapt", whole["keep"], "points.csv", cwd=tmp_path)
    assert process.returncode == 0, process.stderr


def test_the_best_of_a_sequence():
    best, sequence = Best(), [float("inf"), 3.0, 3.0, float("nan"), 2.0, 2.5]
    assert [best.add(10 * i, value) for i, value in enumerate(sequence)] == [False, True, False, False, True, False]
    assert (best.objective, best.step, best.misses) == (2.0, 40, 1)


@pytest.mark.parametrize("override", ["training.keep_best=true", "training.patience=3"])
def test_there_must_be_evaluations_to_choose_by(override):
    with pytest.raises(SettingError, match=r"training\.evaluate_every"):
        compose([override, "training.evaluate_every=0"])


def test_off_nothing_is_measured_or_kept(tiny):
    assert not (tiny / "checkpoints" / "best.npz").exists()
    assert objectives(tiny) == {}
    summary = read_summary(tiny)
    assert (summary["judged_step"], summary["stopped_early"], summary["validation"]) == (100, False, None)


def test_evaluations_are_where_they_should_be(whole):
    assert [b - a for a, b in pairwise(sorted(objectives(whole["keep"])))] == [10] * 9
