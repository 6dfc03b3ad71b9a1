"""Names from a stranger's files reach no terminal, spreadsheet or page as commands; odd values reach no traceback."""

import csv
import ctypes
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from maml_exp.cli import main
from maml_exp.data import texts

ANSI = "\x1b]0;owned\x07\x1b[31mred\x9b"
HTML = "<img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://x","y")'
LINK = "[x](javascript:alert(1))"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ± ключ", "plain ± ключ"),
        ("a\nb\tc", "a\nb\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b1m\x7f\x00\r", "\\x9b1m\\x7f\\x00\\r"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\ud800", "\\ud800"),
    ],
)
def test_for_a_terminal(text, shown):
    assert texts.for_terminal(text) == shown


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-1.5, -1.5),
        (3, 3),
        (None, None),
        ("-1.5", "-1.5"),
        ("+1e5", "+1e5"),
        ("maml", "maml"),
        (FORMULA, "'" + FORMULA),
        ("+1+1", "'+1+1"),
        ("-1_0", "'-1_0"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\\t=1"),
        ("a\nb", "a\\nb"),
        (["=1"], "['=1']"),
    ],
)
def test_for_a_spreadsheet(value, cell):
    assert texts.for_csv(value) == cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model.hidden=[40,40]", "model.hidden=[40,40]"),
        (HTML, "&lt;img src=x onerror=alert(1)&gt;"),
        ("a|b`c`", "a\\|b\\`c\\`"),
        (LINK, "[x]\\(javascript:alert(1))"),
        ("&lt;", "&amp;lt;"),
        ("a\nb", "a\\\\nb".replace("\\\\", "\\\\")),
    ],
)
def test_for_a_page(text, shown):
    assert texts.for_markdown(text) == shown


def test_a_stranger_s_names_are_shown_and_do_nothing(tiny, tmp_path, capsys):
    folders = [shutil.copytree(tiny, tmp_path / name) for name in ("a", "b", "c", "d")]
    for folder, odd in zip(folders, (ANSI, HTML, FORMULA, LINK + "$x^{"), strict=True):
        path = folder / ".hydra" / "config.yaml"
        plain = yaml.safe_load(path.read_text())
        plain["model"]["activation"] = odd
        plain[odd] = 1
        path.write_text(yaml.safe_dump(plain))
        status = json.loads((folder / "status.json").read_text())
        (folder / "status.json").write_text(json.dumps({**status, "error": ANSI}))
    assert main(["compare", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "\\x1b[31mred" in captured.out
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert "\x1b" not in page
    assert "<img" not in page.replace("`maml-exp", "\n`maml-exp").split("\nBest: ")[0]
    assert "](" not in page.split("\nBest: ")[0]
    with open(tmp_path / "out" / "comparison.csv", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]
    assert "'" + FORMULA in cells
    assert main(["diff", str(folders[0]), str(folders[1])]) == 0
    assert "\x1b" not in capsys.readouterr().out


BIG = 10**400
SUMMARIES = {
    "a huge objective": lambda s: s.update(objective=BIG),
    "a text as objective": lambda s: s.update(objective="x"),
    "a list as objective": lambda s: s.update(objective=[1]),
    "a huge count": lambda s: s["evaluation"]["shots"]["5"]["trained"].update(diverged=[BIG] * 3),
    "a huge mean": lambda s: s["evaluation"]["shots"]["5"]["trained"].update(mean=[BIG] * 3),
    "no numbers": lambda s: s["evaluation"]["shots"]["5"]["trained"].update(mean=[]),
    "fewer numbers": lambda s: s["evaluation"]["shots"]["5"]["trained"].update(median=[1.0]),
    "one number": lambda s: s["evaluation"]["shots"]["5"]["random"].update(mean=3),
    "nested numbers": lambda s: s["evaluation"]["shots"]["5"]["trained"].update(mean=[[1], [2], [3]]),
    "odd shots": lambda s: s["evaluation"].update(shots={"x": 1}),
    "a list of shots": lambda s: s["evaluation"].update(shots=[1]),
    "a text as rate": lambda s: s["evaluation"].update(lr="x"),
}


@pytest.mark.parametrize("what", SUMMARIES)
def test_an_odd_summary_is_unreadable(what, tiny, copied, capsys):
    folder = copied(tiny)
    summary = json.loads((folder / "summary.json").read_text())
    SUMMARIES[what](summary)
    (folder / "summary.json").write_text(json.dumps(summary))
    assert main(["compare", str(folder), str(tiny), "--no-figures"]) == 0
    assert "1 unreadable" in capsys.readouterr().out
    assert main(["plot", str(folder)]) in (0, 1)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 1


@pytest.mark.parametrize("seed", [[1], {"a": 1}, BIG, None, "x" * 1000, 1.5])
def test_an_odd_seed_is_one_all_the_same(seed, tiny, copied, capsys):
    folder = copied(tiny)
    path = folder / ".hydra" / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "seed": seed}))
    assert main(["compare", str(folder), str(tiny), "--no-figures"]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


def test_a_number_beyond_every_float_is_no_rate(tiny, copied, capsys):
    folder = copied(tiny)
    path = folder / ".hydra" / "config.yaml"
    plain = yaml.safe_load(path.read_text())
    plain["inner"]["lr"] = -BIG
    path.write_text(yaml.safe_dump(plain))
    assert main(["rerun", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "inner.lr" in said
    assert len(said.splitlines()) == 1


def test_out_that_is_a_file_is_refused(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["compare", str(tiny), "--out", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert f"--out {tmp_path / 'file'} is not usable" in said
    assert (tmp_path / "file").read_text() == "mine"


DAC_OVERRIDE, DAC_READ_SEARCH, CAPBSET_DROP = 1, 2, 24  # of Linux


def as_a_user():
    """Even root's process is denied what the modes deny from now on."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            assert libc.prctl(CAPBSET_DROP, capability, 0, 0, 0) == 0


EVERY_VERB = """
import sys
from maml_exp.cli import main
run, points = sys.argv[1:]
for verb in (["resume", run], ["rerun", run], ["diff", run, run], ["plot", run], ["adapt", run, points],
             ["compare", run, "--no-figures"]):
    sys.stderr.write(f"{verb[0]}: {main(verb)}\\n")
"""
DENIED = {  # what may not be read; how every verb ends: resume, rerun, diff, plot, adapt, compare
    ".": [1, 1, 1, 1, 1, 1],
    ".hydra/config.yaml": [0, 1, 1, 1, 1, 1],
    "metrics.csv": [0, 1, 1, 1, 0, 0],
    "checkpoints/step_00000100.npz": [0, 0, 0, 1, 1, 0],
    "summary.json": [0, 3, 0, 1, 0, 1],
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root's rights are taken away in Linux's way")
@pytest.mark.parametrize("name", DENIED)
def test_what_may_not_be_read_is_named(name, tiny, copied, tmp_path):
    folder = copied(tiny)
    (tmp_path / "points.csv").write_text("x,y\n0.5,1\n")
    (folder / name).chmod(0)
    try:
        process = subprocess.run(
            [sys.executable, "-c", EVERY_VERB, folder, tmp_path / "points.csv"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=as_a_user,
        )
    finally:
        (folder / name).chmod(0o755)
    assert "Traceback" not in process.stderr
    said = process.stderr.splitlines()
    ended = [int(line.split(": ")[1]) for line in said if line[-3:-1] == ": " and line[-1].isdigit()]
    assert ended == DENIED[name], process.stderr
    assert str(folder / name).removesuffix("/.") in process.stderr
    assert "Permission denied" in process.stderr
