"""One task, adapted to by every method of a comparison: a panel each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_exp.comparison.groups import Group
from maml_exp.config.saved import load_config
from maml_exp.config.schema import Config
from maml_exp.core.training import Trainer
from maml_exp.data.texts import for_figure
from maml_exp.run.figures.drawing import figure, legend_below
from maml_exp.run.figures.of_tasks import Predicted, axis_labels, draw_task, in_steps
from maml_exp.store.choosing import judged_checkpoint
from maml_exp.store.run_folder import RunFolder

Array = np.ndarray
MOST_PANELS = 6


class Panel(NamedTuple):
    """What a run predicts of a task."""

    title: str
    predicted: Predicted
    lr: float

    @classmethod
    def of(cls, title: str, config: Config, vector: Array | None, lr: float) -> Panel:
        """Of meta-parameters (P,); None: those of the random initialisation."""
        trainer = Trainer(config.problem)
        vector = trainer.init(config.seed).vector if vector is None else vector
        return cls(title, Predicted.of(config, trainer.learner, vector, lr, 1), lr)

    def draw(self, axis: Any, ends: Sequence[Array], with_shots: bool) -> None:
        """Draw it, with limits that all panels share."""
        config, steps = self.predicted.config, self.predicted.learner.trained_steps
        draw_task(axis, self.predicted, 0, ends)
        trained = f", trained for {in_steps(steps)}" if steps else ""
        adapts = "adapts at once" if config.adapts_at_once else f"{config.rate_in_words(self.lr)}{trained}"
        points = f", K = {config.objective_shots}" if with_shots else ""
        axis.set_title(f"{self.title}\n{adapts}{points}", fontsize=8)


def draw_panels(groups: Sequence[Group], path: Path, style: str | None) -> bool:
    """One task, adapted to by every method and by the random initialisation, a panel each.

    The only comparison that reads checkpoints: one of each group. False where fewer than two have one, and where tasks
    are no curves.
    """
    panels: list[Panel] = []
    for group in [group for group in groups if group.runs]:
        if len(panels) == MOST_PANELS:
            break
        run = next(iter(group.runs.values()))
        config = load_config(RunFolder(run.folder).config)
        family = config.problem.family
        if not (family.is_open and family.is_curve):  # open: not a table of the user's, which a saved run only names
            return False
        point = judged_checkpoint(RunFolder(run.folder), config)
        if point is not None:
            panels.append(Panel.of(for_figure(group.label), config, point.state.vector, run.lr))
    if len(panels) < 2:
        return False
    first, shots = panels[0], {panel.predicted.config.objective_shots for panel in panels}
    panels.append(Panel.of("random initialisation", first.predicted.config, None, first.lr))
    with figure(path, 1, len(panels), (3.2 * len(panels), 3.7), style, sharex=True, sharey=True) as (fig, axes):
        x_label, y_label = axis_labels(first.predicted.learner.problem.family)
        for axis, panel in zip(axes[0], panels, strict=True):
            panel.draw(axis, [one.predicted.made[-1] for one in panels], with_shots=len(shots) > 1)
            axis.set_xlabel(x_label)
        axes[0, 0].set_ylabel(y_label)
        same = f"the same {shots.pop()}" if len(shots) == 1 else "K"
        fig.suptitle(f"The same task, fine-tuned on {same} points")
        handles: dict[str, Any] = {}
        for axis in axes[0]:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        legend_below(fig, list(handles.values()), list(handles))
    return True
