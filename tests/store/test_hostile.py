"""A stranger's folder: refused with a clear message, nothing in it executed, nothing written outside it."""

import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import TINY, assert_same_result, checkpoint_path, saved_steps, tree

from maml_exp.cli import main
from maml_exp.config.composing import compose


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A working directory three levels deep, beside the stranger's folder, and something there to lose."""
    cwd = tmp_path / "a" / "b" / "cwd"
    cwd.mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    monkeypatch.chdir(cwd)
    return cwd


def outside(cwd, folder):
    """All that is around the stranger's folder."""
    top, inside = cwd.parents[2], str(folder)
    return {p: (p.read_bytes() if p.is_file() else None) for p in top.rglob("*") if not str(p).startswith(inside)}


def with_config(change):
    """A change of the saved configuration, as plain data."""

    def apply(folder, cwd):
        path = folder / ".hydra" / "config.yaml"
        plain = yaml.safe_load(path.read_text())
        change(plain)
        path.write_text(yaml.safe_dump(plain))

    return apply


def with_text(text):
    """A saved configuration with this text in place of, or with + behind, its own."""

    def apply(folder, cwd):
        path = folder / ".hydra" / "config.yaml"
        path.write_text(path.read_text() + text[1:] if text.startswith("+") else text)

    return apply


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20))
CONFIGS = {  # what the stranger's configuration holds; what the message names
    "_target_": (with_config(lambda c: c["model"].update(_target_="os.getcwd")), "_target_"),
    "_target_ at the top": (with_config(lambda c: c.update(_target_="os.getcwd")), "_target_"),
    "_target_ deep inside": (with_config(lambda c: c["task"].update(x={"y": [{"_target_": "os.getcwd"}]})), "_target_"),
    "an environment variable": (with_config(lambda c: c.update(name="${oc.env:HOME}")), "${oc.env:HOME}"),
    "an interpolation": (with_config(lambda c: c["inner"].update(lr="${optimizer.lr}")), "${optimizer.lr}"),
    "a resolver in a list": (with_config(lambda c: c["model"].update(hidden=["${oc.env:X,4}"])), "${oc.env"),
    "a resolver as a key": (with_config(lambda c: c.update({"${oc.env:HOME}": 1})), "${oc.env:HOME}"),
    "a resolver of ours": (with_config(lambda c: c.update(name="${maml_exp.safe:x}")), "${maml_exp.safe"),
    "no mapping": (with_text("- 1\n- 2\n"), "config.yaml"),
    "nothing": (with_text(""), "config.yaml"),
    "a number": (with_text("3\n"), "config.yaml"),
    "no YAML": (with_text("{{{: ]"), "config.yaml"),
    "no UTF-8": (lambda f, cwd: (f / ".hydra" / "config.yaml").write_bytes(b"name: \xff\xfe\n"), "config.yaml"),
    "NUL bytes": (lambda f, cwd: (f / ".hydra" / "config.yaml").write_bytes(bytes(2000)), "config.yaml"),
    "a Python object": (with_text("+x: !!python/object/apply:os.mkdir [pwned]\n"), "config.yaml"),
    "a Python name": (with_text("+x: !!python/name:os.getcwd\n"), "config.yaml"),
    "another tag": (with_text("+x: !whatever {a: 1}\n"), "config.yaml"),
    "two documents": (with_text("+---\nseed: 3\n"), "config.yaml"),
    "10 MB": (with_text("+name: " + "x" * 10_000_000 + "\n"), "100000 bytes"),
    "10 MB of keys": (with_text("+" + "".join(f"k{i}: 1\n" for i in range(1_000_000))), "100000 bytes"),
    "10000 levels": (with_text("+x: " + "[" * 10_000 + "]" * 10_000 + "\n"), "nested too deep"),
    "10000 levels of mappings": (with_text("+x: " + "{a: " * 10_000 + "1" + "}" * 10_000 + "\n"), "nested too deep"),
    "nine levels": (with_config(lambda c: c.update(x=[[[[[[[[[1]]]]]]]]])), "nested too deep"),
    "a bomb of aliases": (with_text(LAUGHS), "alias"),
    "an alias of itself": (with_text("+x: &x [*x]\n"), "alias"),
    "a merge key": (with_text("+x: &x {a: 1}\ny: {<<: *x}\n"), "alias"),
    "5000 values": (with_config(lambda c: c.update(x=list(range(5000)))), "x"),
    "a huge integer": (with_config(lambda c: c.update(seed=10**4000)), "seed"),
    "a huger integer": (with_text("+threads: " + "9" * 50_000 + "\n"), "config.yaml"),
    "a huge float": (with_config(lambda c: c["inner"].update(lr=float("inf"))), "inner.lr"),
    "a huge network": (with_config(lambda c: c["model"].update(hidden=[10**9])), "model.hidden"),
    "a huge number of iterations": (
        with_config(lambda c: c["training"].update(iterations=10**30)),
        "training.iterations",
    ),
    "a date": (with_text("+x: 2001-01-01\n"), "x"),
    "bytes": (with_text("+x: !!binary aGVsbG8=\n"), "x"),
    "a set": (with_text("+x: !!set {a, b}\n"), "x"),
    "keys that are no text": (with_text("+3: 1\nnull: 2\ntrue: 3\n[1, 2]: 3\n"), "config.yaml"),
    "a path as the name": (with_config(lambda c: c.update(name="../../x")), "../../x"),
    "an absolute path as the name": (with_config(lambda c: c.update(name="/tmp/x")), "/tmp/x"),
    "a line break in the name": (with_config(lambda c: c.update(name="x\ny")), "name"),
    "a terminal's escape in the name": (with_config(lambda c: c.update(name="\x1b[2Jx")), "name"),
    "a group that is a list": (with_config(lambda c: c.update(model=[1])), "model"),
    "a group that is null": (with_config(lambda c: c.update(inner=None)), "inner"),
    "a group that is a text": (with_config(lambda c: c.update(task="sinusoid")), "task"),
    "hydra's own settings": (with_config(lambda c: c.update(hydra={"run": {"dir": "/tmp/x"}})), "hydra"),
    "a missing value": (with_config(lambda c: c["inner"].update(lr="???")), "inner.lr"),
}


def assert_clean(verb, folder, cwd, needle, capsys, before):
    """Refused: one line or two, that name what is wrong; nothing made around the folder, nothing in it changed."""
    arguments = [str(folder)] * (2 if verb == "diff" else 1)
    inside = tree(folder)
    status = main([verb, *arguments])
    captured = capsys.readouterr()
    assert status == 1, captured
    assert "Traceback" not in captured.err
    assert needle in captured.err
    assert len(captured.err) < 1500
    assert len(captured.err.splitlines()) <= 2
    assert "\x1b" not in captured.err
    assert outside(cwd, folder) == before
    assert tree(folder) == inside


@pytest.mark.parametrize("what", CONFIGS)
def test_a_hostile_configuration_is_refused_by_every_verb(what, tiny, killed, tmp_path, surroundings, capsys):
    change, needle = CONFIGS[what]
    for verb, run in (("rerun", tiny), ("resume", killed), ("plot", tiny)):
        folder = shutil.copytree(run, tmp_path / f"stranger-{verb}")
        change(folder, surroundings)
        assert_clean(verb, folder, surroundings, needle, capsys, outside(surroundings, folder))
    if needle in ("_target_", "alias", "nested too deep", "100000 bytes") or needle.startswith("${"):
        folder = tmp_path / "stranger-rerun"
        assert_clean("diff", folder, surroundings, needle, capsys, outside(surroundings, folder))


@pytest.mark.slow
@pytest.mark.parametrize("climb", ["../..", "../../pwned", "/tmp/pwned", "~/pwned", "$HOME"])
def test_no_text_of_a_configuration_is_a_path(climb, tiny, tmp_path, surroundings, capsys):
    plain = compose(TINY).to_dict()
    places = [("name",)] + [(key,) for key, value in plain.items() if isinstance(value, str)]
    places += [
        (g, k) for g, part in plain.items() if isinstance(part, dict) for k, v in part.items() if isinstance(v, str)
    ]
    assert len(places) >= 7
    for place in places:
        folder = shutil.copytree(tiny, tmp_path / "-".join(("stranger", *place)))

        def climbing(c, place=place):
            (c if len(place) == 1 else c[place[0]])[place[-1]] = climb

        with_config(climbing)(folder, surroundings)
        assert_clean("rerun", folder, surroundings, ".".join(place), capsys, outside(surroundings, folder))


CHECKPOINTS = {
    "a pickle": lambda bomb: pickle.dumps(Bomb(bomb)),
    "a pickle in an npy file": lambda bomb: saved(np.save, np.array([Bomb(bomb)], dtype=object)),
    "an object array": lambda bomb: saved(np.savez, record=np.array([Bomb(bomb)], dtype=object), vector=np.zeros(25)),
    "an object array as vector": lambda bomb: saved(np.savez, record=np.array("{}"), vector=np.array([Bomb(bomb)])),
    "a deep record": lambda bomb: saved(np.savez, record=np.array("[" * 100_000), vector=np.zeros(25, np.float32)),
    "a wide zip": lambda bomb: saved(np.savez_compressed, record=np.array("{}"), vector=np.zeros(2**24, np.float32)),
}


def saved(save, *arrays, **named):
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def test_the_bomb_is_live(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "pwned")))
    assert (tmp_path / "pwned").is_dir()


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_no_pickle_is_ever_read(kind, tiny, killed, tmp_path, surroundings, capsys):
    content = CHECKPOINTS[kind](tmp_path / "pwned")
    if "pickle" in kind or "object" in kind:
        assert b"mkdir" in content
    folder = shutil.copytree(killed, tmp_path / "stranger")
    for step in saved_steps(folder):
        checkpoint_path(folder, step).write_bytes(content)
    (folder / "evaluation.npz").write_bytes(content)
    before = outside(surroundings, folder)
    assert main(["resume", str(folder)]) == 0  # starts over
    errors = capsys.readouterr().err
    assert errors.count("passed over") == 4
    assert "Traceback" not in errors
    assert_same_result(folder, tiny)
    for step in saved_steps(folder):
        checkpoint_path(folder, step).write_bytes(content)
    assert main(["plot", str(folder)]) == 1
    assert "no usable checkpoint" in capsys.readouterr().err
    assert outside(surroundings, folder) == before
    assert not (tmp_path / "pwned").exists()


def test_the_refused_folders_would_run_without_what_is_hostile(tiny, tmp_path, surroundings, capsys):
    """The tests above refuse for the reason they name: the same folder, untouched, is accepted."""
    folder = shutil.copytree(tiny, tmp_path / "stranger")
    for change in (with_config(lambda c: None), with_text("+# a comment\n")):
        change(folder, surroundings)
        assert main(["rerun", str(folder)]) == 0
        assert "identical" in capsys.readouterr().out
    assert {p.parents[2] for p in Path(surroundings).glob("runs/*/*")} == {surroundings}
