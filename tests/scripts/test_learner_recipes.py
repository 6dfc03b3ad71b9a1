"""The recipes about learners, small: every item runs, is drawn, and says what its runs measured."""

from pathlib import Path

import numpy as np
import pytest

from maml_exp.config.composing import compose

from .test_recipes import errors, rows_of, runs

pytestmark = pytest.mark.slow
SMALL = (
    "training.iterations=2",
    "training.evaluate_every=1",
    "evaluation.tasks=12",
    "evaluation.tasks_in_training=4",
    "training.meta_batch=2",
    "model.hidden=[4]",
)


KINDS = (" second_order=false-", "-")  # behind the preset's name, in the names of runs


@pytest.fixture
def recipes(monkeypatch):
    """The recipes with tiny runs, two seeds and a small population."""
    from recipes import evolution, learners, runs, timing

    for module in (evolution, learners):
        monkeypatch.setattr(module, "SEEDS", 2)
    monkeypatch.setattr(learners, "TASKS", 12)
    monkeypatch.setattr(timing, "TURNS", 1)
    monkeypatch.setattr(timing, "ITERATIONS", 1)

    def small(overrides):
        evolved = [text for text in overrides if text.startswith("algorithm.evolution.population")]
        return compose([*overrides, *SMALL, *(["algorithm.evolution.population=2"] if evolved else [])])

    monkeypatch.setattr(runs, "compose", small)
    monkeypatch.setattr(timing, "compose", small)
    return {**learners.ITEMS, "evolution": evolution.evolution}


def median(folders, shots, step):
    return np.median(errors(folders, f"trained_K{shots}")[:, :, step], axis=1).mean()


def test_learners_are_compared_inside_and_beyond_what_they_trained_on(recipes, tmp_path, capsys):
    recipes["learners"](tmp_path, jobs=1)
    rows = {name: cells for name, *cells in rows_of(tmp_path, "learners")}
    assert len(rows) == 10
    for name, start, step in (("ridge", "ridge", 1), ("learned_optimizer", "learned_optimizer", 5)):
        assert f"(median {median(runs(start), 10, step):.3g}" in rows[name][3]
    assert {"learners.png", "learners-time.png"} <= {path.name for path in tmp_path.iterdir()}
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("summary.json")}
    recipes["beyond"](tmp_path, jobs=1)
    assert "20 runs, 20 of them finished before" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("summary.json")}
    rows = {name: cells for name, *cells in rows_of(tmp_path, "beyond")}
    assert [len(cells) for cells in rows.values()] == [6] * 10
    assert rows["ridge"][-1] == "-"
    assert rows["maml, 1 step"][-1] != "-"


def test_the_order_of_learned_optimizers_is_compared_in_pairs(recipes, tmp_path):
    recipes["order"](tmp_path, jobs=1)
    rows = {name: cells for name, *cells in rows_of(tmp_path, "order")}
    assert [cells[3] == "-" for cells in rows.values()] == [True, False] * 3
    ours, theirs = (errors(runs(f"learned_optimizer{kind}"), "trained_K10")[:, :, 5] for kind in KINDS)
    assert rows["learned_optimizer, first order"][3].startswith(f"{(ours - theirs).mean():+.3f}")


def test_losses_are_learned_where_support_targets_are_distorted(recipes, tmp_path):
    recipes["losses"](tmp_path, jobs=1)
    rows = rows_of(tmp_path, "losses")
    distorted = [targets for targets in ("shifted by pi/3", "sign(y) sqrt|y|", "none, x tells") for _ in range(3)]
    assert [row[0] for row in rows] == ["plain", "none needed", *distorted]
    assert (tmp_path / "losses.png").is_file()


def test_evolution_is_told_in_iterations_adaptations_and_seconds(recipes, tmp_path):
    recipes["evolution"](tmp_path, jobs=1)
    rows = {name: cells for name, *cells in rows_of(tmp_path, "evolution")}
    assert [cells[3:5] for cells in rows.values()] == [["2", "50"]] * 3 + [["2", "2,408"]] * 2
    assert f"(median {median(runs('evolution evolution.population=2-'), 10, 1):.3g}" in rows["evolution"][1]
    assert (tmp_path / "evolution.png").is_file()
