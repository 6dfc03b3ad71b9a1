"""`maml-exp diff`: the settings, the environment and the results in which two runs differ."""

import json

import pytest
from helpers import train

from maml_exp.cli import main

DIFFERENCES = [  # overrides of the second run; exit status; lines that are printed
    ([], 0, ["configuration: identical", "results: identical"]),
    (["name=other", "training.keep_checkpoints=1"], 0, ["name: None -> other", "results: identical"]),
    (["seed=1"], 3, ["seed: 0 -> 1", "metrics.csv parts at step 7: meta/loss", "the final parameters differ"]),
    (["training.iterations=110"], 3, ["training.iterations: 100 -> 110", "parts at step 100"]),
    (["evaluation.shots=[5]"], 3, ["evaluation.shots: [5, 10] -> [5]"]),
]


@pytest.mark.parametrize(("overrides", "status", "lines"), DIFFERENCES, ids=[str(case[0]) for case in DIFFERENCES])
def test_diff_names_what_differs(overrides, status, lines, tiny, tmp_path, capsys):
    other = train(tmp_path / "other", *overrides)
    capsys.readouterr()
    assert main(["diff", str(tiny), str(other)]) == status
    out = capsys.readouterr().out
    assert [line for line in lines if line not in out] == [], out
    assert ("results: identical" in out) == (status == 0)


def test_runs_without_results_have_no_identical_ones(tiny, tmp_path, capsys):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").write_bytes((tiny / ".hydra" / "config.yaml").read_bytes())
    assert main(["diff", *map(str, folders)]) == 3
    assert "there is nothing to compare" in capsys.readouterr().out


def test_diff_names_what_differs_between_two_machines(tiny, copied, capsys):
    folder = copied(tiny)
    record = json.loads((folder / "provenance.json").read_text())
    record["environment"]["cpu"] = "Zuse Z3"
    record["environment"]["packages"]["numpy"] = "1.26.0"
    record["environment"]["blas"][0]["architecture"] = "Abacus"
    record["code"]["commit"] = "0" * 40
    record["environment"]["host"] = "elsewhere"
    (folder / "provenance.json").write_text(json.dumps(record))
    assert main(["diff", str(folder), str(tiny)]) == 0
    out = capsys.readouterr().out
    for line in (
        "cpu: Zuse Z3 -> ",
        "packages.numpy: 1.26.0 -> ",
        "blas.0.architecture: Abacus -> ",
        f"code.commit: {'0' * 40} -> ",
    ):
        assert line in out
    assert "elsewhere" not in out
    assert main(["diff", str(tiny), str(tiny)]) == 0
    assert "environment: identical" in capsys.readouterr().out
