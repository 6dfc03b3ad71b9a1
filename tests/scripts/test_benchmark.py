"""What scripts/benchmark compares, and the table of scripts/profile/methods.py."""

import importlib
import re
from dataclasses import replace

import numpy as np
import pytest

from maml_exp.config.composing import compose
from maml_exp.core.training import make_learner

from .conftest import SCRIPTS
from .test_profile import run


@pytest.fixture
def bench_peers(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS / "benchmark"))
    import bench_peers

    return bench_peers


@pytest.mark.parametrize("name", ["maml", "fomaml", "anil", "lslr", "meta_sgd", "ridge", "attention"])
def test_an_algorithm_of_the_benchmark_is_its_preset(bench_peers, name):
    preset = compose([f"algorithm={name}"]).algorithm
    different = {"rates_start": [0.001, 0.02]} if name == "meta_sgd" else {}
    algorithm = bench_peers.Case(algorithm=name).problem.algorithm
    assert replace(algorithm, preset=name) == replace(preset, **different)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", ["anil", "lslr", "meta_sgd"])
def test_jax_computes_every_part_of_a_method_s_meta_gradient(bench_peers, name, steps):
    pytest.importorskip("jax")
    from bench_measure import relative_difference
    from bench_peers import jax_methods_peer, ours

    case = bench_peers.Case(width=6, steps=steps, tasks=3, algorithm=name)
    theta, batch = bench_peers.initial_theta(case), bench_peers.test_batch(case)
    exact = ours.make(case, *ours.VARIANTS).gradient(theta, batch)
    for variant in jax_methods_peer.VARIANTS:
        contender = jax_methods_peer.make(case, variant)
        np.testing.assert_array_equal(contender.theta(), theta)
        assert relative_difference(case, contender.gradient(theta, batch), exact) < 1e-5


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("peer", ["jax_peer", "jax_pairs_peer", "torch_peer"])
def test_peers_compute_the_meta_gradient_of_a_cross_entropy(bench_peers, peer, layer_norm):
    pytest.importorskip(peer.partition("_")[0])
    from bench_measure import relative_difference
    from bench_peers import ours
    from bench_peers.classes import ClassCase

    case = ClassCase(width=16, steps=2, shots=2, tasks=3, size=8, layer_norm=layer_norm)
    module = importlib.import_module(f"bench_peers.{peer}")
    theta, batch = bench_peers.initial_theta(case), bench_peers.test_batch(case)
    exact = ours.make(case, *ours.VARIANTS).gradient(theta, batch)
    for variant in [name for name in module.VARIANTS if not name.startswith("scan")]:
        contender = module.make(case, variant)
        np.testing.assert_array_equal(contender.theta(), theta)
        assert relative_difference(case, contender.gradient(theta, batch), exact) < 1e-5


def test_cases_of_classes_are_what_their_table_says(bench_peers):
    from bench_classes import CASES

    assert [(case.points, case.steps) for case in CASES] == [(5, 1), (25, 1), (5, 5), (25, 5), (25, 1)]
    for case in CASES:
        assert case.network.sizes == (784, 256, 128, 64, 5)
        assert case.family.query == case.points


def test_gradients_are_compared_part_by_part(bench_peers, monkeypatch):
    """The rates' gradient is a thousand times theta's: beside it a wrong one of theta would not be seen."""
    from bench_measure import relative_difference

    case = bench_peers.Case(width=3, algorithm="lslr")
    layout = make_learner(case.problem).layout
    exact = np.concatenate([np.full(layout.sizes["theta"], 1.0), np.full(layout.sizes["rates"], 1e6)])
    for part in layout.sizes:
        found = exact.copy()
        layout.parts(found)[part][...] *= 1.25
        assert relative_difference(case, found, exact) == pytest.approx(0.25)


def test_methods_are_timed_in_turns_beside_maml_and_their_limits_shown():
    arguments = ("--widths", "4", "6", "--steps", "5", "--methods", "anil", "boil", "--rounds", "2", "--clock", "cpu")
    lines = [line.split("   ") for line in run("methods.py", *arguments).splitlines() if line]
    rows = {line[0].strip(): line for line in lines}
    assert list(rows) == ["S = 5", "anil", "boil", "maml, ms"]
    assert rows["anil"][-1].strip() == "0.30"
    for method in ("anil", "boil"):
        found = re.findall(r"(\S+) \[(\S+) (\S+)\]", " ".join(rows[method]))
        assert len(found) == 2
        for middle, low, high in found:
            assert 0 < float(low) <= float(middle) <= float(high)


def test_turns_are_taken_in_another_order_every_round_and_timed_by_iteration():
    """By a clock that counts how often it was read: two readings a turn, one apart."""
    from recipes.timing import in_turns

    problems = {name: compose([f"algorithm={name}", "model.hidden=[4]"]).problem for name in ("maml", "anil")}
    readings = iter(range(1000))
    seconds = in_turns(problems, turns=3, iterations=4, clock=lambda: next(readings))
    assert {name: times.tolist() for name, times in seconds.items()} == dict.fromkeys(problems, [1 / 4] * 3)
    assert next(readings) == 2 * 2 * (3 + 1)  # a turn more, before the clock counts
