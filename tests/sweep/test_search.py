"""A search by Optuna: the number it minimises, jobs that diverge, and one that was interrupted."""

import os
import re
import signal
from importlib.util import find_spec

import pytest
import yaml
from helpers import TINY, assert_same_result, command, read_status, read_summary, saved_steps, train

from maml_exp.cli import main

from .conftest import job_folders
from .processes import started_command

pytestmark = pytest.mark.slow
SMALL = TINY[1:]  # without +experiment=smoke, of which there can be one
installed = pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
    reason="hydra-optuna-sweeper is not installed: pip install 'maml-exp[optuna]'",
)


def rates(folder):
    """The rates in a run's saved configuration."""
    saved = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    return {"inner.lr": saved["inner"]["lr"], "optimizer.lr": saved["optimizer"]["lr"]}


@installed
def test_the_search_finds_the_smallest_objective_of_its_trials(tmp_path):
    sweep = tmp_path / "sweep"
    settings = [*SMALL, "hydra.sweeper.n_trials=4", f"hydra.sweep.dir={sweep}"]
    process = command("+experiment=search", *settings, "-m", "--jobs=2", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "4 of 4 jobs finished" in process.stdout
    objectives = {folder: read_summary(folder)["objective"] for folder in job_folders(sweep)}
    assert len(set(objectives.values())) == 4
    best = min(objectives, key=objectives.get)
    found = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
    assert found == {"name": "optuna", "best_params": rates(best), "best_value": objectives[best]}
    for folder in objectives:
        assert 0.001 <= rates(folder)["inner.lr"] <= 0.1
        assert 0.0003 <= rates(folder)["optimizer.lr"] <= 0.03
    alone = train(tmp_path / "alone", *(f"{key}={value}" for key, value in rates(best).items()))
    assert read_summary(best)["parameters_sha256"] == read_summary(alone)["parameters_sha256"]


@installed
def test_a_trial_that_diverges_is_the_worst_and_the_search_goes_on(tmp_path):
    sweep = tmp_path / "sweep"
    search = ["hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=0", "hydra.sweeper.n_trials=4"]
    process = command("-m", *search, *TINY, "optimizer.lr=0.001,1e30", f"hydra.sweep.dir={sweep}", cwd=tmp_path)
    assert "Traceback" not in process.stderr
    assert {read_status(folder)["state"] for folder in job_folders(sweep)} == {"finished", "diverged"}
    assert len(job_folders(sweep)) == 4
    assert process.returncode == 1
    assert yaml.safe_load((sweep / "optimization_results.yaml").read_text())["best_params"] == {"optimizer.lr": 0.001}


@installed
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_an_interrupted_search_had_started_is_finished(tmp_path, jobs):
    """What it would have tried next is in its memory alone, so no other job is made."""
    long = ["training.iterations=6000", "training.log_every=1000", "training.evaluate_every=0"]
    settings = [*SMALL, *long, "training.checkpoint_every=250", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    with started_command(["+experiment=search", *settings, "-m", f"--jobs={jobs}"], tmp_path) as search:

        def under_way():
            return len([folder for folder in job_folders(search.sweep) if saved_steps(folder)]) == jobs

        search.wait_for(under_way)
        os.killpg(search.process.pid, signal.SIGINT)
        status, output = search.ended()
        assert status == 130, output
        assert search.left() == []
    folders = job_folders(search.sweep)
    assert len(folders) == jobs
    assert {read_status(folder)["state"] for folder in folders} == {"interrupted"}
    arguments = ["--jobs=2"] if jobs == 2 else ["hydra/launcher=basic"]
    process = command("resume", search.sweep, *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert f"{jobs} of {jobs} jobs finished" in process.stdout
    assert job_folders(search.sweep) == folders
    assert re.search(r"resumed at iteration [1-9]", (folders[0] / "maml_exp.log").read_text())
    chosen = [f"{key}={value}" for key, value in rates(folders[0]).items()]
    assert_same_result(folders[0], train(tmp_path / "alone", *long, "training.checkpoint_every=250", *chosen))


def test_without_the_package_it_says_what_to_install(tmp_path, capsys):
    if find_spec("hydra_plugins.hydra_optuna_sweeper") is not None:
        pytest.skip("hydra-optuna-sweeper is installed")
    assert main(["+experiment=search", f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 1
    error = capsys.readouterr().err
    assert "hydra/sweeper=optuna is not usable" in error
    assert "for this sweeper: pip install 'maml-exp[optuna]'" in error
    assert list(tmp_path.iterdir()) == []
