"""The rooms of the package: who may import whom, where the tools around it are used, and how large a room may grow."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import maml_exp

PACKAGE = Path(maml_exp.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
# a room imports itself and those of earlier stages; rooms of one stage do not import each other
STAGES = [["core"], ["data"], ["config"], ["store"], ["run"], ["sweep", "comparison"], ["commands"], ["cli", "api"]]
STAGE_OF = {room: number for number, rooms in enumerate(STAGES) for room in rooms}
DOORS = {"__init__.py", "__main__.py"}  # of the package itself: they may import every room
# Hydra's runtime: what the rest may use of it is composition and the grammar of overrides
RUNTIME = ("hydra.main", "hydra.core.hydra_config", "hydra.core.plugins", "hydra.plugins", "hydra.experimental")
RUNTIME += ("hydra._internal", "hydra.core.global_hydra", "hydra.core.utils", "hydra.types")
# a pure function, by which the basic sweeper itself splits a sweep's values: the plan of a sweep cannot differ from it
NO_RUNTIME = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
ONLY_IN = {
    "tensorboardX": {"run/tensorboard.py"},
    "matplotlib": {"run/figures/drawing.py", "data/glyphs/fonts.py"},  # drawing, and the font files that come with it
}

MOST_FILES = 12  # of a folder's own
MOST_LINES = 330  # of a file
MOST_SHARE = 0.3  # of the package's lines in one folder; core, all of it together, is exempt


def names_used(path):
    """Every module or attribute of a module that a file imports or names through an import, wherever it stands."""
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    found, bound = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.add(alias.name)
                top_level = alias.name.partition(".")[0]
                bound[alias.asname or top_level] = alias.name if alias.asname else top_level
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                found.add(f"{node.module}.{alias.name}")
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found | {dotted(node, bound) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - {None}


def dotted(node, bound):
    """hydra.core.plugins.Plugins for the expression of it; None where its root is no import."""
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if isinstance(node, ast.Attribute):
        root = dotted(node.value, bound)
        return root and f"{root}.{node.attr}"
    return None


def texts_in(path):
    """Strings that name a module of ours: what is imported by its name."""
    nodes = ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {text for text in texts if all(part.isidentifier() for part in text.split("."))}


def is_below(name, module):
    return name == module or name.startswith(module + ".")


def room_of(path):
    """The room of a file: its folder below the package, or the module itself."""
    return path.parts[0].removesuffix(".py")


def rooms_used(path):
    names = {name for name in names_used(path) | texts_in(path) if is_below(name, "maml_exp")}
    return {name.split(".")[1] for name in names if "." in name} & set(STAGE_OF)


def test_every_file_stands_in_a_room():
    assert {room_of(path) for path in FILES if path.name not in DOORS or len(path.parts) > 1} <= set(STAGE_OF)
    assert {"core", "config", "store", "run", "sweep", "comparison", "commands", "cli"} <= {*map(room_of, FILES)}


@pytest.mark.parametrize("path", [path for path in FILES if str(path) not in DOORS], ids=str)
def test_a_room_imports_only_earlier_ones(path):
    room = room_of(path)
    for other in rooms_used(path) - {room}:
        assert STAGE_OF[other] < STAGE_OF[room], f"{path} imports {other}"


def test_imports_are_found_wherever_they_stand():
    assert rooms_used(Path("run/run.py")) >= {"core", "config", "store", "run"}
    assert "maml_exp.run.figures.of_run.draw_all" in names_used(Path("run/run.py"))  # inside a function
    assert "hydra.main" in names_used(Path("sweep/hydra_run.py"))  # an attribute of what was imported
    assert "sweep" in rooms_used(Path("commands/__init__.py")) | rooms_used(Path("cli.py"))


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) != "sweep"], ids=str)
def test_hydras_runtime_is_met_in_sweep_alone(path):
    used = {name for name in names_used(path) if any(is_below(name, module) for module in RUNTIME)}
    allowed = {NO_RUNTIME, f"{NO_RUNTIME}.split_arguments"} if path == Path("config/overrides.py") else set()
    assert used <= allowed


@pytest.mark.parametrize("module", ONLY_IN)
def test_a_tool_is_imported_where_its_work_is_done(module):
    using = {path.as_posix() for path in FILES if any(is_below(name, module) for name in names_used(path))}
    assert using == ONLY_IN[module]


def lines(path):
    return len((PACKAGE / path).read_text(encoding="utf-8").splitlines())


def test_no_folder_holds_too_many_files():
    counts = Counter(path.parent for path in FILES)
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_no_folder_but_core_holds_too_much_of_the_package():
    total = sum(map(lines, FILES))
    sizes = Counter()
    for path in FILES:
        sizes["core" if room_of(path) == "core" else str(path.parent)] += lines(path)
    del sizes["core"]
    assert {folder: size for folder, size in sizes.items() if size > MOST_SHARE * total} == {}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_is_too_long(path):
    assert lines(path) <= MOST_LINES
