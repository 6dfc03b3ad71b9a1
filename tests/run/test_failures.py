"""Runs that diverge, fail or cannot start: what they say, and where."""

import json
import resource

import numpy as np
import pytest
from helpers import TINY, assert_same_result, command, read_rows, read_status, read_summary, train

from maml_exp.cli import main
from maml_exp.config.composing import compose
from maml_exp.core.training import Trainer
from maml_exp.run.figures import of_run


def test_a_diverging_run_stops_and_says_where_and_what_to_try(tmp_path, capsys):
    overrides = ["optimizer.lr=1e9", "model.activation=softplus"]
    assert main([*TINY, *overrides, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    config = compose([*TINY, *overrides])
    trainer, step = Trainer(config.problem), 0
    state, loss = trainer.init(0), 0.0
    with np.errstate(all="ignore"):
        while np.isfinite(loss):
            state, values = trainer.train_step(state)
            step, loss = step + 1, values.loss
    errors, status = capsys.readouterr().err, read_status(tmp_path / "run")
    assert (status["state"], status["step"]) == ("diverged", step)
    assert f"at iteration {step};" in status["error"]
    assert status["error"] in errors
    assert status["error"] in (tmp_path / "run" / "maml_exp.log").read_text()
    for remedy in ("optimizer.lr", "inner.lr", "clip_norm"):
        assert remedy in status["error"]
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / "summary.json").exists()


def test_diverging_evaluation_tasks_are_reported_and_not_fatal(tmp_path, capsys):
    folder = train(tmp_path / "run", "evaluation.lr=1", "evaluation.steps=10", "evaluation.plots=true")
    results = read_summary(folder)["evaluation"]["shots"]["10"]
    diverged = max(results["trained"]["diverged"])
    assert 0 < diverged <= 20
    assert f"{diverged} of 20 tasks diverged with this run" in capsys.readouterr().out
    assert None in results["trained"]["mean"]  # infinite, as strict JSON can say it
    json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)


def test_a_figure_that_cannot_be_drawn_costs_no_result(tmp_path, monkeypatch, capsys):
    def failing(*given):
        raise ZeroDivisionError("planted here")

    monkeypatch.setattr(of_run, "draw_adaptation", failing)
    folder = train(tmp_path / "run", "evaluation.plots=true")
    assert read_status(folder)["state"] == "finished"
    assert (folder / "summary.json").exists()
    assert "Traceback (most recent call last)" in (folder / "maml_exp.log").read_text()
    errors = capsys.readouterr().err
    assert f"cannot draw (maml-exp plot {folder} tries again): planted here" in errors
    assert "Traceback" not in errors


def test_a_failing_run_keeps_its_traceback_to_its_log(tmp_path, monkeypatch, capsys):
    train_step = Trainer.train_step

    def failing(self, state):
        if state.step == 50:
            raise ZeroDivisionError("planted here")
        return train_step(self, state)

    monkeypatch.setattr(Trainer, "train_step", failing)
    assert main([*TINY, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    errors, log, status = (
        capsys.readouterr().err,
        (tmp_path / "run" / "maml_exp.log").read_text(),
        read_status(tmp_path / "run"),
    )
    assert "Traceback (most recent call last)" in log
    assert 'raise ZeroDivisionError("planted here")' in log
    assert (status["state"], status["step"]) == ("failed", 50)
    assert status["error"] == "ZeroDivisionError: planted here"
    assert "Traceback" not in errors
    assert "planted here" in errors
    assert "maml_exp.log" in errors
    assert [row["step"] for row in read_rows(tmp_path / "run")][-1] == 49


@pytest.mark.parametrize("verb", ["train", "rerun"])
def test_a_run_that_cannot_even_start_says_so(verb, tiny, tmp_path):
    """80 GB for the first weights, in a process that may have 4: no traceback, and no folder without a status."""
    start = TINY if verb == "train" else ["rerun", tiny]
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))}
    process = command(*start, "model.hidden=[100000,100000]", cwd=tmp_path, **limit)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "GiB of memory" in process.stderr
    for folder in tmp_path.glob("runs/*/*"):
        assert verb == "train"
        assert read_status(folder)["state"] == "failed"
        assert "GiB of memory" in read_status(folder)["error"]


def test_a_failed_run_goes_on_with_resume(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as planted_error:
        planted_error.setattr(Trainer, "train_step", None)
        assert main([*TINY, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert_same_result(tmp_path / "run", tiny)
