"""Sweeps under Hydra's basic launcher: folders, the table, and going on after whatever stopped them."""

import re
import shutil
import signal

import pytest
import yaml
from helpers import (
    TINY,
    assert_same_result,
    command,
    planted,
    points,
    points_of_rows,
    read_rows,
    read_status,
    read_summary,
    result,
    saved_steps,
    signalled,
    train,
    tree,
)
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from maml_exp.cli import main
from maml_exp.sweep.plan import Sweep

from .conftest import DIVERGING, FAILING, RATES, job_folders

SEEDS = [*TINY, "seed=0,1,2,3"]
NAMES = [f"{number}_optimizer.lr={'1e+30' if rate == '1e30' else rate}" for number, rate in enumerate(RATES)]
STATES = ["diverged" if n == DIVERGING else "failed" if n == FAILING else "finished" for n in range(12)]
FINISHED = [name for name, state in zip(NAMES, STATES, strict=True) if state == "finished"]


def sweep_here(folder, *overrides):
    """A sweep in this process; returns the exit status."""
    return main(["-m", *TINY, f"hydra.sweep.dir={folder}", *overrides])


def table(output):
    """Rows of the table of jobs that a sweep ends with: [name, status, objective, error]."""
    lines = output.splitlines()
    start = next(n for n, line in enumerate(lines) if re.match(r"job +status +objective +error", line))
    columns = [lines[start].index(title) for title in ("job", "status", "objective", "error")]
    rows = []
    for line in lines[start + 1 :]:
        if not line:
            return rows
        ends = [*columns[1:], None]
        rows.append([line[begin:end].strip() for begin, end in zip(columns, ends, strict=True)])
    raise AssertionError("the table does not end")


def numbers(folder):
    """All that must be equal to the bit, whether or not plots were drawn."""

    found = result(folder)
    return {**found, "summary": _without_plots(found["summary"])}


def _without_plots(value):
    """Nested dictionaries without the setting that says whether plots are drawn."""
    if not isinstance(value, dict):
        return value
    return {key: _without_plots(inner) for key, inner in value.items() if key != "plots"}


def check_twelve(process, sweep):
    """The issue's line: ten finished, the table right, exit 1."""
    assert process.returncode == 1, process.stderr
    assert [path.name for path in job_folders(sweep)] == NAMES
    assert [read_status(path)["state"] for path in job_folders(sweep)] == STATES
    rows = table(process.stdout)
    assert [row[0] for row in rows] == NAMES
    assert [row[1] for row in rows] == STATES
    for path, (_, state, objective, error) in zip(job_folders(sweep), rows, strict=True):
        expected = f"{read_summary(path)['objective']:.4g}" if state == "finished" else "-"
        assert objective == expected
        assert bool(error) == (state != "finished")
    assert rows[DIVERGING][3] == "the meta-loss is nan at iteration 2"
    assert rows[FAILING][3].startswith("optimizer.lr=-1.0 is not usable")
    assert f"10 of 12 jobs finished: {sweep}" in process.stdout


@pytest.mark.slow
def test_twelve_jobs_of_which_one_diverges_and_one_fails(whole):
    check_twelve(whole.process, whole.folder)


@pytest.mark.slow
def test_each_job_ran_with_its_own_override(whole, tmp_path):
    objectives = {read_summary(whole.folder / name)["objective"] for name in FINISHED}
    assert len(objectives) == 10
    alone = train(tmp_path / "alone", "optimizer.lr=0.004")
    assert_same_result(whole.folder / "5_optimizer.lr=0.004", alone)


@pytest.mark.slow
def test_what_a_refused_and_a_diverged_job_leave(whole):
    failing, diverging = whole.folder / NAMES[FAILING], whole.folder / NAMES[DIVERGING]
    assert "ERROR optimizer.lr=-1.0 is not usable" in (failing / "maml_exp.log").read_text()
    assert "ERROR the meta-loss is nan at iteration 2" in (diverging / "maml_exp.log").read_text()
    for folder in (failing, diverging):
        assert not (folder / "summary.json").exists()
        assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    for name in FINISHED:
        assert "ERROR" not in (whole.folder / name / "maml_exp.log").read_text()


@pytest.mark.slow
def test_killed_and_resumed_it_has_the_same_numbers_to_the_bit(whole, resumed):
    assert resumed.killed.returncode == -signal.SIGKILL
    assert list(resumed.before) == NAMES[:5]  # it was killed in job 4
    check_twelve(resumed.process, resumed.folder)
    for name in FINISHED:
        assert numbers(resumed.folder / name) == numbers(whole.folder / name)


@pytest.mark.slow
def test_what_the_killed_sweep_had_finished_is_not_touched(resumed):
    for name in (NAMES[0], NAMES[1], NAMES[DIVERGING]):
        assert tree(resumed.folder / name) == resumed.before[name]
    log = (resumed.folder / NAMES[4] / "maml_exp.log").read_text()
    assert "resumed at iteration 40 of 100" in log  # the newest checkpoint before iteration 53


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four seeds, all finished."""
    cwd = tmp_path_factory.mktemp("four")
    process = command("-m", *SEEDS, f"hydra.sweep.dir={cwd / 'sweep'}", cwd=cwd)
    assert process.returncode == 0, process.stderr
    return cwd / "sweep"


def test_resume_knows_finished_jobs_by_configuration(four, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    shutil.copytree(four, sweep)
    shutil.rmtree(sweep / "2_seed=2")
    (sweep / "0_seed=0").rename(sweep / "waiting")  # two trade places, one has a name of its own
    (sweep / "1_seed=1").rename(sweep / "0_seed=0")
    (sweep / "waiting").rename(sweep / "1_seed=1")
    (sweep / "3_seed=3").rename(sweep / "the good one")
    kept = ["0_seed=0", "1_seed=1", "the good one"]
    before = {name: tree(sweep / name) for name in kept}

    assert main(["resume", str(sweep)]) == 0

    assert {name: tree(sweep / name) for name in kept} == before
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {*kept, "2_seed=2"}
    assert_same_result(sweep / "2_seed=2", four / "2_seed=2")
    assert "4 of 4 jobs finished" in capsys.readouterr().out


def test_resume_of_a_finished_sweep_changes_nothing_in_its_jobs(four, tmp_path):
    sweep = tmp_path / "sweep"
    shutil.copytree(four, sweep)
    before = {path.name: tree(path) for path in job_folders(sweep)}
    assert main(["resume", str(sweep)]) == 0
    assert {path.name: tree(path) for path in job_folders(sweep)} == before


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_stops_the_sweep_and_resume_completes_it(four, tmp_path, name, status):
    sweep = tmp_path / "sweep"
    process = planted(signalled(150, name), "-m", *SEEDS, f"hydra.sweep.dir={sweep}", cwd=tmp_path)
    assert process.returncode == status
    assert [path.name for path in job_folders(sweep)] == ["0_seed=0", "1_seed=1"]
    assert [row[1] for row in table(process.stdout)] == ["finished", "interrupted"]
    assert "1 of 4 jobs finished, 2 not started" in process.stdout
    assert read_status(sweep / "1_seed=1")["step"] == 51  # that iteration was finished, and saved
    assert saved_steps(sweep / "1_seed=1")[-1] == 51
    assert f"maml-exp resume {sweep}" in process.stdout

    assert main(["resume", str(sweep)]) == 0
    for path in job_folders(four):
        assert result(sweep / path.name)["arrays"] == result(path)["arrays"]
        assert points(sweep / path.name) == points_of_rows(read_rows(sweep / path.name))
    assert not (sweep / ".stop").exists()


RAISES = """
def raises():
    raise RuntimeError("a fault of the user's")
plant(raises, 150, Trainer, "train_step")
"""
EXITS = 'plant(lambda: sys.exit("enough"), 150, Trainer, "train_step")'


@pytest.mark.parametrize(
    ("plant", "error"),
    [(RAISES, "RuntimeError: a fault of the user's"), (EXITS, "SystemExit: enough")],
    ids=["raises", "exits"],
)
def test_a_failing_job_leaves_its_error_in_its_own_log_and_stops_no_other(tmp_path, plant, error):
    sweep = tmp_path / "sweep"
    process = planted(plant, "-m", *SEEDS, f"hydra.sweep.dir={sweep}", cwd=tmp_path)
    assert process.returncode == 1
    states = ["finished", "failed", "finished", "finished"]
    assert [read_status(path)["state"] for path in job_folders(sweep)] == states
    assert table(process.stdout)[1][3] == error
    for path, state in zip(job_folders(sweep), states, strict=True):
        log = (path / "maml_exp.log").read_text()
        assert ("Traceback (most recent call last)" in log) == (state == "failed")
        assert log.endswith(f"{error}\n") == (state == "failed")


ODD = [
    ("name=a,'b c','été'", ["0_name=a", "1_name=_b_c_", "2_name=_été_"]),
    ("model.hidden=[8],[4,4]", ["0_model.hidden=_8_", "1_model.hidden=_4,4_"]),
    ("algorithm=maml,joint", ["0_algorithm=maml", "1_algorithm=joint"]),
    (f"name={'x' * 99},{'x' * 98}y", ["0_name=" + "x" * 99, "1_name=" + "x" * 98 + "y"]),
]


@pytest.mark.parametrize(("override", "names"), ODD, ids=["characters", "lists", "groups", "long"])
def test_folder_names_read_well(tmp_path, override, names):
    sweep = tmp_path / "sweep"
    assert sweep_here(sweep, "training.iterations=2", override) == 0
    assert [path.name for path in job_folders(sweep)] == names


def test_only_what_is_swept_is_in_a_name(tmp_path):
    sweep = tmp_path / "sweep"
    assert sweep_here(sweep, "training.iterations=2", "algorithm=maml,fomaml", "seed=0,1") == 0
    pairs = [("maml", 0), ("maml", 1), ("fomaml", 0), ("fomaml", 1)]
    expected = [f"{number}_algorithm={name},seed={seed}" for number, (name, seed) in enumerate(pairs)]
    assert [path.name for path in job_folders(sweep)] == expected


def test_values_that_no_file_system_takes_stay_inside_the_sweep(tmp_path):
    sweep = tmp_path / "sweep"
    values = f"name='../../x','a/b\\\\c',{'y' * 400},con,'~'"
    assert sweep_here(sweep, "training.iterations=2", values) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    names = [path.name for path in sweep.iterdir() if path.is_dir()]
    assert len(names) == len({name.lower() for name in names}) == 5
    for name in names:
        assert re.fullmatch(r"[0-4]_[\w.,=+~-]+", name)
        assert len(name.encode()) <= 255
        assert not name.endswith(".")


def test_long_lists_are_cut_but_told_apart(tmp_path):
    sweep = tmp_path / "sweep"
    fast = ["training.iterations=2", "training.evaluate_every=0", "evaluation.steps=0"]
    shots = ",".join(map(str, range(1, 60)))
    override = f"evaluation.shots=[{shots}],[{shots},99]"
    assert sweep_here(sweep, *fast, override) == 0
    first, second = job_folders(sweep)
    assert first.name[0] == "0"
    assert second.name[0] == "1"
    assert all(len(path.name.encode()) <= 255 for path in (first, second))


def saved_rates(folder):
    """The rates of the inner loop and of the evaluation in a run's saved configuration."""
    saved = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    return saved["inner"]["lr"], saved["evaluation"]["lr"]


def test_an_interpolation_is_resolved_in_each_job_also_after_resume(tmp_path):
    sweep_here(tmp_path / "sweep", "inner.lr=0.01,0.1", "evaluation.lr=${inner.lr}")
    expected = {"0_inner.lr=0.01": (0.01, 0.01), "1_inner.lr=0.1": (0.1, 0.1)}
    assert rates_by_job(tmp_path / "sweep") == expected
    shutil.rmtree(tmp_path / "sweep" / "1_inner.lr=0.1")
    assert main(["resume", str(tmp_path / "sweep")]) == 0
    assert rates_by_job(tmp_path / "sweep") == expected


def rates_by_job(sweep):
    return {folder.name: saved_rates(folder) for folder in job_folders(sweep)}


REFUSED = {
    "seed=0,1,x": "seed='x' is not usable: it must be an integer from 0 to 9223372036854775807",
    "training.iterations=5,1.5": "training.iterations=1.5 is not usable: it must be an integer from 1 to 1000000000",
    "model.hidden=[4],[a]": "model.hidden='a' is not usable: it must be a list of 1 to 100 widths, "
    "each from 1 to 100000, as in [40,40]",
    "model=one_hidden,nope": "model=nope is not usable: it must be one of one_hidden, three_hidden, two_hidden",
    "task.nmae=1,2": "task.nmae is not a setting; did you mean task.name?",
    "optimizer.momentum=0,0.9": "optimizer.momentum is a setting of sgd, not of adam; "
    "choose it with optimizer=sgd or optimizer=adam",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_composed_is_refused_in_a_line_before_the_first_job(override, tmp_path, capsys):
    assert sweep_here(tmp_path / "sweep", "algorithm=maml,joint", override) == 1
    captured = capsys.readouterr()
    assert captured.err == f"maml-exp: {REFUSED[override]}\n"
    assert captured.out == ""
    assert not (tmp_path / "sweep").exists()


def test_how_to_go_on_is_said_where_that_helps_and_as_it_can_be_typed(tmp_path, capsys):
    odd = tmp_path / "sw eep"
    swept = ["-m", *TINY, "training.iterations=10", f"hydra.sweep.dir='{odd}'"]
    assert main([*swept, "inner.lr=0.01,-1"]) == 1
    assert "to go on" not in capsys.readouterr().out  # it would be refused again
    (job_folders(odd)[0] / "status.json").unlink()  # as of one that has not come far
    Sweep.load(odd).report()
    assert capsys.readouterr().out.splitlines()[-1] == (f"to go on with those that did not: maml-exp resume '{odd}'")


def test_resume_of_a_sweep_whose_jobs_nobody_knows_says_so(tmp_path, capsys):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "sweep.json").write_text('{"schema": 3, "overrides": ["seed=0"], "constant": ["seed"], "jobs": []}')
    before = tree(sweep)
    for arguments in ([], ["--jobs", "2"], ["hydra/launcher=basic"]):
        assert main(["resume", str(sweep), *arguments]) == 1
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith(f"maml-exp: {sweep} is a sweep of which no job has begun")
        assert captured.out == ""
    assert tree(sweep) == before


def test_a_folder_of_the_user_s_own_is_left(tmp_path):
    (tmp_path / "mine").mkdir()
    assert sweep_here(tmp_path / "mine", "seed=0,x") == 1
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_that_are_the_same_have_a_folder_each_also_after_resume(tmp_path, jobs):
    sweep = tmp_path / "sweep"
    assert sweep_here(sweep, "seed=0,0", "training.iterations=5") == 0
    first, second = job_folders(sweep)
    assert_same_result(second, first)
    before = tree(first)
    shutil.rmtree(second)
    assert main(["resume", str(sweep), f"--jobs={jobs}"]) == 0
    assert tree(first) == before
    assert_same_result(second, first)


def test_a_job_is_composed_once_when_it_runs(tmp_path, monkeypatch):
    composed = []
    compose = ConfigLoaderImpl.load_sweep_config

    def counted(self, master_config, sweep_overrides):
        composed.append(sweep_overrides)
        return compose(self, master_config, sweep_overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    swept = ["training.iterations=2", "algorithm=maml,joint", "seed=0,1,2"]
    assert sweep_here(tmp_path / "sweep", *swept) == 0
    assert len(composed) == 2 + 6  # before the first job one for each algorithm; then every job
