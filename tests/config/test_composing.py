"""What Hydra is told of the schema, also where others change what it was told, or install more of it meanwhile."""

import subprocess
import sys

import pytest
from helpers import TIMEOUT
from hydra.core.config_store import ConfigStore

from maml_exp.config.composing import REPLACING, compose

LATE = """
from dataclasses import dataclass
from maml_exp.core.optimizers import sgd
from maml_exp.core.optimizers.sgd import init, update
@dataclass
class Settings(sgd.Settings):
    name: str = "late"
"""
INSTALL = """
import importlib, sys
from pathlib import Path
from maml_exp.config.composing import compose
compose([])
Path("late-1.dist-info").mkdir()
Path("late-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\\nName: late\\nVersion: 1\\n")
Path("late-1.dist-info/entry_points.txt").write_text("[maml_exp.optimizers]\\nlate = late\\n")
sys.path.insert(0, "")
importlib.invalidate_caches()
print(compose(["optimizer=late"]).optimizer.name)
"""


@pytest.mark.parametrize(("name", "group"), [("config_schema", None), ("sinusoid", "schema/task")])
def test_what_another_program_stores_under_our_names_is_set_right(name, group):
    expected = compose([]).to_dict()
    store = ConfigStore.instance()
    store.store(name, {"other": 1}, group=group, **REPLACING)
    assert compose([]).to_dict() == expected
    folder = store.repo
    for part in group.split("/") if group else ():
        folder = folder[part]
    del folder[f"{name}.yaml"]
    assert compose([]).to_dict() == expected


def test_what_is_installed_meanwhile_is_found(tmp_path):
    (tmp_path / "late.py").write_text(LATE)
    process = subprocess.run(
        [sys.executable, "-c", INSTALL], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert process.stdout == "late\n", process.stderr
