"""The `maml-exp` command: a few verbs, and without one, Hydra's command line.

Exit statuses: 0 done; 1 a mistake of the user's, or a run that failed; 3 results that differ, of diff and rerun;
128 + n stopped by signal n.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing's
try:
    from contextlib import contextmanager

    from maml_exp.commands import QUIET_VARIABLE, VERBS

    if TYPE_CHECKING:
        from collections.abc import Iterator, Sequence
except KeyboardInterrupt:
    print("maml-exp: interrupted", file=sys.stderr)
    sys.exit(130)

# Other imports stand in functions: Ctrl-C in the first moments is answered as it is later.

RUNS = ("resume", "rerun")  # verbs whose result is a folder: what they print may be lost
PICKLES = "--experimental-rerun"  # Hydra's: it runs what a file says

QUIET = ("-q", "--quiet")


def train(arguments: Sequence[str]) -> int:
    """Hand the arguments to Hydra: one run, or with -m a sweep."""
    from maml_exp.core.checks import SettingError

    first = arguments[0] if arguments else ""
    if first and "=" not in first and not first.startswith(("-", "~")):
        raise SettingError(_no_verb(first))
    for argument in arguments:
        name = argument.split("=")[0]
        if len(name) > 2 and PICKLES.startswith(name):  # argparse takes the start of a name for it
            raise SettingError(f"{name} is refused: it unpickles a file, which can run code; use: maml-exp rerun RUN")

    from maml_exp.sweep.hydra_run import launch

    return launch(arguments)


def _no_verb(word: str) -> str:
    """What to say of a first word that means nothing."""
    from maml_exp.config.messages import closest
    from maml_exp.config.usual import GROUPS, options, usual_settings

    if word in GROUPS:
        return f"{word} needs an option, as in {word}={options(word)[0]}: one of {', '.join(options(word))}"
    if word in usual_settings():
        return f"{word} needs a value: {word}=..., as in inner.lr=0.02"
    meant = closest(word, VERBS)
    hint = f"; did you mean maml-exp {meant}?" if meant else ""
    return f"{word} is neither a verb ({', '.join(VERBS)}) nor a setting such as inner.lr=0.02{hint}"


def show_help(words: Sequence[str]) -> int:
    """The help, or with a verb's name that verb's."""
    from maml_exp.core.checks import SettingError

    if words and words[0] not in VERBS:
        raise SettingError(_no_verb(words[0]))
    if words:
        return run_verb(words[0], ["--help"])
    from maml_exp.commands.help import help_text

    print(help_text())
    return 0


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Call a verb; returns the exit status."""
    from importlib import import_module

    return getattr(import_module(f"maml_exp.commands.{verb}"), f"run_{verb}")(arguments)


def dispatch(arguments: Sequence[str]) -> int:
    """Call what the arguments ask for; returns the exit status. Raises `SettingError`."""
    first, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if first in ("--help", "-h", "help"):
        return show_help(rest)
    if first == "--version":
        from maml_exp import __version__

        print(f"maml-exp {__version__}")
        return 0
    if [first, *rest] in (["-sc", "install=bash"], ["--shell-completion", "install=bash"]):
        return run_verb("completion", ["bash"])  # Hydra's knows no verbs
    return run_verb(first, rest) if first in VERBS else train(arguments)


@contextmanager
def saying_little(quiet: bool) -> Iterator[None]:
    """Have runs, here and in worker processes, say nothing on the terminal but results, warnings and errors."""
    before = os.environ.get(QUIET_VARIABLE)
    if quiet:
        os.environ[QUIET_VARIABLE] = "1"
    try:
        yield
    finally:
        if quiet and before is None:
            del os.environ[QUIET_VARIABLE]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status. Mistakes of the user's cost a line or two, no traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        words = [word for word in given if word not in QUIET]
        with saying_little(len(words) < len(given)):
            if arguments is not None:
                return _run(words)

            from maml_exp.data.streams import sturdy_streams
            from maml_exp.store.system import seldom_look_for_garbage

            seldom_look_for_garbage()
            with sturdy_streams() as output:
                status = _run(words)
                output.flush()
                if output.error is None or isinstance(output.error, BrokenPipeError):  # its reader has seen enough
                    return status
                _say(f"cannot write to standard output: {output.error.strerror}")
                makes_runs = not words or words[0] not in VERBS or words[0] in RUNS
                return status if makes_runs else status or 1
    except KeyboardInterrupt as error:  # before or after a run; within one it is the run's to handle
        _say("interrupted")
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 2
        return 128 + number


def _run(arguments: Sequence[str]) -> int:
    from maml_exp.core.checks import SettingError

    try:
        return dispatch(arguments)
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
