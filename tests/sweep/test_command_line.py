"""A sweep's command line: its parts in any order, and what is refused before the first job."""

import pytest
from helpers import TINY
from omegaconf import OmegaConf

from maml_exp.cli import main
from maml_exp.core.checks import SettingError
from maml_exp.sweep.checks import check_folders
from maml_exp.sweep.command_line import for_hydra

FAST = [*TINY, "training.iterations=10"]

REFUSED = [
    ("seed=range(0)", "seed=range(0) is not usable: it stands for no value"),
    ("seed=interval(0,1)", "seed=interval(0,1) is not usable: a sweep takes values"),
    ("seed=range(0,3,0)", "seed=range(0,3,0) is not usable: range() arg 3 must not be zero"),
    ("seed=range(0,200000)", "this sweep has more than 100000 jobs"),
    ("hydra.sweep.subdir=x", "hydra.sweep.subdir=x is not usable: jobs need folders of their own"),
    ("hydra.sweep.subdir=../zz", "hydra.sweep.subdir=../zz is not usable: jobs need folders of their own"),
    ("hydra.output_subdir=null", "hydra.output_subdir=null is not usable: it must be .hydra"),
    ("--nope", "unrecognized arguments: --nope"),
    ("--jobs=0", "--jobs=0 is not usable: it must be an integer from 1 to 1024"),
    ("hydra/launcher=workers", "--jobs=2 is a launcher of its own: leave out --jobs, or hydra/launcher=..."),
]


@pytest.mark.parametrize(("argument", "message"), REFUSED)
def test_what_makes_no_sweep_is_refused_in_a_line_and_leaves_nothing(argument, message, tmp_path, capsys):
    jobs = [] if argument.startswith("--jobs") else ["--jobs=2"]
    assert main(["-m", *FAST, argument, *jobs, f"hydra.sweep.dir={tmp_path / 'sweep'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("maml-exp: ")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_jobs_without_a_sweep(capsys):
    assert main([*FAST, "--jobs", "2"]) == 1
    assert capsys.readouterr().err == "maml-exp: --jobs=2 is for sweeps: add -m\n"


ORDERS = [
    (["a=1", "-m", "b=1,2"], ["a=1", "b=1,2", "-m"]),
    (["a=1", "--cfg", "job", "b=2", "-p", "task"], ["a=1", "b=2", "--cfg", "job", "-p", "task"]),
    (["-cd", "mine", "a=1", "--multirun", "~c"], ["a=1", "~c", "-cd", "mine", "--multirun"]),
    (["--jobs", "3", "a=1,2", "-m"], ["a=1,2", "hydra/launcher=workers", "hydra.launcher.jobs=3", "-m"]),
    (["a=1,2", "-m", "--jobs=1"], ["a=1,2", "-m"]),
    (["+experiment=depth"], ["+experiment=depth", "--multirun"]),  # the file says that it is a sweep
    (["+experiment=depth", "--cfg", "job"], ["+experiment=depth", "--cfg", "job"]),
    (["+experiment=depth", "hydra.mode=RUN"], ["+experiment=depth", "hydra.mode=RUN"]),
    (["+experiment=smoke"], ["+experiment=smoke"]),
    ([], []),
]


@pytest.mark.parametrize(("typed", "given"), ORDERS)
def test_options_may_stand_anywhere(typed, given):
    assert for_hydra(typed) == given


SUBDIRS = {
    "${hydra.job.num}": True,
    "job-${hydra:job.num}": True,
    "${hydra.job.num}_${maml_exp.safe:${hydra.job.override_dirname}}": True,
    "${hydra.job.num}_${maml_exp.safe:${seed}}_${now:%H}": True,
    "${hydra.job.num}_${seed}": False,  # a value may hold a slash
    "${hydra.job.num}/run": False,
    "../${hydra.job.num}": False,
    ".${hydra.job.num}": False,
    "${maml_exp.safe:${seed}}": False,  # jobs may share it
}


@pytest.mark.parametrize("subdir", SUBDIRS)
def test_folders_of_jobs(subdir):
    hydra = OmegaConf.create({"sweep": {"subdir": subdir}, "output_subdir": ".hydra"})
    if SUBDIRS[subdir]:
        check_folders(hydra)
    else:
        with pytest.raises(SettingError, match=r"hydra\.sweep\.subdir=.* is not usable"):
            check_folders(hydra)
