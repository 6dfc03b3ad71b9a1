"""Saved configurations are read in one pass: to what the safe loader makes of them, and nothing more dangerous."""

import pytest
import yaml

from maml_exp.config.saved import load_plain_config
from maml_exp.core.checks import SettingError

READ = [
    "a: 1\nb: [1, 2.5, 1e-2, 1.0e+5]\nc: {d: null, e: ~, f: }\n",
    "a: yes\nb: 'yes'\nc: \"x\\ty\"\nd: 0x1F\ne: 1_000\nf: 1:30\ng: .inf\n",
    "a: |\n  two\n  lines\nb: >\n  one\n  line\n",
    "a: 1\na: 2\n",
    "a: 2020-01-01\n",
    "<<: {a: 1}\nb: 2\n",
    "a: !!str 3\n",
    "1: {2: [3, {4: 5}]}\n",
]
REFUSED = [
    "a: &x [1]\nb: *x\n",
    "a: 1\n---\nb: 2\n",
    "a: !!python/name:os.system\n",
    "? [1]\n: 2\n",
    "a: [",
    "- 1\n",
    "3",
]


@pytest.mark.parametrize("text", READ)
def test_a_configuration_is_read_as_the_safe_loader_reads_it(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"schema: 999\n{text}")
    expected = yaml.safe_load(path.read_text())
    assert repr(load_plain_config(path)) == repr(expected)


@pytest.mark.parametrize("text", [*REFUSED, "a: " + "[" * 9 + "]" * 9])
def test_what_is_no_configuration_is_refused(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(SettingError, match=r"config\.yaml"):
        load_plain_config(path)
