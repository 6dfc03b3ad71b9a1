"""A Ray cluster of two nodes, both on this machine: a sweep finds it (address=auto), is stopped, and resumed there."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import TINY, command, read_status, saved_steps

from maml_exp.cli import main

from .conftest import job_folders
from .processes import check_completed, settings, started_command
from .slurm import WANTED

SWEPT = "training.iterations=10,6000,6001"
LONG = [*TINY, "training.log_every=1000", "training.evaluate_every=0", "training.checkpoint_every=250", SWEPT]
LAUNCHER = ["hydra/launcher=ray", "hydra.launcher.ray.init.address=auto", "+hydra.launcher.ray.remote.num_cpus=1"]
RAY = [str(Path(sys.executable).with_name("ray"))]
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of one processor each, on which the code of `processes.settings` can be imported, too."""
    if not os.environ.get(WANTED):
        pytest.skip(f"a Ray cluster of two nodes: only where {WANTED} is set, as .ci/launchers does")
    if find_spec("hydra_plugins.hydra_ray_launcher") is None:
        pytest.skip("hydra-ray-launcher is not installed; .ci/launchers installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
    head = ["start", "--head", f"--port={port}", "--include-dashboard=false", *common]
    nodes_know = settings(tmp_path_factory.mktemp("home"), **QUIET)
    try:
        for arguments in (head, ["start", f"--address=127.0.0.1:{port}", *common]):
            subprocess.run([*RAY, *arguments], check=True, env=nodes_know, capture_output=True, timeout=120)
        yield
    finally:
        subprocess.run([*RAY, "stop", "--force"], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The sweep under the basic launcher."""
    folder = tmp_path_factory.mktemp("never-stopped") / "sweep"
    assert main(["-m", *LONG, f"hydra.sweep.dir={folder}"]) == 0
    return folder


def test_both_nodes_work_and_resume_uses_them_too(cluster, never_stopped, tmp_path):
    sweep = tmp_path / "sweep"
    process = command("-m", *LAUNCHER, *LONG, f"hydra.sweep.dir={sweep}", cwd=tmp_path)
    check_completed(process, sweep, never_stopped)
    # a node has one processor, and a worker process for each
    assert len({read_status(folder)["pid"] for folder in job_folders(sweep)}) >= 2
    for name in ("0_training.iterations=10", "1_training.iterations=6000"):
        shutil.rmtree(sweep / name)
    check_completed(command("resume", sweep, *LAUNCHER, cwd=tmp_path), sweep, never_stopped)


def test_ctrl_c_saves_on_both_and_the_cluster_stays(cluster, never_stopped, tmp_path):
    with started_command(["-m", *LAUNCHER, *LONG, f"hydra.sweep.dir={tmp_path / 'sweep'}"], tmp_path) as started:
        # one processor a node: two jobs at once are on two nodes
        started.wait_for(lambda: len([f for f in job_folders(started.sweep)[1:] if saved_steps(f)]) == 2)
        assert started.process.poll() is None, started.ended()
        os.killpg(started.process.pid, signal.SIGINT)
        status, output = started.ended()
        assert status == 130, output
        assert [state for state, _ in started.states()] == ["finished", "interrupted", "interrupted"]
        process = command("resume", started.sweep, *LAUNCHER, cwd=tmp_path)
        check_completed(process, started.sweep, never_stopped)
