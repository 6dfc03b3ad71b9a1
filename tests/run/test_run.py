"""A run's folder: what is in it, and that every number there is the one the core computes."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from helpers import (
    TINY,
    planted,
    read_status,
    read_summary,
    train,
)

from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.core.evaluation import evaluate
from maml_exp.core.statistics import statistics
from maml_exp.core.training import Trainer

LAYOUT = {
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    ".hydra/hydra.yaml",
    "maml_exp.log",
    "status.json",
    "summary.json",
    "provenance.json",
    "metrics.csv",
    "checkpoints/step_00000050.npz",
    "checkpoints/step_00000100.npz",
    "plots/finetune.png",
    "plots/adaptation.png",
}


def trained_theta(folder, step=100):
    with np.load(folder / "checkpoints" / f"step_{step:08d}.npz", allow_pickle=False) as file:
        return file["vector"]


def test_a_run_s_folder_holds_the_layout_of_the_design(smoke):
    process, folder = smoke
    assert process.returncode == 0, process.stderr
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files >= LAYOUT
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert not [name for name in files if name.endswith(".tmp")]
    assert "-maml,training.iterations=100" in folder.name
    datetime.strptime(f"{folder.parent.name} {folder.name[:8]}", "%Y-%m-%d %H-%M-%S")


def test_the_status_says_finished(smoke):
    status = read_status(smoke[1])
    assert (status["state"], status["step"], status["iterations"], status["error"]) == ("finished", 100, 100, None)


def test_the_folder_is_printed(smoke):
    process, folder = smoke
    assert process.stdout.splitlines()[-1] == str(folder)


def test_the_log_is_on_the_terminal_too(smoke):
    process, folder = smoke
    logged = [line.split(" ", 3)[3] for line in (folder / "maml_exp.log").read_text().splitlines()]
    assert process.stderr.splitlines() == logged
    assert any("100 iterations" in line for line in logged)


def recomputed(config, theta, tasks=None):
    """Statistics by number of shots, straight from the core."""
    judged, learner = config.evaluation, Trainer(config.problem).learner
    family = learner.problem.family
    fixed = family.held_out("test", judged.seed, tasks or judged.tasks, max(judged.shots), judged.grid)
    lr = config.inner.lr if judged.lr is None else judged.lr
    errors = evaluate(learner, theta, fixed, judged.shots, judged.steps, lr)
    return {k: statistics(errors[k], of_the_mean(fixed)) for k in judged.shots}


def of_the_mean(fixed):
    """The error (N,) of predicting each task's mean: what a task that diverged is told by."""
    mean = fixed.y_query.mean(axis=1, keepdims=True)
    return np.mean((fixed.y_query - mean) ** 2, axis=(1, 2))


def assert_statistics(saved, expected):
    assert saved.keys() == {"mean", "ci95", "median", "p95", "iqm", "iqm_low", "iqm_high", "diverged"}
    for name in saved:
        assert saved[name] == getattr(expected, name).tolist(), name


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["algorithm=fomaml", "inner.steps=3", "evaluation.lr=0.002"],
        ["algorithm=joint", "optimizer=sgd", "optimizer.momentum=0.9", "seed=5"],
        ["dtype=float64", "model.hidden=[5,6]", "model.activation=tanh", "task.shots=3", "evaluation.seed=7"],
    ],
    ids=["tiny", "fomaml", "joint", "float64"],
)
def test_the_summary_is_the_core_s_evaluation_of_the_trained_weights(overrides, tmp_path):
    folder = train(tmp_path / "run", *overrides)
    config, summary = compose([*TINY, *overrides]), read_summary(folder)
    trainer = Trainer(config.problem)
    state = initial = trainer.init(config.seed)
    for _ in range(config.training.iterations):
        state, _ = trainer.train_step(state)
    assert state.vector.dtype == config.dtype
    assert trained_theta(folder).tobytes() == state.vector.tobytes()
    assert summary["parameters_sha256"] == hashlib.sha256(state.vector.tobytes()).hexdigest()
    trained, random = recomputed(config, state.vector), recomputed(config, initial.vector)
    assert summary["evaluation"]["shots"].keys() == {"5", "10"}
    for k, saved in summary["evaluation"]["shots"].items():
        assert_statistics(saved["trained"], trained[int(k)])
        assert_statistics(saved["random"], random[int(k)])
    shots = config.task.shots if config.task.shots in (5, 10) else 5
    step = min(max(config.inner.steps, 1), config.evaluation.steps)
    assert summary["objective"] == trained[shots].mean[step]
    assert summary["evaluation"]["objective"] == {"shots": shots, "steps": step}
    low_high = [config.task.amplitude, config.task.phase, config.task.frequency, config.task.x_range]
    ranges = dict(zip(("amplitude", "phase", "frequency", "x_range"), low_high, strict=True))
    assert summary["evaluation"]["fingerprint"] == {"name": "sinusoid", **ranges}
    fixed = trainer.problem.family.held_out("test", config.evaluation.seed, config.evaluation.tasks, 1, 100)
    assert summary["evaluation"]["reference"] == pytest.approx(of_the_mean(fixed).mean(), rel=1e-12)


def test_the_rate_is_chosen_on_validation_tasks(tmp_path):
    rates = [0.3, 0.003, 0.03]
    overrides = ["training.iterations=60", f"evaluation.lr={rates}", "evaluation.validation_tasks=30"]
    folder = train(tmp_path / "run", *overrides)
    config, summary, theta = compose([*TINY, *overrides]), read_summary(folder), trained_theta(folder, 60)
    learner = Trainer(config.problem).learner
    tasks = learner.problem.family.held_out("validation", 2000, 30, 10, 100)
    errors = {lr: evaluate(learner, theta, tasks, [10], 2, lr)[10] for lr in rates}
    means = {lr: errors[lr][:, 2].mean() for lr in rates}
    best = min(means, key=means.get)
    assert summary["evaluation"]["validation"] == {str(lr): mean for lr, mean in means.items()}
    assert summary["evaluation"]["lr"] == best
    chosen = replace(config, evaluation=replace(config.evaluation, lr=best))
    assert_statistics(summary["evaluation"]["shots"]["5"]["trained"], recomputed(chosen, theta)[5])


def test_the_summary_holds_what_the_issue_names(smoke):
    summary, folder = read_summary(smoke[1]), smoke[1]
    config = compose(["+experiment=smoke"])
    text = json.dumps(summary)
    assert summary["parameters_sha256"] == hashlib.sha256(trained_theta(folder).tobytes()).hexdigest()
    found = {}

    def collect(value):
        for key, inner in value.items() if isinstance(value, dict) else ():
            found[key] = inner
            collect(inner)

    collect(summary)
    seconds = found.get("training_seconds", found.get("seconds"))
    assert seconds > 0
    assert "iterations_per_second" in text
    assert found["iterations_per_second"] == pytest.approx(100 / seconds)
    assert found["config"] == config.to_dict()


def shown(value, digits=3):
    """A number as tables show it: so many digits, zeros at the end among them."""
    return f"{value:#.{digits}g}".rstrip(".")


def row_of(results, step):
    return [shown(results["mean"][step]), shown(results["ci95"][step], 2), shown(results["median"][step])]


def numbers_in(line):
    return line.translate(dict.fromkeys(map(ord, "±[],"), " ")).split()


def test_the_table_printed_is_the_summary_s(smoke):
    process, folder = smoke
    results = read_summary(folder)["evaluation"]["shots"]["10"]
    lines = {line.split()[0]: line for line in process.stdout.splitlines() if "±" in line and line.split()[0].isdigit()}
    assert list(lines) == ["0", "1", "5", "10"]
    for step, line in ((int(step), line) for step, line in lines.items()):
        gain = results["random"]["mean"][step] / results["trained"]["mean"][step]
        trained, random = (row_of(results[who], step) for who in ("trained", "random"))
        middle = [shown(results["trained"][name][step]) for name in ("iqm", "iqm_low", "iqm_high")]
        assert numbers_in(line) == [f"{step}", *trained, *middle, *random, f"{gain:.1f}x"]
    assert "50 fixed tasks" in process.stdout
    assert "10 support points" in process.stdout


def test_the_table_has_the_step_trained_for_and_the_last_one(tmp_path, capsys):
    train(tmp_path / "run", "inner.steps=3", "evaluation.steps=7")
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "±" in line]
    assert rows == ["0", "1", "3", "5", "7"]


def test_numbers_in_the_table_never_touch(tmp_path, capsys):
    folder = train(tmp_path / "run", "inner.lr=1", "evaluation.steps=1", "task.shots=10")  # errors of many digits
    results = read_summary(folder)["evaluation"]["shots"]["10"]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["1"])
    cells = numbers_in(line)
    assert cells[3] == shown(results["trained"]["median"][1])
    assert cells[4:7] == [shown(results["trained"][name][1]) for name in ("iqm", "iqm_low", "iqm_high")]
    assert cells[7:10] == row_of(results["random"], 1)


def test_another_seed_gives_other_parameters_and_the_same_evaluation_tasks(tiny, tmp_path):
    other = train(tmp_path / "run", "seed=1")
    ours, theirs = read_summary(other), read_summary(tiny)
    assert ours["parameters_sha256"] != theirs["parameters_sha256"]
    config = compose([*TINY, "seed=1"])
    assert_statistics(ours["evaluation"]["shots"]["5"]["trained"], recomputed(config, trained_theta(other))[5])
    assert (
        recomputed(config, trained_theta(tiny))[5].mean.tolist()
        == theirs["evaluation"]["shots"]["5"]["trained"]["mean"]
    )


def test_float64_and_threads_are_respected(tmp_path):
    plant = (
        "import threadpoolctl\n"
        "info = threadpoolctl.threadpool_info\n"
        "show = lambda: print('blas', [x['num_threads'] for x in info() if x['user_api'] == 'blas'])\n"
        "plant(show, 3, Trainer, 'train_step')"
    )
    arguments = [*TINY, "threads=2", "dtype=float64", f"hydra.run.dir={tmp_path / 'run'}"]
    process = planted(plant, *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "blas [2]" in process.stdout.splitlines()
    blas = json.loads((tmp_path / "run" / "provenance.json").read_text())["environment"]["blas"]
    assert [library["num_threads"] for library in blas] == [2]
    assert trained_theta(tmp_path / "run").dtype == np.float64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "at_one", "after_one", "after_ten"),
    [([], 10_000, (0.0, 0.60), (0.0, 0.25)), (["algorithm=joint"], 10_000, (2.0, 4.25), (0.0, 4.25))],
    ids=["default", "joint"],
)
def test_the_default_training_learns_what_it_must(overrides, at_one, after_one, after_ten, tmp_path):
    assert main([*overrides, "evaluation.plots=false", f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    mean = read_summary(tmp_path / "run")["evaluation"]["shots"]["10"]["trained"]["mean"]
    assert read_summary(tmp_path / "run")["step"] == at_one
    assert after_one[0] <= mean[1] <= after_one[1]
    assert after_ten[0] <= mean[10] <= after_ten[1]
