"""Settings of the whole suite, and runs that many tests look at, each made once.

One BLAS thread: at these sizes more are slower, and results must not depend on the machine's core count.
A test that changes a shared run works on its own copy.
"""

import os
import shutil
import signal
from itertools import count

# BLAS reads these once, when numpy is imported
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

# hundreds of processes are started, of which none should compile what another one has
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# processes that tests start inherit it: under nohup a hangup is ignored, and tests of hangups would wait for ever
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import pytest
from helpers import TINY, command, only_run, planted, signalled, train
from hypothesis import settings

# the same examples in every run, no database folder, and no verdict that depends on the clock
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("repeatable")

KILLED_AT = 87  # the iteration before which the `killed` run got SIGKILL: between two rows, after checkpoint 80


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """`maml-exp +experiment=smoke` as a user starts it: (completed process, run folder)."""
    cwd = tmp_path_factory.mktemp("smoke")
    process = command("+experiment=smoke", cwd=cwd)
    return process, only_run(cwd)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A finished run of TINY, never interrupted."""
    return train(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """The same run, in a process that got SIGKILL before iteration 87."""
    cwd = tmp_path_factory.mktemp("killed")
    process = planted(signalled(KILLED_AT, "SIGKILL"), *TINY, f"hydra.run.dir={cwd / 'run'}", cwd=cwd)
    assert process.returncode == -9, process.stderr
    return cwd / "run"


@pytest.fixture
def copied(tmp_path):
    """A function that copies a run's folder to tmp_path/<name>, times of its files included."""

    def copy(folder, name="run"):
        return shutil.copytree(folder, tmp_path / name)

    return copy


@pytest.fixture(scope="session")
def cwds(tmp_path_factory):
    """An empty folder below which those of all tests stand: to number them pytest would list them every time."""
    return tmp_path_factory.mktemp("cwds"), count()


@pytest.fixture(autouse=True)
def elsewhere(cwds, monkeypatch):
    """Every test works in a folder of its own, so that none writes into the repository's runs/."""
    folder, numbers = cwds
    own = folder / f"cwd{next(numbers)}"
    own.mkdir()
    monkeypatch.chdir(own)
