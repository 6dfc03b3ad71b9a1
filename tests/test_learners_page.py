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
from maml_exp.core.learners import recurrent
from maml_exp.core.learners._attention import Attention
from maml_exp.core.learners._dense import Dense
from maml_exp.core.learners.recurrent import Reading
from maml_exp.core.network import Network
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
    reading = Reading(theta, UNITS, x, y, at)
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
    assert recurrent.FORGET_BIAS == 1
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
