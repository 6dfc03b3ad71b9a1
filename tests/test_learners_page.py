"""docs/learners.md says what the code does: the names beside its equations, and the equations, written again."""

import importlib
import pkgutil
import re
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

import maml_exp.core
from maml_exp.config.composing import compose
from maml_exp.core.arrays import Workspace
from maml_exp.core.learners.blocks import cell
from maml_exp.core.learners.blocks.attention import Attention
from maml_exp.core.learners.blocks.dense import Dense
from maml_exp.core.learners.recurrent import Reading
from maml_exp.core.network import Network
from maml_exp.core.proof import reference
from maml_exp.core.training import make_learner

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "learners.md").read_text(encoding="utf-8")
EQUATION = re.compile(r"^\$\$\s(?:.*?)\s\$\$$", re.MULTILINE | re.DOTALL)
FOUND = [importlib.import_module(info.name) for info in pkgutil.walk_packages(maml_exp.core.__path__, "maml_exp.core.")]
TASKS, SHOTS, QUERY, UNITS = 2, 3, 4, 2
RNG = np.random.default_rng(0)


def resolve(name):
    """What `module.Class.method` or `Class.method` means in maml_exp.core."""
    head, *rest = name.split(".")
    named = [module for module in FOUND if module.__name__.split(".")[-1] == head]
    owners = named or [module for module in FOUND if hasattr(module, head)]
    assert owners, f"{name} is nowhere in maml_exp.core"
    return reduce(getattr, rest if named else [head, *rest], owners[0])


def test_every_equation_names_the_code_that_implements_it():
    blocks = EQUATION.split(TEXT)[1:]
    assert len(blocks) > 12
    assert TEXT.count("$$") == 2 * len(blocks)
    for block in blocks:
        line = block.strip().splitlines()[0]
        assert line.startswith("*code:* `"), f"an equation without its code, before: {line}"
        for name in re.findall(r"`([^`]+)`", line):
            assert callable(resolve(name))


def test_parameters_in_the_table_are_those_of_the_presets():
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| (\d+,\d+) \|", TEXT, re.MULTILINE))
    assert set(rows) == {"ridge", "neural_process", "recurrent", "attention", "maml"}
    for preset, shown in rows.items():
        learner = make_learner(compose([f"algorithm={preset}"]).problem)
        assert learner.layout.size == int(shown.replace(",", ""))


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(target):
    assert (DOCS / target).is_file()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def test_the_equations_of_the_network_that_reads_are_what_it_computes():
    """One task, every quantity by its equation on the page."""
    theta = RNG.standard_normal((1 + 1 + 1 + UNITS + 1, 4 * UNITS))
    w_u, w_h, b = theta[:3], theta[3:-1], theta[-1]
    x, y, at = (RNG.standard_normal((1, rows, 1)) for rows in (SHOTS, SHOTS, QUERY))
    dh_out = RNG.standard_normal((1, QUERY, UNITS))
    rows = [np.array([x[0, k, 0], y[0, k, 0], 0]) for k in range(SHOTS)]
    branches = [np.array([at[0, q, 0], 0, 1]) for q in range(QUERY)]

    def read(u, h, c):
        a_i, a_f, a_o, a_g = np.split(u @ w_u + h @ w_h + b, 4)
        i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), np.tanh(a_g)
        c_next = f * c + i * g
        return (i, f, o, g), c_next, o * np.tanh(c_next)

    def back(gates, c, c_next, dh, dc):
        i, f, o, g = gates
        dc = dc + dh * o * (1 - np.tanh(c_next) ** 2)
        parts = [dc * g * i * (1 - i), dc * c * f * (1 - f), dh * np.tanh(c_next) * o * (1 - o), dc * i * (1 - g**2)]
        return np.concatenate(parts), dc * f

    h, c, gates = [np.zeros(UNITS)], [np.zeros(UNITS)], []
    for u in rows:
        found = read(u, h[-1], c[-1])
        gates.append(found[0])
        c.append(found[1])
        h.append(found[2])
    read_from_there = [read(u, h[-1], c[-1]) for u in branches]
    reading = Reading(theta, x, y, at)
    np.testing.assert_allclose(reading.output[..., 0].T, [found[2] for found in read_from_there], rtol=1e-12)

    asked = [back(g, c[-1], c_next, dh_out[0, q], 0) for q, (g, c_next, _) in enumerate(read_from_there)]
    da = [sum(one for one, _ in asked)]  # da_K first, then back in time
    dc = sum(one for _, one in asked)
    for k in reversed(range(SHOTS)):
        one, dc = back(gates[k], c[k], c[k + 1], da[0] @ w_h.T, dc)
        da.insert(0, one)
    dw_u = sum(np.outer(u, one) for u, one in zip(rows, da, strict=False))
    dw_u = dw_u + sum(np.outer(u, one) for u, (one, _) in zip(branches, asked, strict=True))
    dw_h = sum(np.outer(one_h, one) for one_h, one in zip(h, da, strict=True))
    out = np.empty_like(theta)
    reading.backward(np.ascontiguousarray(dh_out.T), out)
    np.testing.assert_allclose(out, np.vstack([dw_u, dw_h, sum(da)]), rtol=1e-11, atol=1e-14)


def test_the_forget_gate_s_bias_is_the_second_quarter():
    assert cell.FORGET_BIAS == 1
    assert "forget gate's bias starts larger by 1" in TEXT


def test_the_equations_of_attention_are_what_it_computes():
    q, k, v, do = (RNG.standard_normal((1, rows, 3)) for rows in (QUERY, SHOTS, SHOTS, QUERY))
    s = q[0] @ k[0].T / np.sqrt(3)
    p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    attention = Attention(q, k, v, 1)
    np.testing.assert_allclose(attention.output[0], p @ v[0], rtol=1e-12)
    dp = do[0] @ v[0].T
    ds = p * (dp - (p * dp).sum(axis=1, keepdims=True))
    expected = [ds @ k[0] / np.sqrt(3), ds.T @ q[0] / np.sqrt(3), p.T @ do[0]]
    for found, exact in zip(attention.backward(do), expected, strict=True):
        np.testing.assert_allclose(found[0], exact, rtol=1e-11, atol=1e-15)


def test_the_equations_of_shared_inputs_and_of_means_are_what_dense_layers_compute():
    """One linear layer on [s, x], and one behind a mean."""
    network = Network((2 + 1, 2))
    theta, x, s = RNG.standard_normal(8), RNG.standard_normal((TASKS, SHOTS, 1)), RNG.standard_normal((TASKS, 2))
    w_s, w_x, b = np.split(theta.reshape(4, 2), [2, 3])
    dz = RNG.standard_normal((TASKS, SHOTS, 2))
    dense = Dense(network, theta, x, shared=s)
    for task in range(TASKS):
        np.testing.assert_allclose(dense.output[task], s[task] @ w_s + b + x[task] @ w_x, rtol=1e-12)
    np.testing.assert_allclose(dense.backward(dz, np.empty(8)), dz.sum(axis=1) @ w_s.T, rtol=1e-12)
    h = RNG.standard_normal((TASKS, SHOTS, 3))
    pooled = Dense(network, theta, h, pooled=True)
    np.testing.assert_allclose(pooled.output, h.mean(axis=1) @ np.vstack([w_s, w_x]) + b, rtol=1e-12)


def learner_of(preset, *more):
    """A learner of few weights, float64, two tasks and two steps."""
    small = ["model.hidden=[3]", "model.activation=tanh", "dtype=float64", "training.meta_batch=2", "inner.steps=2"]
    return make_learner(compose([f"algorithm={preset}", *small, *more]).problem)


def asinh_and_its_slope(g, scale):
    return np.arcsinh(g / scale), 1 / np.sqrt(scale**2 + g**2)


def test_the_equations_of_a_memory_for_every_weight_are_what_it_computes():
    """Two steps of all weights of two tasks; `v` comes back to both, and nothing between them but the memory."""
    learner = learner_of("learned_optimizer", "algorithm.units=2")
    vector = RNG.standard_normal(learner.layout.size)
    cell_weights, readout = (learner.layout.parts(vector)[name] for name in ("cell", "readout"))
    weights, (*w, b), alpha = cell_weights.reshape(4, 8), readout, learner.problem.inner.lr
    shape = (2, learner.network.parameter_count)
    g, v = RNG.standard_normal((2, 2, *shape))
    memories = learner.steps_of(learner.layout.parts(vector), 2, 2, alpha, Workspace())
    h, c, kept = [np.zeros((*shape, 2))], [np.zeros((*shape, 2))], []
    for s in range(2):
        u, slope = asinh_and_its_slope(g[s], learner.settings.scale)
        rows = np.concatenate([u[..., None], h[-1], np.ones((*shape, 1))], axis=-1)
        a_i, a_f, a_o, a_g = np.split(rows @ weights, 4, axis=-1)
        i, f, o, proposal = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), np.tanh(a_g)
        c.append(f * c[-1] + i * proposal)
        h.append(o * np.tanh(c[-1]))
        kept.append((i, f, o, proposal, slope, rows))
        theta = RNG.standard_normal(shape)
        found = memories.step(s, theta, g[s], np.zeros(2))
        np.testing.assert_allclose(found, theta + alpha * (h[-1] @ w + b), rtol=1e-12)
    dh, dc, dw, d_weights = 0, 0, 0, 0
    for s in (1, 0):
        i, f, o, proposal, slope, rows = kept[s]
        dw = dw + alpha * np.einsum("tp,tph->h", v[s], h[s + 1])
        dh = dh + alpha * v[s][..., None] * w
        dc = dc + dh * o * (1 - np.tanh(c[s + 1]) ** 2)
        da_i, da_f = dc * proposal * i * (1 - i), dc * c[s] * f * (1 - f)
        da_o, da_g = dh * np.tanh(c[s + 1]) * o * (1 - o), dc * i * (1 - proposal**2)
        da = np.concatenate([da_i, da_f, da_o, da_g], axis=-1)
        d_weights = d_weights + np.einsum("tpr,tpa->ra", rows, da)
        of_theta, of_gradient, of_losses = memories.step_back(s, v[s])
        np.testing.assert_array_equal(of_theta, v[s])
        np.testing.assert_allclose(of_gradient, slope * (da @ weights[0]), rtol=1e-10, atol=1e-13)
        assert not of_losses.any()
        dh, dc = da @ weights[1:3].T, dc * f
    out = learner.layout.parts(np.empty_like(vector))
    memories.gradient(out)
    np.testing.assert_allclose(out["readout"][:-1], dw, rtol=1e-10)
    np.testing.assert_allclose(out["cell"].reshape(4, 8), d_weights, rtol=1e-10)


def test_the_equations_of_weights_as_a_memory_are_what_it_computes():
    learner = learner_of("lstm_meta_learner")
    vector = RNG.standard_normal(learner.layout.size)
    parts, alpha = learner.layout.parts(vector), learner.problem.inner.lr
    weights = np.column_stack([parts["gates"].reshape(2, 4), parts["biases"] + [-4.5, 5]])
    shape = (2, learner.network.parameter_count)
    g, v, theta = RNG.standard_normal((3, 2, *shape))
    losses = RNG.uniform(1, 2, (2, 2))
    gates = learner.steps_of(parts, 2, 2, alpha, Workspace())
    was, kept = np.zeros((2, *shape)), []
    for s in range(2):
        u, slope = asinh_and_its_slope(g[s], learner.settings.scale)
        seen = [[u, np.log(1 + losses[s])[:, None] + 0 * u, theta[s], k, 1 + 0 * u] for k in was]
        now = [sigmoid(np.einsum("n,ntp->tp", w, np.array(one))) for w, one in zip(weights, seen, strict=True)]
        found = gates.step(s, theta[s], g[s], losses[s])
        np.testing.assert_allclose(found, now[1] * theta[s] - alpha * now[0] * g[s], rtol=1e-11)
        kept.append((now, slope, seen))
        was = np.array(now)
    back, d_weights = np.zeros((2, *shape)), 0
    for s in (1, 0):
        (i, f), slope, seen = kept[s]
        dk = [back[0] - alpha * v[s] * g[s], back[1] + v[s] * theta[s]]
        da = [d * k * (1 - k) for d, k in zip(dk, (i, f), strict=True)]
        d_weights = d_weights + np.array([np.einsum("tp,ntp->n", d, one) for d, one in zip(da, seen, strict=True)])
        w_u, w_l, w_theta, w_was, _ = weights.T
        of_theta, of_gradient, of_losses = gates.step_back(s, v[s])
        np.testing.assert_allclose(of_theta, f * v[s] + w_theta @ np.swapaxes(da, 0, 1), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(of_gradient, slope * (w_u @ np.swapaxes(da, 0, 1)) - alpha * i * v[s], rtol=1e-9)
        np.testing.assert_allclose(of_losses, (w_l @ np.sum(da, axis=2)) / (1 + losses[s]), rtol=1e-10)
        back = w_was[:, None, None] * np.array(da)
    out = learner.layout.parts(np.empty_like(vector))
    gates.gradient(out)
    np.testing.assert_allclose(np.column_stack([out["gates"].reshape(2, 4), out["biases"]]), d_weights, rtol=1e-10)


@pytest.mark.parametrize("preset", ["learned_optimizer", "lstm_meta_learner"])
@pytest.mark.parametrize("second_order", ["true", "false"])
def test_v_goes_back_through_the_steps_as_the_page_says(preset, second_order):
    """By the rule's own step back, and a Hessian that is the complex step of the reference's gradient."""
    options = [f"algorithm.second_order={second_order}", "algorithm.step_losses=all", "algorithm.scale=0.3"]
    learner = learner_of(preset, *options)
    problem, network = learner.problem, learner.network
    vector = learner.init(np.random.default_rng(1)) + 0.1 * RNG.standard_normal(learner.layout.size)
    batch, parts = problem.family.sample(np.random.default_rng(2), 2, float), learner.layout.parts(vector)
    rule = learner.steps_of(parts, 2, 2, problem.inner.lr, Workspace())

    def of_tasks(function, thetas, x, y):
        return np.array([function(network, theta, *points) for theta, *points in zip(thetas, x, y, strict=True)])

    path, gradients = [np.tile(parts["theta"], (2, 1))], []
    for s in range(2):
        seen = [of_tasks(f, path[s], batch.x_support, batch.y_support) for f in (reference.gradient, reference.loss)]
        gradients.append(seen[0])
        path.append(rule.step(s, path[s], *seen))
    omega_grad = [0.5 / 2 * of_tasks(reference.gradient, at, batch.x_query, batch.y_query) for at in path]
    v = omega_grad[2]
    for s in (1, 0):
        v, q, of_loss = rule.step_back(s, v)
        if second_order == "true":
            for task in range(2):
                x, y = batch.x_support[task], batch.y_support[task]
                hq = reference.complex_step(lambda at: reference.gradient(network, at, x, y), path[s][task], q[task])  # noqa: B023
                v[task] = v[task] + hq + of_loss[task] * gradients[s][task]
        v = v + omega_grad[s] * (s > 0)  # omega_0 is 0
    found = learner.meta_gradient(vector, batch, np.random.default_rng(0), 0.0).vector
    np.testing.assert_allclose(found[: network.parameter_count], v.sum(axis=0), rtol=1e-8, atol=1e-12)
