"""The command itself: its help, its two names, and what it does with a closed pipe."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import TIMEOUT, TINY, command, only_run, read_status, shipped_options

from maml_exp.cli import VERBS, main
from maml_exp.config.composing import default_settings

SCRIPT = Path(sys.executable).with_name("maml-exp")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]], ids=" ".join)
def test_help_lists_every_verb_group_option_and_setting(arguments, capsys):
    assert main(arguments) == 0
    text = capsys.readouterr().out
    words = set(text.replace(",", " ").split())
    assert set(VERBS) <= words
    assert set(VERBS) >= {"resume", "rerun", "diff", "plot", "gradcheck", "compare", "adapt", "settings"}
    for group, option in shipped_options():
        assert {group, option} <= words
    assert set(default_settings()) - {"schema"} <= words
    assert "schema" not in words
    assert "Powered by Hydra" not in text


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is not installed beside this Python")
def test_both_names_are_the_same_command(tmp_path):
    by_module = command("--help", cwd=tmp_path)
    by_name = subprocess.run([SCRIPT, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert (by_name.returncode, by_name.stdout) == (by_module.returncode, by_module.stdout) == (0, by_module.stdout)
    assert by_module.stdout.startswith("maml-exp: ")
    assert by_module.stderr == by_name.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_a_function_and_explains_itself(verb, capsys):
    if verb == "gradcheck":
        return  # takes settings only
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"maml-exp {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["resume", "rerun", "plot", "diff"])
@pytest.mark.parametrize("kind", ["nothing there", "a file", "an empty folder"])
def test_a_path_that_is_no_run_is_named(verb, kind, tmp_path, capsys):
    path = tmp_path / "odd"
    if kind == "a file":
        path.write_text("")
    elif kind == "an empty folder":
        path.mkdir()
    assert main([verb, *[str(path)] * (2 if verb == "diff" else 1)]) == 1
    errors = capsys.readouterr().err
    assert str(path) in errors
    assert len(errors.splitlines()) == 1
    assert [p for p in tmp_path.rglob("*") if p != path] == []


def test_gradcheck_prints_a_line_a_check_and_all_pass(capsys):
    assert main(["gradcheck", "model=one_hidden", "algorithm=maml", "inner.steps=2"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    errors = [float(line.split("relative error")[1].split()[0]) for line in lines]
    assert len(lines) >= 6
    assert all(error <= 1e-10 for error in errors)
    assert all(line.endswith("ok") for line in lines)
    assert last.startswith(f"{len(lines)} of {len(lines)} checks")


def test_gradcheck_fails_for_a_wrong_gradient(monkeypatch, capsys):
    from maml_exp.core import activations

    tanh = activations.ACTIVATIONS["tanh"]

    def wrong(*arguments, out=None, **options):
        return np.multiply(tanh.slope(*arguments, out=out, **options), 1.001, out=out)

    wrong = tanh._replace(slope=wrong)
    monkeypatch.setitem(activations.ACTIVATIONS, "tanh", wrong)
    assert main(["gradcheck", "model=one_hidden", "model.activation=tanh", "algorithm=maml", "inner.steps=1"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_reader_who_leaves_costs_no_traceback_and_no_result(tmp_path):
    start = f"{sys.executable} -m maml_exp {' '.join(TINY)} | true"
    process = subprocess.run(["bash", "-c", start], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert "Traceback" not in process.stderr
    assert "Exception" not in process.stderr
    assert read_status(only_run(tmp_path))["state"] == "finished"


def test_a_warning_free_run(tmp_path):
    """Warnings of our own or of the libraries' are for us, not for who runs it."""
    env_free = subprocess.run(
        [sys.executable, "-W", "error", "-m", "maml_exp", "+experiment=smoke", *TINY[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert env_free.returncode == 0, env_free.stderr
    assert "Warning" not in env_free.stderr
