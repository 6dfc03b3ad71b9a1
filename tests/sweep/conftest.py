"""The sweep that the specification asks for, once left alone and once killed in the middle and resumed."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import TINY, command, planted, signalled, tree

from .server import tensorboard

RATES = ["0.001", "0.002", "1e30", "-1", "0.003", "0.004", "0.005", "0.006", "0.007", "0.008", "0.009", "0.01"]
DIVERGING, FAILING = 2, 3  # numbers of these two jobs
SWEEP = [*TINY, f"optimizer.lr={','.join(RATES)}"]
KILLED_AT = 255  # two whole jobs, two iterations of the diverging one, then in the middle of job 4


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Twelve jobs, one of them diverging and one failing: what the process said, and the sweep's folder."""
    cwd = tmp_path_factory.mktemp("whole")
    process = command("-m", *SWEEP, f"hydra.sweep.dir={cwd / 'sweep'}", cwd=cwd)
    return SimpleNamespace(process=process, folder=cwd / "sweep")


@pytest.fixture(scope="session")
def resumed(tmp_path_factory):
    """The same sweep, with plots, in a process that got SIGKILL in the middle of job 4; then resumed."""
    cwd = tmp_path_factory.mktemp("resumed")
    folder = cwd / "sweep"
    overrides = [*SWEEP, "evaluation.plots=true", f"hydra.sweep.dir={folder}"]
    killed = planted(signalled(KILLED_AT, "SIGKILL"), "-m", *overrides, cwd=cwd)
    before = {path.name: tree(path) for path in job_folders(folder)}
    return SimpleNamespace(killed=killed, before=before, process=command("resume", folder, cwd=cwd), folder=folder)


@pytest.fixture(scope="session")
def server(resumed, tmp_path_factory):
    """TensorBoard over the resumed sweep, when it has read it."""
    with tensorboard(resumed.folder, tmp_path_factory.mktemp("tensorboard")) as running:
        running.wait_for(len(RATES))
        yield running


def job_folders(sweep):
    """The folders of a sweep's jobs, in the order of their numbers."""
    found = [path.parent for path in Path(sweep).glob("*/.hydra")]
    return sorted(found, key=lambda path: int(path.name.split("_")[0]))
