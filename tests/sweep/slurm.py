"""A Slurm cluster of one node on this machine, from Debian's packages slurm-wlm and munge: its daemons, for a test."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "sinfo")
WANTED = "MAML_EXP_CLUSTERS"  # set by .ci/launchers: too slow, and too much of the machine's, for every test run
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES State=UP
"""


def why_not():
    """Why there can be no cluster here; None if there can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not os.environ.get(WANTED):
        return f"a Slurm cluster of one node: only where {WANTED} is set, as .ci/launchers does"
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurm-wlm and munge); .ci/launchers installs them"
    return None if os.geteuid() == 0 else "Slurm's daemons want to be root"


def _free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def asked(program, *arguments):
    """What one of Slurm's commands prints."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout


def until(condition, what, seconds=60):
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@contextmanager
def cluster(folder):
    """Start munge and Slurm in a folder; everything of theirs is in it, and ends with the test."""
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "munge").chmod(0o711)
    configuration, host = folder / "slurm.conf", socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, ports=_free_ports(2), cpus=os.cpu_count())
    configuration.write_text(text)
    files = {name: f"--{name}={folder / 'munge' / name}" for name in ("socket", "pid-file", "log-file", "seed-file")}
    before, daemons = os.environ.get("SLURM_CONF"), []
    os.environ["SLURM_CONF"] = str(configuration)
    try:
        for command in (
            ["munged", "--foreground", "--force", f"--key-file={key}", *files.values()],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D"],
        ):
            with open(folder / f"{command[0]}.out", "w") as output:
                daemons.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
            if command[0] == "munged":
                until((folder / "munge" / "socket").exists, "munged did not start")
        until(lambda: _idle(daemons), f"the node did not come up; see the logs in {folder}")
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before


def _idle(daemons):
    assert all(daemon.poll() is None for daemon in daemons), "a daemon ended"
    try:
        return "idle" in asked("sinfo", "-h", "-o", "%T")
    except subprocess.SubprocessError:  # the controller is not there yet
        return False


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster for the tests of a module; SLURM_CONF in the environment leads to it."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("slurm")):
        yield
