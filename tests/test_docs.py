"""The programs in docs/ run as they stand, and pages made from the code are what the code makes today."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import COMMAND, TIMEOUT, environment

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# what a test changes of a page's commands: only how long they train and how much they judge
QUICK = ["evaluation.tasks=10", "evaluation.tasks_in_training=5", "evaluation.plots=false"]


def blocks(page):
    """(language, file name or "", text) of every block of code."""
    return [(language, name, text) for language, name, text in BLOCK.findall((DOCS / page).read_text())]


def extension_commands():
    """Every command of extending.md."""
    texts = [text for language, _, text in blocks("extending.md") if language == "sh"]
    return [line for text in texts for line in text.splitlines()]


@pytest.fixture(scope="module")
def extensions(tmp_path_factory):
    """A folder with the files of extending.md."""
    folder = tmp_path_factory.mktemp("extensions")
    for _, name, text in blocks("extending.md"):
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def run(line, cwd, **changes):
    words = shlex.split(line)
    start = COMMAND if words[0] == "maml-exp" else [sys.executable]
    extra = [] if "gradcheck" in words else QUICK
    return subprocess.run(
        [*start, *words[1:], *extra],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(**changes),
    )


def test_there_are_commands():
    assert len(extension_commands()) == 6


@pytest.mark.slow
@pytest.mark.parametrize("line", extension_commands())
def test_a_command_of_extending_works(line, extensions):
    process = run(line, extensions)
    assert process.returncode == 0, process.stderr + process.stdout
    assert "Traceback" not in process.stderr


def test_an_extension_says_what_it_is(extensions):
    process = run("python steps.py task=steps task.height=[1,0]", extensions)
    assert process.returncode == 1
    assert "task.height=[1.0, 0.0] is not usable: it must be [low, high]" in process.stderr
    without_code = run("maml-exp task=steps", extensions)
    assert "task=steps is not usable" in without_code.stderr or "task must be one of" in without_code.stderr


def test_a_saved_run_of_an_extension_needs_its_code_and_says_so(extensions):
    trained = run("python steps.py task=steps training.iterations=5 hydra.run.dir=saved", extensions)
    assert trained.returncode == 0, trained.stderr
    alone = subprocess.run(
        [*COMMAND, "rerun", "saved"], cwd=extensions, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert alone.returncode == 1
    assert "task.name='steps' is not usable: it must be one of" in alone.stderr
    beside = subprocess.run(
        [sys.executable, "steps.py", "rerun", "saved"], cwd=extensions, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert beside.returncode == 0, beside.stderr
    assert "identical" in beside.stdout


def test_what_a_script_registers_is_there_in_the_processes_of_joblib(extensions):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    line = "python steps.py -m task=steps seed=0,1 training.iterations=5 hydra/launcher=joblib hydra.sweep.dir=parallel"
    process = run(line, extensions)
    assert process.returncode == 0, process.stderr + process.stdout
    assert "2 of 2 jobs finished" in process.stdout


def test_what_a_script_registers_is_there_in_our_own_worker_processes(extensions):
    stopped = run("python steps.py -m task=steps seed=0,1,2 training.iterations=5 hydra.sweep.dir=left", extensions)
    assert stopped.returncode == 0, stopped.stderr
    for job in ("0_seed=0", "2_seed=2"):  # as if they had not been finished
        (extensions / "left" / job / "status.json").unlink()
        for path in (extensions / "left" / job / "checkpoints").iterdir():
            path.unlink()
    process = subprocess.run(
        [sys.executable, "steps.py", "resume", "left", "--jobs", "2"],
        cwd=extensions,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.returncode == 0, process.stderr + process.stdout
    assert "3 of 3 jobs finished" in process.stdout


def test_an_entry_point_makes_a_module_a_choice(extensions, tmp_path):
    package = tmp_path / "site"
    (package / "outside-1.dist-info").mkdir(parents=True)
    (package / "outside-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1\n")
    (package / "outside-1.dist-info" / "entry_points.txt").write_text("[maml_exp.tasks]\nsteps = outside_steps\n")
    text = (extensions / "steps.py").read_text().split("maml_exp.register_task")[0]
    (package / "outside_steps.py").write_text(text + "\nSettings, Family = StepSettings, StepFamily\n")
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    process = run("maml-exp task=steps training.iterations=5 hydra.run.dir=here", tmp_path, PYTHONPATH=path)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "here" / "summary.json").is_file()


def test_the_program_of_the_api_page_runs(tmp_path):
    (text,) = [text for language, _, text in blocks("api.md") if language == "python"]
    (tmp_path / "walk.py").write_text(text)
    process = subprocess.run([sys.executable, "walk.py"], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert re.fullmatch(r"Run\('runs/.*-maml,.*', finished\)", lines[0])
    assert "(11, 100)" in lines
    assert "x has 5 points and y has 4: they must have as many" in lines
    assert "algorithm=fomaml" in process.stdout


def test_the_page_of_settings_is_what_the_code_makes_today():
    made = subprocess.run([*COMMAND, "settings", "--markdown"], capture_output=True, text=True, timeout=TIMEOUT)
    assert made.returncode == 0, made.stderr
    assert (DOCS / "settings.md").read_text() == made.stdout, "maml-exp settings --markdown > docs/settings.md"
