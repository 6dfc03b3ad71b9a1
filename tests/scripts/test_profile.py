"""The scripts of scripts/profile: what they count, and that they run."""

import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from maml_exp.config.composing import compose
from maml_exp.core.training import Trainer

from .conftest import SCRIPTS

PROFILE = SCRIPTS / "profile"
CALLS, INDEXING = 124, 6  # of an iteration of the default problem, when it was made as quick as it is

CODE = """
def f(a, rng):
    b: 'np.ndarray[0]' = a + 1
    b += a
    b[0] += 1
    c = a @ b.T
    d = [1, 2][0] + 3 > 2
    e = a[0] * 2 ** d
    g = lambda x: np.multiply(x, 2, out=x)
    return g(e), np.dot(a, b.T), rng.random(3), c.sum(), -a, a > 0, max(1, 2), np.linalg.norm(e), e.sum().item()
"""


@pytest.fixture
def calls(monkeypatch):
    monkeypatch.syspath_prepend(str(PROFILE))
    import calls

    calls.FOUND.clear()
    return calls


def run(script, *arguments):
    command = [sys.executable, str(PROFILE / script), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_every_call_of_numpy_is_counted_once_and_nothing_else(calls):
    tree = calls.ast.fix_missing_locations(calls.Rewriter().visit(calls.ast.parse(CODE)))
    names = {"np": np} | {hook.__name__: hook for hook in calls.HOOKS}
    exec(compile(tree, "code", "exec"), names)
    plain = {"np": np}
    exec(CODE, plain)
    a = np.arange(6.0).reshape(2, 3)
    results = [space["f"](a.copy(), np.random.default_rng(0)) for space in (names, plain)]
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, expected)
    single = ["add", "matmul", "mul", "multiply", "dot", "random", "neg", "gt", "norm", "item"]
    assert Counter({**dict.fromkeys(single, 1), "in place": 2, "sum": 2, calls.INDEXING: 2}) == calls.FOUND


def test_an_iteration_of_the_default_problem_makes_no_more_calls_than_it_did():
    found = re.fullmatch(r"(\d+) calls of numpy an iteration, and (\d+) times indexing\n", run("calls.py"))
    assert 100 < int(found[1]) <= CALLS
    assert 3 < int(found[2]) <= INDEXING


def test_counting_changes_no_number(calls):
    code = "import calls; calls.install(); from maml_exp.config.composing import compose; "
    code += (
        "from maml_exp.core.training import Trainer; trainer = Trainer(compose([]).problem); state = trainer.init(0)\n"
    )
    code += "for _ in range(3): state, _ = trainer.train_step(state)\n"
    code += "print(state.vector.tobytes().hex(), len(calls.FOUND))"
    process = subprocess.run([sys.executable, "-c", code], cwd=PROFILE, capture_output=True, text=True, check=True)
    counted, names = process.stdout.split()
    trainer = Trainer(compose([]).problem)
    state = trainer.init(0)
    for _ in range(3):
        state, _ = trainer.train_step(state)
    assert counted == state.vector.tobytes().hex()
    assert int(names) > 10


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_profile_of_an_iteration_has_a_line_for_every_layer_and_pass(steps):
    lines = run("iteration.py", "--width", "20", "--steps", str(steps), "--iterations", "5").splitlines()
    assert lines[0].split() == ["us", "share", "GF/s"]
    for layer in ("layer 1 (1 x 20", "layer 2 (20 x 20", "layer 3 (20 x 1"):
        methods = {line[34:].split()[0] for line in lines if line.startswith(layer)}
        assert methods >= {"forward", "gradient"} | ({"r_forward"} if steps else set())
    assert lines[-1].startswith("whole iteration")


def test_the_profile_of_a_command_counts_what_it_did():
    lines = run("command.py", "+experiment=smoke", "training.iterations=20", "evaluation.plots=false").splitlines()
    counts = {line[:22].strip(): line.split()[-1] for line in lines if line}
    assert (counts["training"], counts["final evaluation"], counts["checkpoints"]) == ("20", "1", "1")
    assert lines[-1].endswith("iterations a second")


def test_the_profile_of_drawing_says_what_share_of_an_iteration_it_is():
    lines = run("drawing.py", "--rounds", "2", "--clock", "cpu").splitlines()
    assert lines[2].startswith("+experiment=glyphs ")
    for line in lines[1:]:
        drawing, whole, share = line[28:].split()
        assert 0 < float(drawing) < float(whole)
        assert float(share.rstrip("%")) == pytest.approx(100 * float(drawing) / float(whole), abs=0.3)
