"""scripts/ is no package: its modules are found as they are when one of them is run."""

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test works in a folder of its own, and can import from scripts/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS / "reproduce"))


@pytest.fixture
def reproduce():
    """The command line of scripts/reproduce."""
    return [sys.executable, str(SCRIPTS / "reproduce")]
