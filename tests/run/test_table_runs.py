"""Runs on a table of the user's, from the command line: what is asked for again, what is remembered, what is judged."""

import csv
import json

import numpy as np
import pytest
from helpers import TINY, command, train

from maml_exp import SettingError, compare, load
from maml_exp.cli import main
from maml_exp.store.records import read_run
from maml_exp.store.run_folder import RunFolder

GROUPS, YEARS = 24, 20
TASK = ["task=table", "task.group=country", "task.inputs=[year]", "task.outputs=[births]", "task.shots=3"]
ON_TABLE = [*TASK, "evaluation.shots=[2,4]"]


def rows(seed=0):
    """Lines of slopes and levels of their own, in units far from 0 and 1."""
    rng = np.random.default_rng(seed)
    for group in range(GROUPS):
        level, slope = rng.uniform(2000, 9000), rng.uniform(-90, 90)
        for year in range(YEARS):
            yield f"land {group}", 1960 + year, round(level + slope * year + rng.normal(), 4)


def write(path, found):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("country", "year", "births"), *found])
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and its table beside it."""
    folder = tmp_path_factory.mktemp("on_table")
    write(folder / "t.csv", rows())
    return train(folder / "run", *ON_TABLE, f"task.file={folder / 't.csv'}")


def numbers(folder):
    summary = json.loads((folder / "summary.json").read_text())
    return summary["parameters_sha256"], summary["evaluation"]["shots"]


def test_names_of_columns_are_drawn_as_they_are(tmp_path):
    odd, out = r"cost $\frac$ of a very long name, 2 $", r"$\births of$"
    path = write(tmp_path / "t.csv", rows())
    path.write_text(path.read_text().replace("year,births", f'"{odd}",{out}'))
    task = [*TASK[:2], f'task.inputs=["{odd}"]', f'task.outputs=["{out}"]', *TASK[4:], "evaluation.shots=[2,4]"]
    drawing = ["evaluation.plots=true", "evaluation.baselines=[ridge]"]
    folder = train(tmp_path / "run", *task, f"task.file={path}", *drawing)
    drawn = {picture.name for picture in (folder / "plots").iterdir()}
    assert drawn == {"finetune.png", "adaptation.png", "points.png"}
    (tmp_path / "p.csv").write_text(f'"{odd}",{out}\n1960,5000\n1970,5100\n')
    assert main(["adapt", str(folder), str(tmp_path / "p.csv"), "--out", str(tmp_path / "a.csv")]) == 0
    assert (tmp_path / "a.png").exists()


def test_row_order_group_order_and_name_of_the_file_change_no_bit(trained, tmp_path):
    shuffled = list(rows())
    np.random.default_rng(1).shuffle(shuffled)
    path = write(tmp_path / "another name.csv", shuffled)
    again = train(tmp_path / "again", *ON_TABLE, f"task.file={path}")
    assert numbers(again) == numbers(trained)
    assert read_run(RunFolder(again)).judged_on == read_run(RunFolder(trained)).judged_on


def test_a_run_says_what_its_table_was(trained):
    data = json.loads((trained / "provenance.json").read_text())["data"]
    assert (data["rows"], data["groups"]) == (GROUPS * YEARS, GROUPS)
    assert data["train"] + data["validation"] + data["test"] == GROUPS
    assert len(data["file_sha256"]) == 64


def test_test_groups_have_no_part_in_anything_before_the_end(trained, tmp_path):
    facts = json.loads((trained / "data.json").read_text())
    family = load(trained, trained.parent / "t.csv").learner.problem.family
    tested = set(family.held_out("test", 0, 100, 4, 100).names)
    assert len(tested) == facts["counts"]["test"]
    huge = [(name, year, births * 1e20 if name in tested else births) for name, year, births in rows()]
    other = train(tmp_path / "huge", *ON_TABLE, f"task.file={write(tmp_path / 'huge.csv', huge)}")
    sha, judged = numbers(other)
    assert sha == numbers(trained)[0]
    assert judged != numbers(trained)[1]
    before, after = ((folder / "metrics.csv").read_text().splitlines()[:-1] for folder in (trained, other))
    assert without_clock(before) == without_clock(after)  # small evaluations among them
    assert json.loads((other / "data.json").read_text())["y_mean"] == facts["y_mean"]


def without_clock(lines):
    cells = [line.split(",") for line in lines]
    kept = [place for place, name in enumerate(cells[0]) if not name.startswith("time/")]
    return [[row[place] for place in kept] for row in cells]


def test_errors_are_in_the_unit_of_the_table(trained):
    found = np.load(trained / "evaluation.npz")
    assert 1e4 < np.median(found["reference"]) < 1e6  # slopes of some 50 a year over 20 years
    mean = json.loads((trained / "summary.json").read_text())["evaluation"]["baselines"]["4"]["mean_curve"]["mean"]
    assert mean > 1e6  # levels differ by thousands


def test_a_table_that_a_run_names_is_not_opened_unasked(trained, copied, capsys):
    run = copied(trained)
    for line in (["plot", str(run)], ["rerun", str(run)]):
        assert main(line) == 1
        assert "give it again, task.file=PATH" in capsys.readouterr().err
    file = f"task.file={trained.parent / 't.csv'}"
    assert main(["plot", str(run), file]) == 0
    assert main(["rerun", str(run), file]) == 0
    assert "identical" in capsys.readouterr().out
    assert main(["plot", str(run), "inner.lr=3"]) == 1
    assert "a saved run keeps its settings" in capsys.readouterr().err


def test_a_strangers_path_is_never_touched(trained, copied, tmp_path):
    """A pipe would hold up whoever opened it."""
    run, bait = copied(trained), tmp_path / "bait.csv"
    for path in (run / ".hydra" / "config.yaml", run / "data.json"):
        path.write_text(path.read_text().replace(str(trained.parent / "t.csv"), str(bait)))
    bait.symlink_to("/dev/zero")
    for verb in (["plot", run], ["rerun", run], ["list", run], ["compare", run], ["diff", run, run]):
        process = command(*verb, cwd=tmp_path, timeout=60)
        assert "Traceback" not in process.stderr
        assert "bait" not in process.stderr or "give it again" in process.stderr


def test_a_rerun_on_a_changed_table_says_so_before_it_starts(trained, tmp_path, capsys):
    changed = [(name, year, births + (name == "land 3")) for name, year, births in rows()]
    assert main(["rerun", str(trained), f"task.file={write(tmp_path / 'other.csv', changed)}"]) == 3
    assert "has changed since the run: other rows, so results will differ" in capsys.readouterr().err
    same = write(tmp_path / "same.csv", list(rows())[::-1])
    assert main(["rerun", str(trained), f"task.file={same}"]) == 0
    assert "other bytes, but the same rows" in capsys.readouterr().err


def test_adapting_needs_no_table(trained, copied, tmp_path, capsys):
    run = copied(trained)
    points = tmp_path / "points.csv"
    points.write_text("year,births\n1962,3000\n1975,3100\n")
    assert main(["adapt", str(run), str(points), "--steps", "5"]) == 0
    with open("points-adapted.csv", newline="") as file:
        made = list(csv.DictReader(file))
    years = [float(row["year"]) for row in made]
    assert (years[0], years[-1]) == (1960, 1979)  # the training groups' range
    adapted = load(run).adapt([1962, 1975], [3000, 3100], steps=5)
    np.testing.assert_allclose(adapted.predict(years), [float(row["births"]) for row in made], rtol=1e-6)
    assert np.abs(adapted.predict(years)).max() > 100  # births, no standard deviations


def test_an_interrupted_run_goes_on_to_the_same_bits_on_the_same_table_alone(trained, copied, tmp_path, capsys):
    run = copied(trained)
    for name in ("status.json", "summary.json", "checkpoints/step_00000100.npz"):
        (run / name).unlink()
    assert main(["resume", str(run)]) == 1
    assert "give it again" in capsys.readouterr().err
    other = write(tmp_path / "other.csv", rows(seed=5))
    assert main(["resume", str(run), f"task.file={other}"]) == 1
    assert "has changed since the run began" in capsys.readouterr().err
    assert main(["resume", str(run), f"task.file={trained.parent / 't.csv'}"]) == 0
    assert numbers(run) == numbers(trained)


def test_a_sweep_is_run_by_workers_and_resumed_with_its_table(trained, tmp_path, capsys):
    file = f"task.file={trained.parent / 't.csv'}"
    line = [*TINY, *ON_TABLE, file, "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert main(["-m", *line, "--jobs", "2"]) == 0
    jobs = sorted((tmp_path / "sweep").glob("*_seed=*"))
    assert numbers(jobs[0]) == numbers(trained)
    before = numbers(jobs[1])
    for path in [jobs[1] / "status.json", *(jobs[1] / "checkpoints").iterdir()]:
        path.unlink()
    assert main(["resume", str(tmp_path / "sweep")]) == 1
    assert "give it again" in capsys.readouterr().out
    assert main(["resume", str(tmp_path / "sweep"), file, "--jobs", "2"]) == 0
    assert numbers(jobs[1]) == before
    assert main(["compare", str(tmp_path / "sweep")]) == 0
    shown = capsys.readouterr().out
    assert "baseline gaussian_process" in shown
    assert "on 6 tasks" in shown
    (group,) = compare(tmp_path / "sweep").groups
    errors = [np.load(job / "evaluation.npz") for job in jobs]
    expected = np.mean([found["ridge_K4"] - found["trained_K4"][:, 1] for found in errors])
    assert group.less_than("ridge", 4, 1).mean.value == pytest.approx(expected, rel=1e-5)


def test_runs_on_different_tables_or_splits_are_kept_apart(trained, tmp_path, capsys):
    file = f"task.file={trained.parent / 't.csv'}"
    train(tmp_path / "other", *ON_TABLE, file, "task.split_seed=1")
    assert main(["compare", str(trained), str(tmp_path / "other")]) == 1
    assert "task.split_seed is" in capsys.readouterr().err


BAD = {
    "short": (["evaluation.shots=[30]"], "groups have fewer than 31 rows"),
    "no such column": (["task.outputs=[deaths]"], "there is no column deaths"),
    "incomplete": (["task.group=''"], "task=table needs task.group"),
    "no file": (["task.file=none.csv"], "none.csv cannot be read"),
    "type": (["task.inputs=year"], "it must be a list of different names"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_costs_a_line_and_leaves_nothing(name, trained, tmp_path, capsys):
    changes, message = BAD[name]
    line = [*TINY, *ON_TABLE, f"task.file={trained.parent / 't.csv'}", *changes]
    assert main([*line, f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_shipped_data_needs_nothing_again(tmp_path, capsys):
    run = train(tmp_path / "run", *ON_TABLE, "task.file=package:fertility.csv", "evaluation.baselines=[ridge]")
    assert main(["plot", str(run)]) == 0
    assert main(["rerun", str(run)]) == 0


def test_short_groups_that_are_left_out_are_counted(tmp_path, capsys):
    some = [row for row in rows() if not (row[0] in ("land 1", "land 2", "land 3", "land 4") and row[1] > 1961)]
    path = write(tmp_path / "t.csv", some)
    run = train(tmp_path / "run", *ON_TABLE, f"task.file={path}", "task.short=drop")
    notes = json.loads((run / "summary.json").read_text())["notes"]
    assert any("groups with too few rows are left out" in note for note in notes)
    assert "left out" in (run / "maml_exp.log").read_text()


def test_a_damaged_memory_of_the_table_is_refused(trained, copied):
    run = copied(trained)
    (run / "data.json").write_text('{"x_mean": 3}')
    with pytest.raises(SettingError, match="damaged"):
        load(run).adapt([1962], [3000])
    (run / "data.json").unlink()
    with pytest.raises(SettingError, match="give it again"):
        load(run).adapt([1962], [3000])
