"""`maml-exp plot`: a run's figures again, from its folder, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.commands import given_file, parser_of
from maml_exp.config.saved import load_config
from maml_exp.config.schema import Config
from maml_exp.core.checks import SettingError
from maml_exp.core.training import Trainer
from maml_exp.store.choosing import judged_checkpoint
from maml_exp.store.files import failure, read_json
from maml_exp.store.metrics_file import read_rows
from maml_exp.store.run_folder import RunFolder, open_run

FORMATS = ("png", "pdf", "svg")


def run_plot(arguments: Sequence[str]) -> int:
    """Draw the figures of a finished run into its plots/ and print their paths."""
    parser = parser_of("plot", run_plot)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--format", choices=FORMATS, default="png")
    parser.add_argument("file", nargs="?", help="task.file=PATH: the table of its tasks, which is not opened unasked")
    options = parser.parse_intermixed_args(arguments)

    folder = open_run(options.run)
    config = load_config(folder.config)
    if options.file is not None:
        config.reading(given_file(options.file))
    point = judged_checkpoint(folder, config)
    if point is None:
        raise SettingError(f"{folder.path} has no usable checkpoint to draw from")
    from maml_exp.run.figures.of_run import draw_all

    trainer = Trainer(config.problem)
    vectors = {"trained": point.state.vector, "random": trainer.init(config.seed).vector}
    try:
        evaluation = evaluation_to_draw(folder, config)
        rows = read_rows(folder.metrics)
        paths = draw_all(config, trainer.learner, vectors, evaluation, rows, folder.plots, options.format)
    except OSError as error:
        hint = "; finish the run first" if error.filename == str(folder.summary) else ""
        raise SettingError(f"{failure(error)}{hint}") from error
    except SettingError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise SettingError(f"{folder.summary} is not a summary of a finished run ({error!r})") from error
    for path in paths:
        print(path)
    return 0


def evaluation_to_draw(folder: RunFolder, config: Config) -> dict[str, Any]:
    """What is drawn of summary.json, its lists as long as the steps that they are about; raises what damage brings."""
    evaluation = read_json(folder.summary)["evaluation"]
    steps = config.evaluation_steps
    if evaluation["steps"] != steps or not 1 <= len(evaluation["shots"]) <= len(config.evaluation.shots):
        raise ValueError("its evaluation is not the one that the configuration asks for")
    shots = {}
    for count, results in evaluation["shots"].items():
        shots[str(int(count))] = {
            which: {name: _numbers(values, steps) for name, values in results[which].items()}
            for which in ("trained", "random")
        }
    reference = evaluation.get("reference")  # the first version did not write it
    return {
        "steps": steps,
        "lr": float(evaluation["lr"]),
        "tasks": int(evaluation["tasks"]),
        "reference": float("nan") if reference is None else float(reference),
        "shots": shots,
        "baselines": {str(int(k)): dict(by_name) for k, by_name in evaluation.get("baselines", {}).items()},
    }


def _numbers(values: list[Any], steps: int) -> np.ndarray:
    numbers = np.array(values, dtype=float)
    if numbers.shape != (steps + 1,):
        raise ValueError(f"{len(values)} numbers for {steps} steps")
    return numbers
