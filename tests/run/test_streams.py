"""A run does not depend on who reads what it prints; other verbs say so when nobody can."""

import os
import signal
import subprocess

import pytest
from helpers import COMMAND, TIMEOUT, TINY, command, environment, only_run, read_status

SHELL = " ".join([*COMMAND, "{arguments}"])
WAYS = {  # how the shell starts a run; what it prints
    "read by one that leaves": "{run} 2>/dev/null | head -1; exit ${{PIPESTATUS[0]}}",
    "closed output": "{run} >&-",
    "a full output": "{run} >/dev/full",
    "output in ASCII": "PYTHONIOENCODING=ascii {run}",
    "closed errors": "{run} 2>&-",
    "full errors": "{run} 2>/dev/full",
    "errors read by one that leaves": "{run} 2>&1 >/dev/null | head -c 1; exit ${{PIPESTATUS[0]}}",
    "everything closed": "{run} <&- >&- 2>&-",
}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
@pytest.mark.parametrize("way", WAYS)
def test_a_finished_run_is_a_success_whoever_reads_it(way, tmp_path):
    line = WAYS[way].format(run=" ".join(f"'{part}'" for part in [*COMMAND, *TINY]))
    process = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert "Exception ignored" not in process.stderr
    folder = only_run(tmp_path)
    assert read_status(folder)["state"] == "finished"
    assert (folder / "summary.json").exists()
    if "full output" in way:
        assert "cannot write to standard output: No space left on device" in process.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
def test_a_table_that_cannot_be_printed_is_a_failure(tiny, tmp_path):
    with open("/dev/full", "w") as full:
        process = command("diff", tiny, tiny, cwd=tmp_path, stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert process.returncode == 1
    assert process.stderr == "maml-exp: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_is_imported(number, tmp_path):
    """The moment: Hydra is about to be imported."""
    code = "import os, sys; from maml_exp.cli import main\nclass Finder:\n def find_spec(self, name, *rest):\n"
    code += f"  if name == 'hydra': os.kill(os.getpid(), {int(number)})\n"
    code += "sys.meta_path.insert(0, Finder()); sys.argv[1:] = ['seed=1']; sys.exit(main())"
    process = subprocess.run(
        [COMMAND[0], "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, env=environment()
    )
    assert process.returncode in (128 + number, -number)
    assert "Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_hydra_would_resolve_is_refused(tmp_path):
    cwd = tmp_path / "${now:x}"
    cwd.mkdir()
    process = command("+experiment=smoke", cwd=cwd)
    assert process.returncode == 1
    assert str(cwd) in process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["${now:x}"]


@pytest.mark.parametrize("name", ["--experimental-rerun", "--experimental", "--exp", "--e"])
@pytest.mark.parametrize("form", ["{name} {file}", "{name}={file}"])
def test_nothing_is_unpickled(name, form, tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"cos\nmkdir\n(S'pwned'\ntR.")
    process = command(*form.format(name=name, file=tmp_path / "x.pkl").split(), cwd=tmp_path)
    assert process.returncode == 1
    assert f"maml-exp: {name} is refused: it unpickles" in process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.pkl"]
