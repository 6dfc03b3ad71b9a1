import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maml_exp.core import arrays as rows
from maml_exp.core.inner.layers.choice import make_layer, pairs_pay
from maml_exp.core.inner.layers.matrices import MultipliedOutLayer
from maml_exp.core.inner.layers.pairs import PairedLayer
from maml_exp.core.inner.layers.rates import StepRates, UnitRates
from maml_exp.core.inner.passes import Pass, support_passes

from ..helpers import relative_error

TASKS, SHOTS, QUERY = 3, 4, 5
each_kind = pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "multiplied_out"])
each_step_count = pytest.mark.parametrize("steps", [0, 1, 2, 4])
each_rates = pytest.mark.parametrize("kappa", [False, True], ids=["alpha", "rates"])
with_steps = pytest.mark.parametrize("steps", [1, 2, 4])  # for what exists only behind an inner step
each_block_size = pytest.mark.parametrize("small_product", [30, 10**6])  # sums over rows in several products, in one
each_shape = pytest.mark.parametrize(("n", "m"), [(3, 2), (4, 1), (1, 3), (1, 1)])


class Driven:
    """A layer taken through all passes with random inputs and errors, and every product it returned.

    With `ones` it is a first layer: its bias is data and its inputs are constant. With `kappa` its steps have rates.
    """

    def __init__(self, n, m, steps, pairs, ones=False, dtype=np.float64, kappa=False):
        rng = np.random.default_rng([n, m, steps])
        draw = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
        query = SHOTS if steps == 2 else QUERY  # where they are as many, both kinds of passes share buffers
        points = [SHOTS] * steps + [query]
        kinds = {"bias_is_data": ones, "constant_inputs": ones, "rates": StepRates if kappa else UnitRates}
        self.layer = layer = make_layer(n, m, (TASKS,), passes_of(points), dtype, **kinds, pairs=pairs)
        self.kappa = 0.5 + rng.random(steps).astype(dtype) if kappa else np.ones(steps, dtype)
        if kappa:
            layer.rates.kappa = list(self.kappa[:, None])
        self.matrix = draw(n + 1, m)
        layer.bind(self.matrix)
        self.h, self.u = [draw(TASKS, k, n) for k in points], [draw(TASKS, k, m) for k in points]
        self.rh, self.ru = [draw(TASKS, SHOTS, n) for _ in range(steps)], [draw(TASKS, SHOTS, m) for _ in range(steps)]
        if ones:  # constant inputs: their derivative is zero
            self.rh = [np.zeros_like(r) for r in self.rh]
        self.forward, self.backward, self.r_forward, self.r_backward = {}, {}, {}, {}
        for r in range(steps + 1):
            layer.inputs[r][...] = with_one(self.h[r]) if ones else self.h[r]
            self.forward[r] = layer.forward(r).copy()
            layer.errors[r][...] = self.u[r]
            if not ones:  # nothing lies behind the first layer
                self.backward[r] = layer.backward(r).copy()
            if r < steps:
                layer.learn(r)
        layer.start_pull_back()
        for s in reversed(range(steps)):
            if not ones:
                layer.r_inputs[s][...] = self.rh[s]
            self.r_forward[s] = layer.r_forward(s).copy()
            layer.r_errors[s][...] = self.ru[s]
            if not ones:
                self.r_backward[s] = layer.r_backward(s).copy()
            layer.pulled_back(s)

    def weights(self, r, t):
        """[W_r; b_r] of task t, by its definition."""
        return self.matrix + sum(self.kappa[s] * with_one(self.h[s][t]).T @ self.u[s][t] for s in range(r))

    def v(self, s, t):
        """[V; c] of task t once everything behind step s is pulled back."""
        pulled = with_one(self.h[-1][t]).T @ self.u[-1][t]
        for r in range(s, len(self.rh)):
            pulled = pulled + with_one(self.h[r][t]).T @ self.ru[r][t]
            pulled = pulled + with_zero(self.rh[r][t]).T @ self.u[r][t]  # the last pair has no bias part
        return pulled


def passes_of(points):
    """Support passes, then one query pass, of so many points."""
    *support, query = points
    passes = [support_passes(len(support), k, 0.1)[s] for s, k in enumerate(support)]
    return [*passes, Pass(len(support), query, 1.0)]


def with_one(h):
    return np.concatenate([h, np.ones_like(h[..., :1])], axis=-1)


def with_zero(h):
    return np.concatenate([h, np.zeros_like(h[..., :1])], axis=-1)


def per_task(function):
    return np.stack([function(t) for t in range(TASKS)])


@each_rates
@each_kind
@each_step_count
@each_shape
@pytest.mark.parametrize("ones", [True, False])
def test_forward_is_h_times_the_adapted_weights(n, m, steps, pairs, ones, kappa):
    driven = Driven(n, m, steps, pairs, ones, kappa=kappa)
    for r in range(steps + 1):
        exact = per_task(lambda t, r=r: with_one(driven.h[r][t]) @ driven.weights(r, t))
        assert relative_error(driven.forward[r], exact) < 1e-13


@each_rates
@each_kind
@each_step_count
@each_shape
@pytest.mark.parametrize("ones", [True, False])
def test_predict_is_any_inputs_times_the_adapted_weights(n, m, steps, pairs, ones, kappa):
    driven = Driven(n, m, steps, pairs, ones, kappa=kappa)
    h = np.random.default_rng(1).standard_normal((TASKS, 7, n))
    for r in range(steps + 1):
        exact = per_task(lambda t, r=r: with_one(h[t]) @ driven.weights(r, t))
        assert relative_error(driven.layer.predict(with_one(h).swapaxes(1, 2), r).swapaxes(1, 2), exact) < 1e-13


@each_rates
@each_kind
@each_step_count
@each_shape
def test_backward_is_u_times_the_transposed_weights_without_the_bias(n, m, steps, pairs, kappa):
    driven = Driven(n, m, steps, pairs, kappa=kappa)
    for r in range(steps + 1):
        exact = per_task(lambda t, r=r: driven.u[r][t] @ driven.weights(r, t)[:-1].T)
        assert relative_error(driven.backward[r], exact) < 1e-13


@each_rates
@each_kind
@with_steps
@each_shape
@pytest.mark.parametrize("ones", [True, False])
def test_r_forward_is_rh_w_plus_h_v(n, m, steps, pairs, ones, kappa):
    driven = Driven(n, m, steps, pairs, ones, kappa=kappa)
    for s in range(steps):
        exact = per_task(
            lambda t, s=s: (
                with_zero(driven.rh[s][t]) @ driven.weights(s, t)
                + driven.kappa[s] * with_one(driven.h[s][t]) @ driven.v(s + 1, t)
            )
        )
        assert relative_error(driven.r_forward[s], exact) < 1e-13


@each_rates
@each_kind
@with_steps
@each_shape
def test_r_backward_is_ru_w_plus_u_v_transposed(n, m, steps, pairs, kappa):
    driven = Driven(n, m, steps, pairs, kappa=kappa)
    for s in range(steps):
        exact = per_task(
            lambda t, s=s: (
                driven.ru[s][t] @ driven.weights(s, t)[:-1].T
                + driven.kappa[s] * driven.u[s][t] @ driven.v(s + 1, t)[:-1].T
            )
        )
        assert relative_error(driven.r_backward[s], exact) < 1e-13


@each_kind
@with_steps
@each_shape
@pytest.mark.parametrize("ones", [True, False])
def test_a_rates_gradient_is_the_step_times_v(n, m, steps, pairs, ones):
    driven = Driven(n, m, steps, pairs, ones, kappa=True)
    for s in range(steps):
        exact = per_task(lambda t, s=s: np.sum(with_one(driven.h[s][t]).T @ driven.u[s][t] * driven.v(s + 1, t)))
        assert driven.layer.rates.dots[s] == pytest.approx(exact.sum(), rel=1e-12)


@each_kind
@each_step_count
@each_shape
@pytest.mark.parametrize("ones", [True, False])
@each_block_size
def test_gradient_is_v_summed_over_tasks(n, m, steps, pairs, ones, small_product, monkeypatch):
    monkeypatch.setattr(rows, "SMALL_PRODUCT", small_product)
    driven = Driven(n, m, steps, pairs, ones)
    out = np.full((n + 1, m), np.nan)
    driven.layer.gradient(out, second_order=True)
    assert relative_error(out, per_task(lambda t: driven.v(0, t)).sum(axis=0)) < 1e-13


@each_kind
@each_step_count
@each_shape
@pytest.mark.parametrize("ones", [True, False])
@each_block_size
def test_first_order_gradient_is_the_query_pair_alone(n, m, steps, pairs, ones, small_product, monkeypatch):
    monkeypatch.setattr(rows, "SMALL_PRODUCT", small_product)
    driven = Driven(n, m, steps, pairs, ones)
    out = np.full((n + 1, m), np.nan)
    driven.layer.gradient(out, second_order=False)
    exact = per_task(lambda t: with_one(driven.h[-1][t]).T @ driven.u[-1][t]).sum(axis=0)
    assert relative_error(out, exact) < 1e-13


@each_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_every_product_keeps_the_dtype(pairs, dtype):
    driven = Driven(3, 2, 2, pairs, dtype=dtype)
    products = [driven.forward, driven.backward, driven.r_forward, driven.r_backward]
    assert {array.dtype for product in products for array in product.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("n", "m", "rank", "pay"),
    [
        (20, 20, 15, False),  # 15 * 40 = 1.5 * 20 * 20: at equality they are multiplied out
        (21, 20, 15, True),  # 615 < 630
        (20, 21, 15, True),
        (20, 20, 14, True),
        (20, 20, 16, False),
        (1, 1000, 2, False),  # thin layers never, but for a single pair
        (1000, 1, 2, False),
        (1, 1, 0, True),  # no inner step: no pairs to pay for
    ],
)
def test_pairs_pay_from_the_boundary_on(n, m, rank, pay):
    assert pairs_pay(n, m, rank) is pay


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 300))
def test_pairs_pay_is_symmetric_and_ends_with_growing_rank(n, m, rank):
    assert pairs_pay(n, m, rank) == pairs_pay(m, n, rank)
    assert pairs_pay(n, m, rank) >= pairs_pay(n, m, rank + 1)


@pytest.mark.parametrize(
    ("points", "tasks", "forced", "kind"),
    [
        ([15, 99], 25, None, MultipliedOutLayer),  # rank 15 on 20 x 20: the boundary; query points do not count
        ([14, 99], 25, None, PairedLayer),
        ([4, 4, 4, 99], 40, None, PairedLayer),
        ([5, 5, 5, 99], 25, None, MultipliedOutLayer),
        ([15, 99], 25, True, PairedLayer),
        ([14, 99], 25, False, MultipliedOutLayer),
        ([4, 4, 4, 99], 35, None, PairedLayer),  # 35 * 20 * 20 = 14000 * (3 - 2)
        ([4, 4, 4, 99], 34, None, MultipliedOutLayer),
        ([3, 3, 3, 3, 99], 70, None, PairedLayer),
        ([3, 3, 3, 3, 99], 69, None, MultipliedOutLayer),
        ([4, 4, 4, 99], 14, True, PairedLayer),
        ([7, 7, 99], 1, None, PairedLayer),  # one or two steps: the rank alone counts
        ([14, 99], 1, None, PairedLayer),
    ],
)
def test_make_layer_obeys_the_rules_unless_forced(points, tasks, forced, kind):
    assert type(make_layer(20, 20, (tasks,), passes_of(points), np.float64, pairs=forced)) is kind


def test_runs_in_lockstep_have_the_layers_that_they_have_alone():
    assert type(make_layer(20, 20, (10, 14), passes_of([4, 4, 4, 99]), np.float64)) is MultipliedOutLayer


def test_both_kinds_offer_the_same_methods():
    def public(kind):
        return {name: inspect.signature(f) for name, f in inspect.getmembers(kind, callable) if name[0] != "_"}

    assert public(PairedLayer) == public(MultipliedOutLayer)
