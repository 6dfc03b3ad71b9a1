"""The fertility item, small: its table against numbers computed here from what the runs saved."""

import csv
from pathlib import Path

import numpy as np
import pytest

from maml_exp.config.composing import compose
from maml_exp.data.text_table import digits

pytestmark = pytest.mark.slow
SMALL = ("training.iterations=4", "training.evaluate_every=2", "training.meta_batch=3", "evaluation.steps=10")
ANIL = ("algorithm=anil",)


@pytest.fixture
def table(monkeypatch):
    """The rows of the table, two methods on two splits, two seeds each."""
    from recipes import fertility, runs

    monkeypatch.setattr(fertility, "METHODS", {"MAML, tanh": (), "ANIL": ANIL})
    monkeypatch.setattr(fertility, "SPLITS", 2)
    monkeypatch.setattr(fertility, "SEEDS", 2)
    monkeypatch.setattr(runs, "compose", lambda overrides: compose([*overrides, *SMALL]))
    fertility.fertility(Path("out"), 1)
    with open("out/fertility.csv", newline="") as file:
        return {row[0]: row[1:] for row in list(csv.reader(file))[1:]}


def rmse(start, key, step):
    """Root errors (splits, seeds, countries)."""
    folders = sorted(Path("runs/reproduce").glob(f"{start}-*"))
    found = [np.load(folder / "evaluation.npz")[key].astype(float) for folder in folders]
    return np.sqrt([errors if step is None else errors[:, step] for errors in found]).reshape(2, 2, 50)


def test_the_table_of_fertility_is_what_its_runs_say(table):
    less = rmse("maml*-K2", "best_linear_K2", None)[:, 0]
    for name, start in (("MAML, tanh", "maml"), ("ANIL", "anil")):
        by_country = rmse(f"{start}*-K2", "trained_K2", 10).mean(axis=1)
        difference = (by_country - less).ravel()
        reach = 1.96 * difference.std(ddof=1) / 10
        assert table[name][0] == f"{by_country.mean():.3f}"
        assert table[name][1] == ", ".join(f"{value:.2f}" for value in by_country.mean(axis=1))
        assert table[name][2] == f"{difference.mean():+.3f} ± {reach:.3f}"
    assert table["best linear (BLUP)"][0] == f"{less.mean():.3f}"
    assert table["best linear (BLUP)"][2] == "-"
    assert digits(float(table["mean curve"][0]), 2) == "1.7"
    assert Path("out/fertility.png").stat().st_size > 10_000
