"""A user's own optimizers, which Python imports into every process of a sweep, whichever launcher starts it."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from maml_exp.core.optimizers import OPTIMIZERS, sgd

LONGEST_WAIT = 60  # seconds; only so that a broken sweep fails instead of hanging


def quits(*_):
    """Call for exit in the middle of training."""
    sys.exit(7)


def meets(gradient, state, theta, settings):
    """Gradient descent, begun when two processes have come this far."""
    place, until = Path(os.environ["MEETING"]), time.monotonic() + LONGEST_WAIT
    (place / str(os.getpid())).touch()
    while len(list(place.iterdir())) < min(2, os.cpu_count()):
        if time.monotonic() > until:
            raise TimeoutError("no second process came")
        time.sleep(0.01)
    return sgd.update(gradient, state, theta, settings)


def waits(gradient, state, theta, settings):
    """Gradient descent, slow from update 60 on for as long as there is no file GATE; it leaves a file that says so."""
    gate = Path(os.environ["GATE"])
    if state.count >= 60 and not gate.exists():
        gate.with_name(f"waits.{os.getpid()}").touch()
        time.sleep(0.1)
    return sgd.update(gradient, state, theta, settings)


@dataclass
class QuitsSettings(sgd.Settings):
    name: str = "quits"


@dataclass
class MeetsSettings(sgd.Settings):
    name: str = "meets"


@dataclass
class WaitsSettings(sgd.Settings):
    name: str = "waits"


@dataclass
class RaisesSettings(sgd.Settings):
    name: str = "raises"

    def __post_init__(self):
        super().__post_init__()
        if self.lr == 0.5:
            raise ZeroDivisionError("a fault of the user's")


UPDATES = {QuitsSettings: quits, MeetsSettings: meets, WaitsSettings: waits, RaisesSettings: sgd.update}
for settings, update in UPDATES.items():
    OPTIMIZERS.register(settings.name, Settings=settings, init=sgd.init, update=update)
