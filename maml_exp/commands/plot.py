"""`maml-exp plot`: a run's figures again, from its folder, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maml_exp.commands import parser_of
from maml_exp.config.saved import load_config
from maml_exp.core.checks import SettingError
from maml_exp.core.training import Trainer
from maml_exp.store.choosing import judged_checkpoint
from maml_exp.store.files import read_json
from maml_exp.store.metrics_file import read_rows
from maml_exp.store.run_folder import open_run

FORMATS = ("png", "pdf", "svg")


def run_plot(arguments: Sequence[str]) -> int:
    """Draw the figures of a finished run into its plots/ and print their paths."""
    parser = parser_of("plot", run_plot)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--format", choices=FORMATS, default="png")
    options = parser.parse_args(arguments)

    folder = open_run(options.run)
    config = load_config(folder.config)
    point = judged_checkpoint(folder, config)
    if point is None:
        raise SettingError(f"{folder.path} has no usable checkpoint to draw from")
    from maml_exp.run.figures.of_run import draw_all

    trainer = Trainer(config.problem)
    vectors = {"trained": point.state.vector, "random": trainer.init(config.seed).vector}
    try:
        evaluation = read_json(folder.summary)["evaluation"]
        rows = read_rows(folder.metrics)
        paths = draw_all(config, trainer.learner, vectors, evaluation, rows, folder.plots, options.format)
    except OSError as error:
        raise SettingError(f"{error.filename}: {error.strerror}; finish the run first?") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SettingError(f"{folder.summary} is not a summary of a finished run ({error!r})") from error
    for path in paths:
        print(path)
    return 0
