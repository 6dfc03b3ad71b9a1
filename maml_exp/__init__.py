"""Model-Agnostic Meta-Learning in raw numpy, second-order gradients derived by hand: the public API.

    run = maml_exp.train("inner.steps=5", "seed=3")      # as on the command line; the finished run
    run = maml_exp.load("runs/...")                      # .config .summary .metrics .evaluation .theta
    run.adapt(x, y, steps=10).predict(x_new)
    maml_exp.compare(["runs/multirun/..."])              # the tables as data
    maml_exp.register_task(...)                          # and register_learner, register_optimizer

Importing this costs nothing; what a name needs, and numpy, is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's, which takes as long to import as all that is imported here
if TYPE_CHECKING:
    from typing import Any

    from maml_exp.api import compare, load, register_learner, register_optimizer, register_task, train
    from maml_exp.cli import main
    from maml_exp.comparison.comparison import Comparison
    from maml_exp.core.checks import SettingError
    from maml_exp.run.trained import Adapted, Run

_HOMES = {
    "train": "maml_exp.api",
    "load": "maml_exp.api",
    "compare": "maml_exp.api",
    "register_task": "maml_exp.api",
    "register_learner": "maml_exp.api",
    "register_optimizer": "maml_exp.api",
    "main": "maml_exp.cli",
    "Run": "maml_exp.run.trained",
    "Adapted": "maml_exp.run.trained",
    "Comparison": "maml_exp.comparison.comparison",
    "SettingError": "maml_exp.core.checks",
}
__all__ = [
    "Adapted",
    "Comparison",
    "Run",
    "SettingError",
    "__version__",
    "compare",
    "load",
    "main",
    "register_learner",
    "register_optimizer",
    "register_task",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("maml-exp")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
