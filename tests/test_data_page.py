"""The commands of docs/data.md run as they stand, one after the other, but for how long they train."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers import COMMAND, TIMEOUT, environment

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# rows of baselines, and the command that prints them; glyphs depend on the renderer's version
PRINTED = (("best linear (BLUP)", "task=table"), ("baseline best_linear", "compare"))


@pytest.mark.slow
def test_the_page_of_ones_own_data_runs(tmp_path):
    lines = []
    for language, name, text in BLOCK.findall(PAGE):
        if name:
            (tmp_path / name).write_text(text)
        elif language == "sh":
            lines += text.splitlines()
    assert [shlex.split(line)[1] for line in lines] == ["task=table", "-m", "compare", "adapt", "task=glyphs"]
    shown = {}
    for line in lines:
        words = shlex.split(line)[1:]
        trains = words[0] in ("task=table", "-m", "task=glyphs")
        quick = ["training.iterations=20", "training.evaluate_every=10"] if trains else []
        if words[0] == "task=glyphs":
            quick += ["evaluation.tasks=40", "evaluation.plots=false"]
        process = subprocess.run(
            [*COMMAND, *words, *quick], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, env=environment()
        )
        assert process.returncode == 0, f"{line}\n{process.stderr}"
        shown[words[0]] = process.stdout
    assert "on 50 held-out groups after adapting to 5 support points" in shown["task=table"]
    for printed, verb in PRINTED:
        (row,) = [line for line in shown[verb].splitlines() if line.startswith(printed)][-1:]
        numbers = row.removeprefix(printed).split()[:2]
        assert all(number in PAGE for number in numbers), row  # baselines do not depend on how long a run trains
    assert "Accuracy (%) (chance 20) on 40 fixed tasks" in shown["task=glyphs"]
    assert "200 predictions: kenya-filled.csv" in shown["adapt"]
    assert (tmp_path / "kenya-filled.png").is_file()
