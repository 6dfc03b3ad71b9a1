"""Registries over folders made here, so that the project's own stay as they are."""

import importlib
import sys
from itertools import count

import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.learners import LEARNERS
from maml_exp.core.optimizers import OPTIMIZERS
from maml_exp.core.registry import Registry, all_entry_points
from maml_exp.core.tasks import TASKS

NUMBERS = count()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package with two choices, what they share, and something of its own; importable."""
    name = f"shapes_{next(NUMBERS)}"  # a package is imported once, whatever its folder holds later
    package = tmp_path / name
    package.mkdir()
    for file in ("__init__", "base", "_drawing"):
        (package / f"{file}.py").write_text("")
    (package / "square.py").write_text("corners = 4\ndef area(a): return a * a\n")
    (package / "circle.py").write_text("corners = 0\ndef area(a): return 3.14 * a * a\n")
    (package / "notes.txt").write_text("no Python")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return package


@pytest.fixture
def shapes(folder):
    return Registry(folder.name, key="shape.name", parts=("corners", "area"))


def offer(folder, name, text, entry):
    """An installed package that offers a choice for the folder's registry."""
    (folder.parent / f"{name}_of_{folder.name}.py").write_text(text)
    info = folder.parent / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[maml_exp.{folder.name}]\n{name} = {name}_of_{folder.name}{entry}\n")
    importlib.invalidate_caches()
    all_entry_points.cache_clear()


def test_names_are_the_files_but_base_and_those_with_an_underscore(shapes):
    assert shapes.names() == shapes.own_names() == ["circle", "square"]
    assert shapes.get("square").corners == 4
    assert shapes.get("circle").area(2) == pytest.approx(12.56)


def test_a_file_that_is_added_is_a_name(shapes, folder):
    (folder / "hexagon.py").write_text("corners = 6\ndef area(a): return 2.6 * a * a\n")
    importlib.invalidate_caches()
    assert shapes.names() == ["circle", "hexagon", "square"]
    assert shapes.get("hexagon").corners == 6


def test_a_file_is_imported_when_it_is_asked_for_and_once(shapes, folder):
    shapes.names()
    assert f"{folder.name}.square" not in sys.modules
    assert shapes.get("square") is shapes.get("square") is sys.modules[f"{folder.name}.square"]
    assert f"{folder.name}.circle" not in sys.modules


@pytest.mark.parametrize("name", ["triangle", "", "base", "_drawing", "Square", " square", None, 1, True, ["square"]])
def test_an_unknown_name_is_refused_with_those_that_are_there(shapes, name):
    shapes.register("cross", corners=12, area=lambda a: 5 * a * a)
    with pytest.raises(SettingError) as caught:
        shapes.get(name)
    assert str(caught.value) == f"shape.name={name!r} is not usable: it must be one of circle, cross, square"


def test_what_is_registered_is_found_under_its_name(shapes):
    with pytest.raises(SettingError):
        shapes.get("cross")  # asked for too early, which must not be remembered
    shapes.register("cross", corners=12, area=lambda a: 5 * a * a)
    assert shapes.names() == ["circle", "cross", "square"]
    assert shapes.own_names() == ["circle", "square"]
    assert (shapes.get("cross").corners, shapes.get("cross").area(2)) == (12, 20)


def test_registering_again_replaces(shapes):
    shapes.register("cross", corners=12, area=abs)
    assert shapes.get("cross").corners == 12
    shapes.register("cross", corners=13, area=abs)
    assert shapes.get("cross").corners == 13


def test_a_name_that_is_a_file_cannot_be_registered(shapes):
    with pytest.raises(SettingError, match=r"'square' cannot be registered: shape\.name=square is there already"):
        shapes.register("square", corners=5, area=abs)
    assert shapes.get("square").corners == 4


@pytest.mark.parametrize("name", ["", "a b", "1st", "../square", "a.b", "a-b"])
def test_what_is_no_identifier_cannot_be_registered(shapes, name):
    with pytest.raises(SettingError, match="cannot be registered: a name is a Python identifier"):
        shapes.register(name, corners=5, area=abs)
    assert shapes.names() == ["circle", "square"]


def test_missing_parts_are_named_and_nothing_is_registered(shapes):
    for parts, missing in [({}, "corners, area"), ({"corners": 1}, "area"), ({"area": abs}, "corners")]:
        with pytest.raises(SettingError, match=rf"shape\.name=cross is not usable: it does not define {missing}$"):
            shapes.register("cross", **parts)
    assert shapes.names() == ["circle", "square"]


@pytest.mark.parametrize("entry", ["", ":Star"], ids=["module", "class"])
def test_an_installed_package_offers_a_choice(shapes, folder, entry):
    text = "class Star:\n    corners = 10\n    def area(a): return a\n"
    offer(folder, "star", text if entry else "corners = 10\ndef area(a): return a\n", entry)
    assert shapes.names() == ["circle", "square", "star"]
    assert shapes.get("star").corners == 10


def test_an_installed_package_cannot_take_the_place_of_what_is_there(shapes, folder):
    offer(folder, "square", "raise SystemExit('imported')\n", "")
    assert shapes.names() == ["circle", "square"]
    assert shapes.get("square").corners == 4


def test_an_offered_choice_without_its_parts_is_refused(shapes, folder):
    offer(folder, "star", "corners = 10\n", "")
    with pytest.raises(SettingError, match=r"shape\.name=star is not usable: it does not define area"):
        shapes.get("star")


@pytest.mark.parametrize("registry", [LEARNERS, TASKS, OPTIMIZERS], ids=lambda registry: registry.key)
def test_the_projects_own_choices_define_their_parts(registry):
    assert registry.own_names()
    for name in registry.own_names():
        assert all(hasattr(registry.get(name), part) for part in registry.parts)
