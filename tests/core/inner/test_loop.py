import numpy as np
import pytest

from maml_exp.core.inner import loop as module
from maml_exp.core.inner.layers.choice import make_layer
from maml_exp.core.inner.loop import InnerLoop
from maml_exp.core.inner.passes import query_passes, support_passes
from maml_exp.core.inner.structure import Structure
from maml_exp.core.losses import SquaredError
from maml_exp.core.proof import reference

from ..helpers import complex_step_gradient, learner_for, meta_gradient, random_problem, relative_error

each_kind = pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "multiplied_out"])
each_activation = pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "sine"])
each_depth = pytest.mark.parametrize("hidden", [(5,), (6, 4), (7, 5, 6)])
LR = 0.07


def loop_of(network, batch, steps, pairs):
    """All layers move, by rate LR, for a meta-batch of these sizes."""
    tasks, shots = batch.x_support.shape[:2]
    omega = (*[0.0] * steps, 1.0)
    passes = [*support_passes(steps, shots, LR), *query_passes(omega, batch.x_query.shape[1], tasks)]
    every = (True,) * len(network.shapes)
    structure = Structure(network=network, loss=SquaredError(), moves=every, pairs=pairs)
    return InnerLoop(structure, (tasks,), passes, np.float64)


def pulled_back_through_one_step(network, theta, batch, pairs):
    """v and (I - alpha H) v of a single task."""
    loop = loop_of(network, batch, 1, pairs)
    loop.bind(theta)
    loop.run_pass(0, batch.x_support, batch.y_support)
    loop.run_pass(1, batch.x_query, batch.y_query)
    loop.start_pull_back()
    v = loop.gradient(np.empty_like(theta), second_order=False)
    loop.pull_back(0)
    return v, loop.gradient(np.empty_like(theta))


def one_task(batch, t, query):
    """Task t's support points with task `query`'s query points, as a meta-batch of one."""
    return type(batch)(*[a[t, None] for a in batch[:2]], *[a[query, None] for a in batch[2:]])


@each_depth
@each_activation
def test_reference_gradient_is_the_complex_step_of_the_reference_loss(hidden, activation):
    network, theta, batch = random_problem(hidden, activation)
    x, y = batch.x_support[0], batch.y_support[0]
    exact = complex_step_gradient(lambda theta: reference.loss(network, theta, x, y), theta)
    assert relative_error(reference.gradient(network, theta, x, y), exact) < 1e-13


@each_depth
@each_activation
@each_kind
def test_hessian_products_are_those_of_the_full_hessian(hidden, activation, pairs):
    network, theta, batch = random_problem(hidden, activation, tasks=3)
    x, y = batch.x_support[0], batch.y_support[0]
    # column p: the complex step of the gradient along parameter p
    hessian = complex_step_gradient(lambda theta: reference.gradient(network, theta, x, y), theta)
    assert relative_error(hessian, hessian.T) < 1e-13
    for query in range(3):
        v, pulled = pulled_back_through_one_step(network, theta, one_task(batch, 0, query), pairs)
        # the difference v - pulled has lost digits: compare where alpha H v is a large part of v
        assert relative_error((v - pulled) / LR, hessian @ v) < 1e-11


@each_depth
@each_activation
@each_kind
def test_hessian_products_are_symmetric(hidden, activation, pairs):
    network, theta, batch = random_problem(hidden, activation, tasks=4)
    pulled = [pulled_back_through_one_step(network, theta, one_task(batch, 0, q), pairs) for q in range(4)]
    vs = np.stack([v for v, _ in pulled])
    products = np.stack([(v - p) / LR for v, p in pulled])
    forms = vs @ products.T  # v_i . H v_j
    assert np.abs(forms - forms.T).max() < 1e-11 * np.abs(forms).max()
    assert np.abs(forms - np.diag(np.diag(forms))).max() > 1e-3 * np.abs(forms).max()  # off the diagonal, not 0 = 0


@each_activation
@each_kind
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_predictions_after_every_step_are_the_references(activation, pairs, steps):
    network, theta, batch = random_problem((6, 4), activation)
    loop = loop_of(network, batch, steps, pairs)
    loop.bind(theta)
    for r in range(steps + 1):
        exact = []
        for x, y, x_query, _ in zip(*batch, strict=True):
            exact.append(network.predict(reference.adapted(network, theta, x, y, LR, r), x_query))
        assert relative_error(loop.predict(batch.x_query, r), exact) < 1e-12
        if r < steps:
            residual = loop.run_pass(r, batch.x_support, batch.y_support)
        else:
            residual = loop.run_pass(r, batch.x_query, batch.y_query)
            assert relative_error(residual, np.subtract(exact, batch.y_query)) < 1e-12


@each_kind
def test_predicting_between_passes_changes_nothing(pairs):
    network, theta, batch = random_problem((6, 4), "tanh", query=4)  # K = Q: predictions fit the same buffers
    gradients = []
    for look in (False, True):
        loop = loop_of(network, batch, 2, pairs)
        loop.bind(theta)
        for r in range(3):
            loop.run_pass(r, *(batch[:2] if r < 2 else batch[2:]))
            if look:
                loop.predict(batch.x_query, r)
        loop.start_pull_back()
        for s in (1, 0):
            loop.pull_back(s)
        gradients.append(loop.gradient(np.empty_like(theta)))
    np.testing.assert_array_equal(*gradients)


@each_activation
@pytest.mark.parametrize("mix", [(True, False, True, False), (False, True, False, True), (True, True, False, False)])
def test_representations_mix_layer_by_layer(activation, mix, monkeypatch):
    network, theta, batch = random_problem((7, 5, 6), activation)
    uniform = meta_gradient(learner_for(network, "exact", batch, LR, 3, pairs=True), theta, batch).vector
    choices, made = iter(mix), []

    def mixed(*args, **kwargs):
        made.append(make_layer(*args, **{**kwargs, "pairs": next(choices)}))
        return made[-1]

    monkeypatch.setattr(module, "make_layer", mixed)
    mixed_gradient = meta_gradient(learner_for(network, "exact", batch, LR, 3), theta, batch).vector
    assert tuple(type(layer).__name__ == "PairedLayer" for layer in made) == mix
    assert relative_error(mixed_gradient, uniform) < 1e-12
