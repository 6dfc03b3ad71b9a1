"""The `maml-exp` command: a few verbs, and without one, Hydra's command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from maml_exp.commands import VERBS
from maml_exp.core.checks import SettingError


def train(arguments: Sequence[str]) -> int:
    """Hand the arguments to Hydra: one run, or with -m a sweep."""
    first = arguments[0] if arguments else ""
    if first and "=" not in first and not first.startswith(("-", "~")):
        raise SettingError(f"{first} is neither a verb ({', '.join(VERBS)}) nor a setting such as inner.lr=0.02")

    from maml_exp.sweep.hydra_run import launch

    return launch(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status. Mistakes of the user's cost a line or two, no traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] in (["--help"], ["-h"], ["help"]):
            from maml_exp.commands.help import help_text

            print(help_text())
            return 0
        if arguments and arguments[0] in VERBS:
            verb = arguments[0]
            return getattr(import_module(f"maml_exp.commands.{verb}"), f"run_{verb}")(arguments[1:])
        return train(arguments)
    except SettingError as error:
        print(f"maml-exp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before or after a run; within one it is the run's to handle
        print("maml-exp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        sys.stdout = None
        return 0


if __name__ == "__main__":
    sys.exit(main())
