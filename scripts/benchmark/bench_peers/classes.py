"""Cases of classification: characters to be told apart, by cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bench_peers import Case
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.network import ModelSettings
from maml_exp.core.problem import Problem
from maml_exp.core.tasks import glyphs
from maml_exp.data import sources


@dataclass(frozen=True)
class ClassCase(Case):
    """Five classes, as many query as support images; every hidden layer has half of the units of the one before."""

    scans: ClassVar[bool] = False
    width: int = 256  # of the first hidden layer
    shots: int = 1  # support images of each class: K is five times as many
    tasks: int = 32
    layers: int = 3
    size: int = 28  # pixels along an image
    layer_norm: bool = False

    @property
    def problem(self) -> Problem:
        """The same as the core's object."""
        task = glyphs.Settings(size=self.size, shots=self.shots, query=self.shots)
        hidden = [self.width // 2**layer for layer in range(self.layers)]
        return replace(
            super().problem,
            model=ModelSettings(hidden=hidden, activation=self.activation, layer_norm=self.layer_norm),
            inner=InnerSettings(lr=0.1, steps=self.steps),
            task=task,
            data=sources.load(task, None),
        )

    @property
    def points(self) -> int:
        """K, support points of a task."""
        return self.family.support_points(self.shots)
