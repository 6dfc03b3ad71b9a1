"""docs/derivation.md says what the code does: its numbers, its counts and the names beside its equations."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections import Counter
from fractions import Fraction
from functools import cache, reduce
from pathlib import Path

import numpy as np
import pytest
import yaml

import maml_exp.core
from maml_exp.core.inner.layers.choice import pairs_pay
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient
from maml_exp.core.learners.gradient import Learner
from maml_exp.core.losses import SquaredError
from maml_exp.core.network import ModelSettings, Network
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.proof import reference
from maml_exp.core.tasks import sinusoid
from maml_exp.core.tasks.base import Batch

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TEXT = (DOCS / "derivation.md").read_text(encoding="utf-8")
SECTIONS = ("rule", "products", "algorithms", "example", "summary")
FOUND = [importlib.import_module(info.name) for info in pkgutil.walk_packages(maml_exp.core.__path__, "maml_exp.core.")]
MODULES = {module.__name__.removeprefix("maml_exp.core."): module for module in FOUND}
NETWORK = Network((1, 2, 1), "relu")
OUTER_OF = {"maml": "exact", "fomaml": "first_order", "joint": "joint"}  # what the document's names stand for
mean_square = SquaredError().mean


def script(path: Path):
    """A module of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


counted = script(ROOT / "scripts" / "profile" / "counted.py")


def learner_of(hidden: list[int], activation: str, algorithm: str, alpha: float, steps: int, points: int, pairs: bool):
    """A learner of curves through so many support and query points, in float64."""
    model, settings = ModelSettings(hidden, activation), gradient.Settings(outer=OUTER_OF[algorithm])
    task = sinusoid.Settings(shots=points, query=points)
    problem = Problem(model, settings, InnerSettings(alpha, steps), task, adam.Settings(), 1, dtype="float64")
    return Learner(problem, pairs=pairs)


def direction(learner: Learner, theta: np.ndarray, batch: Batch) -> np.ndarray:
    """The meta-gradient (P,)."""
    return learner.meta_gradient(theta, batch, np.random.default_rng(0), 0.0).vector


def loop_of(learner: Learner):
    """The inner loop of the one meta-batch that it has seen."""
    (computed,) = learner._replayed.values()
    return computed._state.loop


def section(text: str, name: str) -> str:
    """What stands between the marks of a checked part of the document."""
    (found,) = re.findall(rf"<!-- {name}: checked by tests/test_derivation.py -->\n(.*?)<!-- end -->", text, re.DOTALL)
    return found


def tables(part: str) -> list[list[list[str]]]:
    """Every table as rows of cells without backticks; the header is row 0."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", part, re.MULTILINE):
        rows = [[cell.strip(" `") for cell in line.strip("| \n").split(" | ")] for line in block.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found


# The worked example ---------------------------------------------------------------------------------------------------


def number(cell: str):
    """A Fraction, or an array of Fractions from a parenthesised list."""
    entries = [Fraction(entry) for entry in cell.strip("()").split(", ")]
    return np.array(entries, dtype=object) if cell.startswith("(") else entries[0]


def in_numbers(formula: str, cells: dict[str, str]) -> str:
    """The formula with every name replaced by its value."""

    def value(match: re.Match) -> str:
        cell = cells[match[0]]
        return f"({cell})" if cell.startswith("-") else cell

    return re.sub(r"[A-Za-z]\w*", value, formula)


def check_example(text: str) -> None:
    """Every row: its formula gives its value, its numbers are those of the formula, and the code agrees."""
    (names, given), *steps = tables(section(text, "example"))
    cells = dict(zip(names, given, strict=True))
    values = {name: number(cell) for name, cell in cells.items()}
    for name, formula, numbers, cell in [row for table in steps for row in table[1:]]:
        assert in_numbers(formula, cells) == numbers, name
        computed = eval(formula, {"__builtins__": {}}, values)
        assert np.array_equal(np.multiply(computed, 1), number(cell)), name
        assert cells.setdefault(name, cell) == cell, f"{name} has two values"
        values.setdefault(name, number(cell))
    for pairs in (True, False):
        computed = code_values(tuple(given), pairs)
        assert set(values) == set(computed) | set(names), "every quantity is compared, and nothing else"
        for name, ours in computed.items():
            exact = np.array(values[name], dtype=float)
            assert np.shape(ours) == exact.shape, name
            np.testing.assert_allclose(ours, exact, rtol=1e-12, atol=1e-12, err_msg=f"{name}, pairs={pairs}")


def theta_and_batch(given: tuple[str, ...]) -> tuple[float, np.ndarray, Batch]:
    """alpha, theta (7,) and the one task from the row of given values."""
    _, alpha, x_a, t_a, x_q, t_q, *parts = [np.array(number(cell), dtype=float) for cell in given]
    return float(alpha), np.hstack(parts), Batch(*(v.reshape(1, 1, 1) for v in (x_a, t_a, x_q, t_q)))


def gradients(given: tuple[str, ...], pairs: bool) -> dict[str, np.ndarray]:
    """The meta-gradient (7,) of maml and fomaml."""
    alpha, theta, batch = theta_and_batch(given)
    learners = {name: learner_of([2], "relu", name, alpha, 1, 1, pairs) for name in ("maml", "fomaml")}
    return {name: direction(learner, theta, batch) for name, learner in learners.items()}


@cache
def code_values(given: tuple[str, ...], pairs: bool) -> dict[str, np.ndarray]:
    """Every quantity of the worked example as the core computes it, in float64."""
    alpha, theta, batch = theta_and_batch(given)
    learner = learner_of([2], "relu", "maml", alpha, 1, 1, pairs)
    direction(learner, theta, batch)  # makes the buffers
    loop = loop_of(learner)
    first, last = loop.layers
    loop.bind(theta)
    found = {}
    for suffix, r, x, t in (("A", 0, *batch[:2]), ("Q", 1, *batch[2:])):
        residual = loop.run_pass(r, x, t)
        found[f"loss_{suffix}"] = mean_square(residual)
        found[f"u1_{suffix}"], found[f"u2_{suffix}"] = first.errors[r][0, 0], last.errors[r].item()
        found[f"d2_{suffix}"] = last.errors[r].item() / (1 if r else -alpha)
        found[f"z1_{suffix}"], found[f"z2_{suffix}"] = first.forward(r)[0, 0].copy(), last.forward(r).item()
        found[f"f1_{suffix}"], found[f"h_{suffix}"] = loop._stack._slopes[0][r][0, 0], last.inputs[r][0, 0]
        found[f"e_{suffix}"] = last.backward(r)[0, 0]
    found["G1"] = (first.inputs[1] @ first.inputs[0][0].T).item()  # its inputs end in the constant one
    found["G2"] = (last.inputs[1] @ last.inputs[0][0].T).item() + 1
    found["M2"] = (last.errors[1] * last.errors[0]).item()
    if pairs:
        kept = [first._grams["h", 1, 0], last._grams["h", 1, 0], last._grams["u", 1, 0]]
        assert [found[name] for name in ("G1", "G2", "M2")] == [gram.item() for gram in kept]

    columns = np.array([[[0.0, 1.0], [1.0, 1.0]]])  # the first layer's inputs 0 and 1, each above its constant
    bias, found["W1_Q"] = first.predict(columns, 1)[0].T
    found["b1_Q"], found["W1_Q"] = bias, found["W1_Q"] - bias
    bias, *rows = last.predict(np.array([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]]), 1)[0, 0]
    found["b2_Q"], found["W2_Q"] = bias, np.array(rows) - bias
    found["z_after"] = first.predict(np.array([[[batch.x_support.item()], [1.0]]]), 1)[0, :, 0]
    found["loss_A_after"] = mean_square(loop.predict(batch.x_support, 1) - batch.y_support)
    found["z_before"] = first.predict(np.array([[[batch.x_query.item()], [1.0]]]), 0)[0, :, 0]
    found["loss_Q_before"] = mean_square(loop.predict(batch.x_query, 0) - batch.y_query)

    loop.start_pull_back()
    rzs = loop._stack.r_forward(0)
    loop._tails[0].r_error(0, rzs[-1], out=last.r_errors[0])
    loop._stack.r_backward(0, rzs)
    found["Rz1"], found["Rz2"], found["Rh"] = rzs[0][0, 0], rzs[1].item(), last.r_inputs[0][0, 0]
    found["Ru1"], found["Ru2"], found["Re"] = first.r_errors[0][0, 0], last.r_errors[0].item(), last.r_backward(0)[0, 0]
    found |= named(gradients(given, pairs)["fomaml"], ("V1", "c1", "V2", "c2"))
    found |= named(gradients(given, pairs)["maml"], ("gW1", "gb1", "gW2", "gb2"))
    return {name: np.array(value) for name, value in found.items()}


def named(gradient: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The four parts of a gradient (7,)."""
    return dict(zip(names, (gradient[0:2], gradient[2:4], gradient[4:6], gradient[6]), strict=True))


def check_summary(text: str) -> None:
    """The two meta-gradients side by side."""
    given = tuple(tables(section(text, "example"))[0][1])
    ((_, *rows),) = tables(section(text, "summary"))
    assert [row[0] for row in rows] == ["fomaml", "maml"]
    for pairs in (True, False):
        for algorithm, *cells in rows:
            shown = np.hstack([number(cell) for cell in cells]).astype(float)
            np.testing.assert_allclose(shown, gradients(given, pairs)[algorithm], rtol=1e-12, atol=1e-12)


# The counts -----------------------------------------------------------------------------------------------------------

TASKS, POINTS, WIDTH = 4, 3, 8
METHODS = ["forward", "learn", "backward", "start_pull_back", "r_forward", "r_backward", "pulled_back", "gradient"]


@cache
def products(algorithm: str, pairs: bool, steps: int) -> dict[tuple[str, str], float]:
    """Large and small products of the layer between two hidden ones, by method, in units of one product's flops."""
    flops: Counter[tuple[str, str]] = Counter()
    under_way: list[str] = []

    def add(left: np.ndarray, right: np.ndarray, result: np.ndarray) -> None:
        if under_way and left.ndim > 1 and left.shape[-2] > 1:  # not a sum for the bias
            small = left.shape[-2:] == (POINTS, POINTS) or result.shape[-2:] == (POINTS, POINTS)
            flops[under_way[-1], "small" if small else "large"] += counted.flops(left, result)

    def counting(method: str, function):
        def call(*args, **options):
            under_way.append(method)
            try:
                return function(*args, **options)
            finally:
                under_way.pop()

        return call

    rng = np.random.default_rng(0)
    learner = learner_of([WIDTH, WIDTH], "tanh", algorithm, 0.1, steps, POINTS, pairs)
    theta = learner.init(rng)
    batch = Batch(*rng.standard_normal((4, TASKS, POINTS, 1)))
    with counted.counting(add):
        direction(learner, theta, batch)  # makes the buffers
        layer = loop_of(learner).layers[1]
        for method in METHODS:
            setattr(layer, method, counting(method, getattr(layer, method)))
        direction(learner, theta, batch)
    unit = {"large": 2 * TASKS * POINTS * WIDTH**2, "small": 2 * TASKS * POINTS**2 * WIDTH}
    return {key: made / unit[key[1]] for key, made in flops.items()}


def check_products(text: str) -> None:
    """The table of products, method by method, for several numbers of steps."""
    ((_, *rows, total),) = tables(section(text, "products"))
    assert [row[0] for row in rows] == METHODS
    for steps in (1, 2, 3, 4):
        columns = [("large", True), ("small", True), ("large", False)]
        for column, (kind, pairs) in enumerate(columns, start=1):
            counted = products("maml", pairs, steps)
            for method, *cells in rows:
                assert eval(cells[column - 1], {"S": steps}) == counted.get((method, kind), 0), (method, kind, steps)
            assert eval(total[column], {"S": steps}) == sum(v for (_, k), v in counted.items() if k == kind)
        assert not any(kind == "small" for _, kind in products("maml", False, steps))


def check_algorithms(text: str) -> None:
    """Flops of the large products of every algorithm with one step, over T K H^2."""
    ((_, *rows),) = tables(section(text, "algorithms"))
    for algorithm, cell in rows:
        counted = products(algorithm, True, 1)
        assert float(cell) == 2 * sum(value for (_, kind), value in counted.items() if kind == "large"), algorithm


def check_rule(text: str) -> None:
    """The first width of a square layer that stays pairs."""
    ((_, *rows),) = tables(section(text, "rule"))
    for steps, points, width in [map(int, row) for row in rows]:
        assert pairs_pay(width, width, steps * points)
        assert not pairs_pay(width - 1, width - 1, steps * points)


# The tests ------------------------------------------------------------------------------------------------------------

CHECKS = {name: globals()[f"check_{name}"] for name in SECTIONS}


@pytest.mark.parametrize("name", SECTIONS)
def test_numbers_are_the_codes(name):
    CHECKS[name](TEXT)


@pytest.mark.parametrize("name", SECTIONS)
def test_any_changed_number_is_noticed(name):
    part = section(TEXT, name)
    start = TEXT.index(part)
    lines = [match.span() for match in re.finditer(r"^\|.*$", part, re.MULTILINE)]
    places = [match for a, b in lines for match in re.compile(r"(?<![\w.])\d+").finditer(part, a, b)]
    assert len(places) >= 3
    for place in places:
        changed = f"{part[: place.start()]}{int(place[0]) + 1}{part[place.end() :]}"
        with pytest.raises(AssertionError):
            CHECKS[name](TEXT[:start] + changed + TEXT[start + len(part) :])


def test_example_agrees_with_the_complex_step():
    given = tuple(tables(section(TEXT, "example"))[0][1])
    alpha, theta, batch = theta_and_batch(given)
    ours = gradients(given, True)
    for algorithm in ("maml", "fomaml"):
        learner = learner_of([2], "relu", algorithm, alpha, 1, 1, True)
        exact = [
            reference.complex_step(
                lambda point, learner=learner: learner.reference_loss(point, batch, None, 0.0, theta),
                theta,
                unit,
            )
            for unit in np.eye(theta.size)
        ]
        np.testing.assert_allclose(ours[algorithm], exact, rtol=1e-12, atol=1e-12)


def test_the_documents_names_are_the_presets_of_the_same_names():
    for name, outer in OUTER_OF.items():
        assert yaml.safe_load((ROOT / "conf" / "algorithm" / f"{name}.yaml").read_text())["outer"] == outer


def test_counts_named_in_the_text():
    one = products("maml", True, 1)
    large, small = (int(sum(v for (_, kind), v in one.items() if kind == k)) for k in ("large", "small"))
    fraction = Fraction(small, large)
    sum_of_both = rf"{large} \cdot 2 T K H^2 + {small} \cdot 2 T K^2 H = {2 * large} T K H^2"
    assert rf"{sum_of_both} \left( 1 + \frac{{{fraction.numerator}K}}{{{fraction.denominator}H}} \right)" in TEXT
    assert f"{10 * (256 + 256)} against {256 * 256}" in TEXT


def resolve(name: str) -> object:
    """What `Class.method`, `module.function` or a bare name means in maml_exp.core."""
    head, *rest = name.split(".")
    named = [module for full_name, module in MODULES.items() if full_name.split(".")[-1] == head]
    assert len(named) <= 1, f"{head} is the name of several modules"
    owners = named or [module for module in MODULES.values() if hasattr(module, head)]
    assert owners, f"{name} is nowhere in maml_exp.core"
    return reduce(getattr, rest if named else [head, *rest], owners[0])


def test_every_equation_names_the_code_that_implements_it():
    blocks = re.split(r"^\$\$\s(?:.*?)\s\$\$$", TEXT, flags=re.MULTILINE | re.DOTALL)[1:]
    assert len(blocks) > 20
    assert TEXT.count("$$") == 2 * len(blocks)
    for block in blocks:
        line = block.strip().splitlines()[0]
        assert line.startswith("*code:* `"), f"an equation without its code, before: {line}"
        for name in re.findall(r"`([^`]+)`", line):
            assert callable(resolve(name))


def test_every_dotted_name_exists():
    prose = re.sub(r"^\$\$\s.*?\s\$\$$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"`([A-Za-z_]\w*(?:\.\w+)+)`", prose))
    assert len(names) > 20
    for name in names:
        resolve(name)


def test_every_figure_exists_and_is_small():
    figures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert len(figures) == 3
    for figure in figures:
        assert 0 < (DOCS / figure).stat().st_size < 200_000


def learned_rate_by_hand(alpha):
    """dL/dkappa of y = w x + b from zero, support and query point (1, 1), one step with rate kappa alpha."""
    kappa = 1 + 1e-30j
    d = 2 * (0 - 1)
    w = b = -kappa * alpha * d
    return ((w + b - 1) ** 2).imag / 1e-30


def test_the_worked_example_of_learned_rates():
    assert learned_rate_by_hand(Fraction(1, 4).__float__()) == pytest.approx(0)
    assert learned_rate_by_hand(Fraction(1, 8).__float__()) == pytest.approx(-0.5)
    for words in (r"\tfrac14 \cdot (-2) = -\tfrac12", r"$v = 0$ and $dL/d\kappa = 0$"):
        assert words in TEXT


def test_the_worked_example_of_a_context():
    kappa = 1 + 1e-30j
    phi = -kappa * 0.25 * 2 * (0 - 1)  # phi_1
    assert phi.real == pytest.approx(0.5)
    assert ((phi - 1) ** 2).imag / 1e-30 == pytest.approx(-0.5)
    assert r"$v_\phi = 2(\tfrac12 - 1) = -1$, and $dL/d\kappa = u W_\phi^\top v_\phi = -\tfrac12$" in TEXT
