"""The gradient check passes, and fails on every mutation: a check that cannot fail proves nothing."""

import ast
import inspect
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from maml_exp.core.activations import ACTIVATIONS
from maml_exp.core.inner import below, stack, tails, trunk, whole
from maml_exp.core.inner import loop as inner_loop
from maml_exp.core.inner.layers import choice, matrices, pairs, rates
from maml_exp.core.inner.layers import layer as layers
from maml_exp.core.inner.layers.layer import Layer
from maml_exp.core.inner.layers.matrices import MultipliedOutLayer
from maml_exp.core.inner.layers.pairs import PairedLayer
from maml_exp.core.inner.settings import InnerSettings
from maml_exp.core.learners import gradient as learner
from maml_exp.core.learners.blocks import rates as learned_rates
from maml_exp.core.losses import SquaredError
from maml_exp.core.network import INITIALIZERS, ModelSettings
from maml_exp.core.optimizers import adam
from maml_exp.core.problem import Problem
from maml_exp.core.proof import gradcheck
from maml_exp.core.tasks import sinusoid

OUTER = ("exact", "first_order", "reptile", "joint")
METHODS = {outer: learner.Settings(outer=outer) for outer in OUTER}
# so few that every line of inner/ acts in one of them
AXES = METHODS | {
    "boil": learner.Settings(moves="body"),
    "anil": learner.Settings(moves="head", step_losses="all"),
    "anil in minibatches": learner.Settings(moves="head", minibatch=3),
    "rates": learner.Settings(learn_rates=True, rates="layer_and_step", step_losses="all"),
    "rates of first order": learner.Settings(outer="first_order", learn_rates=True, step_losses="all"),
    "rates by weight": learner.Settings(learn_rates=True, rates="weight", step_losses="all"),
    "weights of first order": learner.Settings(
        outer="first_order", learn_rates=True, rates="weight", step_losses="all"
    ),
    "proximal": learner.Settings(proximal=2.0, step_losses="all"),
    "proximal reptile": learner.Settings(outer="reptile", proximal=2.0),
    "context": learner.Settings(context=2, context_start="learned", step_losses="all", proximal=2.0),
    "context by weight": learner.Settings(
        context=2, context_start="learned", step_losses="all", learn_rates=True, rates="weight"
    ),
    "two heads": learner.Settings(support_loss="head"),
    "learned loss": learner.Settings(support_loss="learned", loss_hidden=[4]),
}


def all_checks(
    hidden=((6, 4),),
    activations=tuple(ACTIVATIONS),
    steps=(1, 3),
    methods=METHODS,
    initializer="uniform_fan_in",
    inner_lr=0.01,
    seed=0,
):
    model, inner = ModelSettings(initializer=initializer), InnerSettings(inner_lr)
    problem = Problem(model, learner.Settings(), inner, sinusoid.Settings(shots=4, query=6), adam.Settings(), 3)
    return gradcheck.checks(problem, methods, hidden=hidden, activations=activations, steps=steps, seed=seed)


def is_detected(**options):
    return any(not check.passed for check in all_checks(**options))


@pytest.mark.parametrize("hidden", [(5,), (40,), (6, 4), (40, 40), (7, 5, 6)], ids=str)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_check_passes(hidden, activation):
    checks = list(all_checks([hidden], [activation], [0, 1, 2, 5]))
    assert [check for check in checks if not check.passed] == []
    # the rows: gradient, Hessian's values and symmetry, and each method at each number of steps it makes
    made = [(check.what, check.steps) for check in checks]
    inner = [("inner gradient", 0), ("Hessian product", 1), ("Hessian symmetry", 1)]
    adapting = [(f"{outer} meta-gradient", steps) for outer in ("exact", "first_order") for steps in (0, 1, 2, 5)]
    reptile = [("reptile meta-gradient", steps) for steps in (1, 2, 5)]  # without a step it has none
    assert made == [*inner, *adapting, *reptile, ("joint meta-gradient", 0)]
    assert len({check[:3] for check in checks}) == len(checks)
    assert {check.network for check in checks} == {"-".join(map(str, (1, *hidden, 1))) + " " + activation}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("initializer", sorted(INITIALIZERS))
def test_every_check_passes_elsewhere(seed, initializer):
    # tanh and not ReLU: from near-zero weights and zero biases a ReLU layer may sit on its kink
    assert not is_detected(activations=["tanh", "softplus"], seed=seed, initializer=initializer, inner_lr=0.1)


def test_a_dead_relu_layer_is_no_false_alarm():
    # both units off and zero biases: the next layer sits exactly on its kink
    assert not is_detected(hidden=[(2, 2)], activations=["relu"], initializer="truncated_normal", seed=4)


@pytest.mark.parametrize(
    ("error", "passed"), [(0.0, True), (1e-10, True), (1.1e-10, False), (np.inf, False), (np.nan, False)]
)
def test_a_check_passes_within_the_tolerance_only(error, passed):
    assert gradcheck.Check("what", "network", 1, error).passed is passed


@pytest.mark.parametrize(
    ("ours", "exact", "error"),
    [([3.0, 4.0], [3.0, 4.0], 0), ([3, 4], [0, 4], 3 / 4), ([1], [2], 0.5), ([0], [0], 0), ([1e-3], [0], np.inf)],
)
def test_relative_error_is_relative_to_the_exact_value(ours, exact, error):
    assert gradcheck.relative_error(np.array(ours), np.array(exact)) == pytest.approx(error, rel=1e-15)


DERIVATIVES = [
    (name, part)
    for name, activation in sorted(ACTIVATIONS.items())
    for part in ("value", "slope", "curvature")
    if getattr(activation, part)
]


def scaled(function, factor=1.001):
    def mutated(*args, out=None, **kwargs):
        return np.multiply(function(*args, **kwargs), factor, out=out)

    return mutated


@pytest.mark.parametrize(("name", "part"), DERIVATIVES)
def test_a_wrong_activation_is_detected(name, part, monkeypatch):
    right = ACTIVATIONS[name]
    monkeypatch.setitem(ACTIVATIONS, name, right._replace(**{part: scaled(getattr(right, part))}))
    assert is_detected(activations=[name])
    for other in sorted(set(ACTIVATIONS) - {name}):
        assert not is_detected(activations=[other], steps=[1])


def test_a_missing_curvature_is_detected(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "tanh", ACTIVATIONS["tanh"]._replace(curvature=None))
    assert is_detected(activations=["tanh"])


@pytest.mark.parametrize("kind", [PairedLayer, MultipliedOutLayer])
@pytest.mark.parametrize("method", ["forward", "backward", "r_forward", "r_backward"])
def test_a_wrong_product_is_detected(kind, method, monkeypatch):
    right = getattr(kind, method)

    def mutated(self, *args, **kwargs):
        product = right(self, *args, **kwargs)
        product *= 1.001
        return product

    monkeypatch.setattr(kind, method, mutated)
    assert is_detected(activations=["tanh"])


@pytest.mark.parametrize(
    ("kind", "method"),
    [(MultipliedOutLayer, "pulled_back"), (MultipliedOutLayer, "learn"), (MultipliedOutLayer, "start_pull_back")],
)
def test_a_forgotten_part_is_detected(kind, method, monkeypatch):
    def stale(self, *args):
        for kept in [*self._adapted, self._v]:
            kept.whole.fill(0)

    monkeypatch.setattr(kind, method, stale)
    assert is_detected(activations=["tanh"])


@pytest.mark.parametrize("row", [0, -1], ids=["weights", "bias"])
@pytest.mark.parametrize("index", [0, 1, 2], ids=["first layer", "middle layer", "last layer"])
def test_a_wrong_row_of_the_gradient_is_detected(row, index, monkeypatch):
    right, width = Layer.gradient, [1, 6, 4][index]

    def mutated(self, out, second_order):
        right(self, out, second_order)
        if self.n - self.bias_is_data == width:
            out[row] *= 1.001

    monkeypatch.setattr(Layer, "gradient", mutated)
    assert is_detected(activations=["tanh"])


@pytest.mark.parametrize(("outer", "wrong"), [pair for pair in permutations(OUTER, 2) if pair[1] != "reptile"])
def test_a_method_taken_for_another_is_detected(outer, wrong, monkeypatch):
    right = learner.Learner.meta_gradient

    def mutated(self, *args):
        mistaken = learner.Learner(replace(self.problem, algorithm=METHODS[wrong]), self._structure.pairs)
        return right(mistaken if self.outer == outer else self, *args)

    monkeypatch.setattr(learner.Learner, "meta_gradient", mutated)
    with np.errstate(invalid="ignore"):  # of two equal methods H v is zero, and its symmetry no number
        found = list(all_checks(activations=["tanh"], methods={outer: METHODS[outer]}))
    assert any(check.what == f"{outer} meta-gradient" and not check.passed for check in found)


@pytest.mark.parametrize("method", ["scale", "error", "r_error"])
def test_a_wrong_loss_is_detected(method, monkeypatch):
    right = getattr(SquaredError, method)

    def mutated(self, *args, **kwargs):
        found = right(self, *args, **kwargs)
        if method == "scale":
            return found * 1.001
        out = kwargs["out"]
        out *= 1.001
        return found

    monkeypatch.setattr(SquaredError, method, mutated)
    assert is_detected(activations=["tanh"])


def test_one_wrong_variant_of_a_learner_is_detected(monkeypatch):
    right = learner.Learner.meta_gradient

    def mutated(self, *args):
        found = right(self, *args)
        return found._replace(vector=1.001 * found.vector) if self._structure.pairs is False else found

    monkeypatch.setattr(learner.Learner, "meta_gradient", mutated)
    assert [check.what for check in all_checks(activations=["tanh"]) if not check.passed][-1] == "joint meta-gradient"


def mutable_statements(module):
    """Line and text of every `a += b` and `a *= b` behind the gradient (predictions have tests of their own)."""
    tree = ast.parse(inspect.getsource(module))
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and "predict" not in function.name:
            found += [
                (node.lineno, ast.unparse(node)) for node in ast.walk(function) if isinstance(node, ast.AugAssign)
            ]
    return found


def without_line(module, line):
    """The module's names, executed from its source with the `a +=` of `a += b` dropped at `line`.

    b is still computed: it may keep something that another term needs.
    """

    class Drop(ast.NodeTransformer):
        def visit_AugAssign(self, node):
            return ast.copy_location(ast.Expr(node.value), node) if node.lineno == line else node

    names = {"__name__": module.__name__ + "_mutated"}
    exec(compile(Drop().visit(ast.parse(inspect.getsource(module))), module.__file__, "exec"), names)
    return names


def planted(module, line, monkeypatch):
    """Have every user of the module's classes use those without the term at `line`."""
    names = without_line(module, line)
    if module is layers:  # the base of them all: its functions are exchanged
        for name, function in vars(names["Layer"]).items():
            if inspect.isfunction(function):
                monkeypatch.setattr(Layer, name, function)
        return
    for user in USERS[module]:
        for name, kind in vars(user).items():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                monkeypatch.setattr(user, name, names[name])


USERS = {  # of each module, where its classes are made
    layers: [],
    pairs: [choice],
    matrices: [choice],
    rates: [learned_rates, choice],
    below: [inner_loop, trunk],
    stack: [inner_loop, tails, trunk],
    tails: [inner_loop],
    trunk: [whole],
    inner_loop: [whole],
    whole: [learner],
}
STATEMENTS = [(module, line, text) for module in USERS for line, text in mutable_statements(module)]


@pytest.mark.parametrize(
    ("module", "line"),
    [statement[:2] for statement in STATEMENTS],
    ids=[f"{module.__name__.split('.')[-1]}:{line}: {text}" for module, line, text in STATEMENTS],
)
def test_every_dropped_term_is_detected(module, line, monkeypatch):
    planted(module, line, monkeypatch)
    assert is_detected(activations=["tanh"], methods=AXES)


@pytest.mark.parametrize("small_matrix", [0, 10**9])
def test_gradients_are_right_with_and_without_copied_transposes(small_matrix, monkeypatch):
    # at the sizes checked all are copied; those of wide layers never are
    monkeypatch.setattr(layers, "SMALL_MATRIX", small_matrix)
    assert not is_detected(activations=["tanh"])


def test_unchanged_copies_pass(monkeypatch):
    # the dropped terms above are found for what they are, not because a module was executed a second time
    for module in USERS:
        planted(module, None, monkeypatch)
    assert not is_detected(activations=["tanh"], methods=AXES)
