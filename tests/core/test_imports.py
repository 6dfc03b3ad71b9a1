import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from maml_exp import core

FOLDER = Path(core.__file__).parent
MODULES = ["maml_exp.core", *sorted(module.name for module in pkgutil.walk_packages([str(FOLDER)], "maml_exp.core."))]
OUTSIDE = {"hydra", "omegaconf", "matplotlib", "tensorboardX", "yaml", "tqdm", "PIL", "threadpoolctl"}
WORLD = {"datetime", "io", "logging", "os", "pathlib", "random", "shutil", "subprocess", "sys", "tempfile", "time"}


def imported_names(path):
    """Every module named in an import statement, wherever it stands."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("." * node.level + (node.module or ""))
    return names


def modules_loaded_by(modules):
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    # -I: neither the working folder nor the user's site-packages take part
    output = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.partition(".")[0] for name in json.loads(output)}, set(json.loads(output))


def test_importing_all_of_core_loads_none_of_the_tools_around_it():
    top_level, every = modules_loaded_by(MODULES)
    assert set(MODULES) <= every
    assert not top_level & OUTSIDE
    assert not {name for name in every if name.startswith("maml_exp.") and not name.startswith("maml_exp.core")}


def test_the_subprocess_would_notice():
    top_level, _ = modules_loaded_by([*MODULES, "omegaconf"])
    assert top_level & OUTSIDE >= {"omegaconf", "yaml"}


def file_of(module):
    """The file of a module, by its name alone."""
    path = FOLDER.joinpath(*module.split(".")[2:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("module", MODULES)
def test_core_names_only_numpy_the_standard_library_and_itself(module):
    for imported in imported_names(file_of(module)):
        top_level = imported.partition(".")[0]
        is_core = imported.startswith("maml_exp.core")
        assert is_core or top_level == "numpy" or top_level in sys.stdlib_module_names, imported
        assert top_level not in WORLD, imported  # core knows no file, no clock and no environment


def test_every_file_of_core_is_among_the_modules_scanned():
    assert sorted(FOLDER.rglob("*.py")) == sorted(file_of(module) for module in MODULES)
    for folder in ("inner", "learners", "optimizers", "tasks", "proof"):
        assert f"maml_exp.core.{folder}" in MODULES


def test_the_proof_shares_no_pass_with_what_it_proves():
    imported = imported_names(FOLDER / "proof" / "reference.py")
    assert {name for name in imported if name.startswith("maml_exp")} == {
        "maml_exp.core.activations",
        "maml_exp.core.network",
        "maml_exp.core.tasks.base",
    }
