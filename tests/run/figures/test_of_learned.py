"""The histogram of rates by weight: what it counts is what was learned."""

import numpy as np
import pytest
from helpers import train
from matplotlib.figure import Figure

from maml_exp.api import load
from maml_exp.config.composing import compose
from maml_exp.run.figures.of_learned import BINS, draw_learned


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved."""
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda fig, *args, **kwargs: (figures.append(fig), save(fig, *args, **kwargs))
    )
    return figures


def test_a_panel_a_layer_counts_its_weights(tmp_path, drawn):
    run = load(train(tmp_path / "run", "algorithm=meta_sgd"))
    first = run.learner.init(np.random.default_rng(0))
    path = tmp_path / "rates.png"
    assert draw_learned(run.learner, {"trained": run.vector, "random": first}, path) == [path]
    (fig,) = drawn
    assert [axis.get_title() for axis in fig.axes] == ["layer 0", "layer 1"]
    shapes = [(1 + 1) * 8, (8 + 1) * 1]
    for axis, size in zip(fig.axes, shapes, strict=True):
        before = sum(patch.get_height() for patch in axis.patches[: BINS - 1])
        assert 0.95 * size - 1 <= before <= size  # but for what lies beyond the view


@pytest.mark.parametrize("algorithm", ["maml", "lslr", "ridge"])
def test_other_runs_have_no_such_figure(algorithm, tmp_path):
    run = load(train(tmp_path / "run", f"algorithm={algorithm}"))
    assert draw_learned(run.learner, {"trained": run.vector, "random": run.vector}, tmp_path / "rates.png") == []
    assert not (tmp_path / "rates.png").exists()


def test_rates_in_words():
    assert compose([]).rate_in_words(0.02) == "rate 0.02"
    assert compose(["algorithm=lslr"]).rate_in_words(0.01) == "learned rates"
    assert compose(["algorithm=lslr"]).rate_in_words(0.02) == "learned rates times 2"
