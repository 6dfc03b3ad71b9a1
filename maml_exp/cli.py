"""The `maml-exp` command: a few verbs, and without one, Hydra's command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from maml_exp.core.errors import SettingError


def gradcheck(arguments: Sequence[str]) -> int:
    """maml-exp gradcheck [overrides]: prove the gradients for the configured network."""
    from maml_exp.experiment.proof import run_gradcheck

    return run_gradcheck(arguments)


def plot(arguments: Sequence[str]) -> int:
    """maml-exp plot RUN [--format pdf]: draw a run's figures again."""
    from maml_exp.experiment.replot import run_plot

    return run_plot(arguments)


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"gradcheck": gradcheck, "plot": plot}


def train(arguments: Sequence[str]) -> int:
    """Hand the arguments to Hydra: one run, or with -m a sweep."""
    first = arguments[0] if arguments else ""
    if first and "=" not in first and not first.startswith(("-", "~")):
        raise SettingError(f"{first} is neither a verb ({', '.join(VERBS)}) nor a setting such as inner.lr=0.02")

    from maml_exp.experiment.hydra_app import RunFailedError, launch

    try:
        launch(arguments)
    except RunFailedError as failed:
        print(f"maml-exp: the run in {failed.outcome.folder} {failed.outcome.state}", file=sys.stderr)
        return failed.outcome.exit_status
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status. Mistakes of the user's cost a line or two, no traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] in (["--help"], ["-h"], ["help"]):
            from maml_exp.experiment.help import help_text

            print(help_text())
            return 0
        if arguments and arguments[0] in VERBS:
            return VERBS[arguments[0]](arguments[1:])
        return train(arguments)
    except SettingError as error:
        print(f"maml-exp: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
