"""Links, pipes and devices inside a run's or a sweep's folder: refused with a line, nothing behind them touched."""

import json
import os
import shutil

import pytest
from helpers import TINY, assert_same_result, checkpoint_path, command, read_status, saved_steps, tree

from maml_exp.cli import main
from maml_exp.config.schema import SCHEMA
from maml_exp.core.checks import SettingError
from maml_exp.data import door

OWN = ["maml_exp.log", ".lock", "status.json", "summary.json", "provenance.json", "metrics.csv", "evaluation.npz"]
OWN += [".hydra", ".hydra/config.yaml", "checkpoints", "plots"]


def contents(path):
    return {name: content for name, (content, _) in tree(path).items()}


@pytest.fixture
def sweep(tiny, killed, tmp_path):
    """A sweep of two jobs: one finished, one killed; made of copies, with the plan that fits."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    jobs = []
    for number, run in enumerate((tiny, killed)):
        path = shutil.copytree(run, folder / f"{number}_x={number}")
        overrides = [*TINY, f"seed={number}"]
        text = (path / ".hydra" / "config.yaml").read_text()
        (path / ".hydra" / "config.yaml").write_text(text.replace("seed: 0\n", f"seed: {number}\n", 1))
        jobs.append(overrides)
    plan = {
        "schema": SCHEMA,
        "overrides": [*TINY, "seed=0,1"],
        "constant": [o.split("=")[0] for o in TINY],
        "jobs": jobs,
    }
    (folder / "sweep.json").write_text(json.dumps(plan))
    return folder


def plant(at, outside, kind):
    """Move what is at a place outside, or something precious where nothing is, and link there."""
    if at.exists():
        shutil.move(at, outside)
    elif kind == "folder":
        outside.mkdir()
        (outside / "precious").write_text("mine")
    else:
        outside.write_text("mine")
    at.symlink_to(outside)


@pytest.mark.parametrize("verb", ["resume", "plot"])
@pytest.mark.parametrize("name", OWN)
def test_a_link_in_a_run_is_refused(verb, name, tiny, killed, copied, tmp_path, capsys):
    folder, outside = copied(killed if verb == "resume" else tiny), tmp_path / "outside"
    plant(folder / name, outside, "folder" if name == "plots" else "file")
    before = contents(outside) if outside.is_dir() else outside.read_bytes()
    assert main([verb, str(folder)]) == 1
    said = capsys.readouterr().err
    assert f"{folder / name} is a link" in said
    assert len(said.splitlines()) == 1
    assert (contents(outside) if outside.is_dir() else outside.read_bytes()) == before


@pytest.mark.parametrize("name", ["finetune.png", "adaptation.png"])
def test_a_figure_replaces_a_link_and_is_not_written_through_it(name, tiny, copied, tmp_path):
    folder, outside = copied(tiny), tmp_path / "outside"
    outside.write_text("mine")
    (folder / "plots").mkdir()
    (folder / "plots" / name).symlink_to(outside)
    assert main(["plot", str(folder)]) == 0
    assert outside.read_text() == "mine"
    assert not (folder / "plots" / name).is_symlink()
    assert (folder / "plots" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["maml_exp.log", ".lock", "checkpoints", ".hydra", "status.json", ""])
def test_a_link_in_a_job_of_a_sweep_is_not_followed(name, sweep, tmp_path, capsys):
    """The job's folder itself, its log, its lock, its checkpoints: what is there stays, and foreign steps, too."""
    job, outside = sweep / "1_x=1", tmp_path / "outside"
    at = job / name if name else job
    plant(at, outside, "file")
    before = contents(outside) if outside.is_dir() else outside.read_bytes()
    assert main(["resume", str(sweep)]) == 1
    captured = capsys.readouterr()
    assert f"{at.name} is a link" in captured.out + captured.err
    assert "Traceback" not in captured.err
    assert (contents(outside) if outside.is_dir() else outside.read_bytes()) == before


@pytest.mark.parametrize("name", ["sweep.json", ".stop"])
def test_a_link_in_a_sweep_is_refused(name, sweep, tmp_path, capsys):
    plant(sweep / name, tmp_path / "outside", "file")
    before = (tmp_path / "outside").read_bytes()
    assert main(["resume", str(sweep)]) == 1
    assert f"{sweep / name} is a link" in capsys.readouterr().err
    assert (tmp_path / "outside").read_bytes() == before


def test_a_link_that_leads_to_a_run_is_the_user_s_own(killed, tiny, copied, tmp_path):
    folder = copied(killed)
    (tmp_path / "short").symlink_to(folder)
    assert main(["resume", str(tmp_path / "short")]) == 0
    assert_same_result(folder, tiny)


def test_a_log_with_a_second_name_elsewhere_leaves_that_as_it_is(killed, copied, tmp_path):
    """As a backup of hard links has it."""
    folder = copied(killed)
    os.link(folder / "maml_exp.log", tmp_path / "backup.log")
    before = (tmp_path / "backup.log").read_bytes()
    assert main(["resume", str(folder)]) == 0
    assert (tmp_path / "backup.log").read_bytes() == before
    assert (folder / "maml_exp.log").read_bytes().startswith(before)
    assert len((folder / "maml_exp.log").read_bytes()) > len(before)


KINDS = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link": lambda path: os.symlink("/dev/zero", path),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["status.json", "summary.json", ".hydra/config.yaml", "metrics.csv"])
def test_every_verb_refuses_what_is_no_file(kind, name, tiny, copied, tmp_path, capsys):
    folder = copied(tiny)
    (folder / name).unlink()
    KINDS[kind](folder / name)
    (tmp_path / "points.csv").write_text("x,y\n0.5,1\n")
    for verb, more in (("resume", []), ("rerun", []), ("diff", [tiny]), ("plot", []), ("adapt", ["points.csv"])):
        more = [tmp_path / part if part == "points.csv" else part for part in more]
        assert main([verb, str(folder), *map(str, more)]) == 1, verb
        said = capsys.readouterr().err
        assert f"{folder / name} is {kind}" in said, verb
        assert len(said.splitlines()) == 1
    status = main(["compare", str(folder), str(tiny), "--no-figures"])
    captured = capsys.readouterr()
    assert status == 0
    assert "Traceback" not in captured.err
    if "config" in name:
        assert f"{folder / name} is {kind}" in captured.err


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_checkpoint_file_is_set_aside(kind, killed, tiny, copied):
    folder = copied(killed)
    KINDS[kind](checkpoint_path(folder, 90))
    process = command("resume", folder, cwd=folder.parent)
    assert process.returncode == 0, process.stderr
    assert f"step_00000090.npz is {kind}" in process.stderr
    assert os.path.lexists(folder / "checkpoints" / "step_00000090.npz.unusable")
    assert saved_steps(folder) == [20, 40, 60, 80, 100]
    assert read_status(folder)["state"] == "finished"
    assert_same_result(folder, tiny)


def test_the_door_asks_what_was_opened(tmp_path):
    """A folder of the run's own that is a link is refused, for reading, writing, listing and deleting."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("mine")
    (tmp_path / "link").symlink_to("real")
    at = tmp_path / "link" / "file"
    for use in (
        lambda: door.read_bytes(at, 100, own_folder=True),
        lambda: door.write(at, b"x", own_folder=True),
        lambda: door.remove(at, own_folder=True),
        lambda: door.set_aside(at, own_folder=True),
        lambda: door.names_in(at.parent),
    ):
        with pytest.raises(SettingError, match="link is a link"):
            use()
    assert (tmp_path / "real" / "file").read_text() == "mine"
    assert door.read_bytes(at, 100) == b"mine"  # the user's own way there
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["file"]
