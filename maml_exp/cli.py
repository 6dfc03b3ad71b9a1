"""The `maml-exp` command: a few verbs, and without one, Hydra's command line."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's
try:
    from maml_exp.commands import VERBS

    if TYPE_CHECKING:
        from collections.abc import Sequence
except KeyboardInterrupt:
    print("maml-exp: interrupted", file=sys.stderr)
    sys.exit(130)

# Other imports stand in functions: Ctrl-C in the first moments is answered as it is later.

RUNS = ("resume", "rerun")  # verbs whose result is a folder: what they print may be lost
PICKLES = "--experimental-rerun"  # Hydra's: it runs what a file says


def train(arguments: Sequence[str]) -> int:
    """Hand the arguments to Hydra: one run, or with -m a sweep."""
    from maml_exp.core.checks import SettingError

    first = arguments[0] if arguments else ""
    if first and "=" not in first and not first.startswith(("-", "~")):
        raise SettingError(f"{first} is neither a verb ({', '.join(VERBS)}) nor a setting such as inner.lr=0.02")
    for argument in arguments:
        name = argument.split("=")[0]
        if len(name) > 2 and PICKLES.startswith(name):  # argparse takes the start of a name for it
            raise SettingError(f"{name} is refused: it unpickles a file, which can run code; use: maml-exp rerun RUN")

    from maml_exp.sweep.hydra_run import launch

    return launch(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status. Mistakes of the user's cost a line or two, no traceback."""
    try:
        if arguments is not None:
            return _run(list(arguments))

        from maml_exp.run.streams import sturdy_streams

        with sturdy_streams() as output:
            status = _run(sys.argv[1:])
            output.flush()
            if output.error is None or isinstance(output.error, BrokenPipeError):  # whoever read it has seen enough
                return status
            _say(f"cannot write to standard output: {output.error.strerror}")
            trains = len(sys.argv) < 2 or sys.argv[1] not in VERBS or sys.argv[1] in RUNS
            return status if trains else status or 1
    except KeyboardInterrupt as error:  # before or after a run; within one it is the run's to handle
        _say("interrupted")
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 2
        return 128 + number


def _run(arguments: list[str]) -> int:
    from maml_exp.core.checks import SettingError

    try:
        if arguments[:1] in (["--help"], ["-h"], ["help"]):
            from maml_exp.commands.help import help_text

            print(help_text())
            return 0
        if arguments and arguments[0] in VERBS:
            from importlib import import_module

            verb = arguments[0]
            return getattr(import_module(f"maml_exp.commands.{verb}"), f"run_{verb}")(arguments[1:])
        return train(arguments)
    except SettingError as error:
        _say(str(error))
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        sys.stdout = None
        return 0
    except OSError as error:  # a full disk, a missing permission
        _say(f"cannot read or write {error.filename or 'a file'}: {error.strerror or error}")
    except MemoryError:
        _say("out of memory; make the settings of sizes smaller, or give it more")
    return 1


def _say(message: str) -> None:
    """Say what is wrong; names in it may be a stranger's."""
    from maml_exp.data.texts import for_terminal

    print(f"maml-exp: {for_terminal(message)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
