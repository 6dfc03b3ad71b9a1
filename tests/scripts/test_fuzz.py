"""The fuzzer, for a few seconds: what it finds would be found by hours of it, too, only sooner."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FUZZ = Path(__file__).resolve().parents[2] / "scripts" / "attack" / "fuzz.py"
if sys.platform == "win32":
    pytest.skip("it forks", allow_module_level=True)


def fuzz(*arguments, cwd):
    return subprocess.run(
        [sys.executable, FUZZ, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def test_a_few_damages_command_lines_and_configurations(tmp_path):
    process = fuzz("--seed", 11, "--damages", 3, "--texts", 12, cwd=tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    cases = re.search(r"(\d+) cases, 0 failures, at most (\d+) MB", process.stdout)
    assert cases, process.stdout
    assert int(cases[1]) == 3 * 6 + 12
    assert int(cases[2]) < 500
    assert list(tmp_path.iterdir()) == []


FAULTS = {  # a defect that is planted in the product; what the fuzzer calls it
    "traceback": "raise RuntimeError('planted')",
    "hung": "import time; time.sleep(100)",
    "memory": "import numpy; numpy.ones(100_000_000)",
    "changed something outside": "from pathlib import Path; Path('../outside/precious').write_text('x')",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_defect_is_found_and_can_be_repeated(name, tmp_path):
    code = "import sys; sys.argv[0] = 'fuzz'; sys.path.insert(0, sys.argv[1]); import fuzz; from maml_exp import cli\n"
    code += "fuzz.SECONDS = 12; fuzz.MEGABYTES = 600; real = cli._run\n"
    code += f"def run(arguments):\n if 'diff' in arguments: {FAULTS[name]}\n return real(arguments)\n"
    code += "cli._run = run; sys.argv[1:2] = []; sys.exit(fuzz.main())"
    found = subprocess.run(
        [sys.executable, "-c", code, FUZZ.parent, "--damages", "1", "--texts", "0", "--seed", "4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 3, found.stdout + found.stderr
    failed = [line for line in found.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert f"--seed 4 --only damage:0   {name}" in failed[0]
    assert "maml-exp 'diff " in failed[0]
