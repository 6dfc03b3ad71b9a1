"""What a learner learned beside the network, where that is too much for a table: a histogram each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maml_exp.core.learners.base import BaseLearner
from maml_exp.run.figures.drawing import BLUE, GREY, Margins, figure

Array = np.ndarray
BINS = 41
FEWEST_IN_VIEW = 0.99  # share of the numbers that a panel must show


def draw_learned(learner: BaseLearner, vectors: dict[str, Array], path: Path) -> list[Path]:
    """Histograms of what `learner.spreads` tells of the trained and the initial vector; the paths drawn, if any."""
    trained, first = (learner.spreads(vectors[which]) for which in ("trained", "random"))
    if not trained:
        return []
    size = (2.6 * len(trained) + 0.8, 3.3)
    margins = Margins(left=0.7, bottom=0.55, top=0.55, across=0.3)
    with figure(path, 1, len(trained), size, margins=margins, own_folder=True) as (fig, axes):
        for axis, (name, numbers) in zip(axes[0], trained.items(), strict=True):
            edges = _edges(numbers, first[name])
            axis.hist(first[name], edges, color=GREY, alpha=0.5, label="at the start")
            axis.hist(numbers, edges, color=BLUE, histtype="step", lw=1.4, label="learned")
            axis.margins(y=0.25)  # the legend stands above
            axis.axvline(0, color=GREY, lw=0.8, ls=":")
            axis.set_title(name.replace("_", " "))
            axis.set_xlabel("inner rate")
            axis.locator_params(axis="x", nbins=4)
        axes[0, 0].set_ylabel("weights")
        axes[0, 0].legend(fontsize=7, frameon=False)
        fig.suptitle("Inner rates by weight")
    return [path]


def _edges(numbers: Array, first: Array) -> Array:
    """Edges of bins that hold nearly all of both; what lies beyond is a few weights."""
    both = np.concatenate([numbers, first])
    low, high = np.quantile(both, [(1 - FEWEST_IN_VIEW) / 2, (1 + FEWEST_IN_VIEW) / 2])
    reach = max(high - low, 1e-12)
    return np.linspace(low - 0.02 * reach, high + 0.02 * reach, BINS)
