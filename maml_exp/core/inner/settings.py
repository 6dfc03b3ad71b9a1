"""The settings of the inner loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from maml_exp.core import checks
from maml_exp.core.checks import setting


@dataclass
class InnerSettings(checks.Settings):
    """The inner loop: gradient descent on a task's support set."""

    section: ClassVar[str] = "inner"
    lr: float = setting(0.01, "alpha, the rate of gradient descent on the support loss", checks.number())
    steps: int = setting(1, "S, the number of inner steps", checks.integer(0, 1000))
