"""The same command gives the same bits, and every run a folder of its own."""

import subprocess
import sys

from helpers import TIMEOUT, TINY, assert_same_result, command, read_status, read_summary, result, saved_steps

from maml_exp.cli import main
from maml_exp.config.composing import compose


def test_the_same_command_gives_the_same_bits(tiny, tmp_path):
    process = command(*TINY, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert_same_result(tmp_path / "run", tiny)


def test_resolved_settings_alone_decide_the_result(tiny, tmp_path):
    """The same configuration written as other overrides gives the same bits."""
    shuffled = [*reversed(TINY[1:]), TINY[0], "inner=five_steps", "inner.steps=1", "++seed=0"]
    assert main([*shuffled, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert result(tmp_path / "run") == result(tiny)
    assert compose(shuffled) == compose(TINY)


def test_two_runs_started_at_the_same_time_get_two_folders(tmp_path):
    # Hydra's ${now:} in a process whose second never changes
    code = (
        "import sys, hydra.core.utils\n"
        "from datetime import datetime as real\n"
        "class datetime(real):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None): return cls(2026, 1, 2, 3, 4, 5)\n"
        "hydra.core.utils.datetime = datetime\n"
        "from maml_exp.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    start = [sys.executable, "-c", code, *TINY, "name=same"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*start, f"seed={seed}"], cwd=tmp_path, **pipes) for seed in range(4)]
    outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    folders = [path.parent for path in tmp_path.glob("runs/*/*/status.json")]
    names = ["03-04-05-same", "03-04-05-same-2", "03-04-05-same-3", "03-04-05-same-4"]
    assert sorted(f"{f.parent.name}/{f.name}" for f in folders) == [f"2026-01-02/{name}" for name in names]
    hashes = [read_summary(folder)["parameters_sha256"] for folder in folders]
    assert len(set(hashes)) == 4
    for (out, _), seed in zip(outputs, range(4), strict=True):
        folder = next(f for f in folders if out.splitlines()[-1] == str(f))
        assert f"seed: {seed}\n" in (folder / ".hydra" / "config.yaml").read_text()
        assert saved_steps(folder) == [20, 40, 60, 80, 100]
        assert read_status(folder)["state"] == "finished"


def test_a_name_is_in_the_folder_s_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "name='my first, run'", "training.iterations=1"]) == 0
    (folder,) = tmp_path.glob("runs/*/*")
    assert folder.name[8:] == "-my first, run"
    assert compose(["name='my first, run'"]).name == "my first, run"
