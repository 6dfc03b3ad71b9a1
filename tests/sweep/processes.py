"""Real sweeps in processes of their own, that wait, are stopped and killed, and what they leave."""

import os
import signal
import subprocess
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers import COMMAND, TIMEOUT, TINY, command, environment, read_status, read_summary, result

from .conftest import job_folders

USER_CODE = Path(__file__).with_name("user_code")


def settings(folder, **more):
    """The environment of a sweep with the users' optimizers; BLAS is not told how many threads to use."""
    threads = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"}
    path = os.pathsep.join([str(USER_CODE), *filter(None, [os.environ.get("PYTHONPATH")])])
    inherited = {key: value for key, value in environment().items() if key not in threads}
    return {**inherited, "PYTHONPATH": path, "HOME": str(folder), **more}


# the first ends at once and leaves a worker idle, the second waits at iteration 60, saved there
STOPPED = [*TINY, "optimizer=waits", "optimizer.lr=0.001", "training.iterations=10,100"]


class Started:
    """A command over cwd/sweep in a process group of its own; its processes carry a mark, wherever they go."""

    def __init__(self, arguments, cwd, command=COMMAND):
        self.sweep, self._mark, self._cwd, self.gate = cwd / "sweep", uuid.uuid4().hex, cwd, cwd / "gate"
        self.environment = settings(cwd, SWEEP_MARK=self._mark, GATE=str(self.gate))
        self._output = open(cwd / "output", "w+")  # noqa: SIM115  closed with the process
        started = {"env": self.environment, "stdout": self._output, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen([*command, *arguments], cwd=cwd, start_new_session=True, **started)

    def wait_for(self, condition):
        """Until it holds, for as long as the sweep runs."""
        until = time.monotonic() + TIMEOUT
        while not condition() and self.process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.02)

    def states(self):
        """(state, step) of the jobs that have said it."""
        found = [read_status(path) for path in job_folders(self.sweep) if (path / "status.json").exists()]
        return [(status["state"], status["step"]) for status in found]

    def ended(self):
        """Exit status and output."""
        status = self.process.wait(TIMEOUT)
        self._output.seek(0)
        return status, self._output.read()

    def alive(self):
        """Command lines of the processes that the sweep started and that are still there."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = f"SWEEP_MARK={self._mark}".encode() in (folder / "environ").read_bytes()
                if marked and (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:  # it has just ended, or is another user's
                continue
        return found

    def left(self):
        """The same, when those that are about to end have had the time."""
        until = time.monotonic() + 20
        while self.alive() and time.monotonic() < until:
            time.sleep(0.05)
        return self.alive()

    def clean(self):
        """End what is left, if a test fails."""
        self._output.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def resume(self):
        """Complete the sweep, with the gate open."""
        self.gate.touch()
        return command("resume", self.sweep, cwd=self._cwd, env=self.environment)


def check_completed(process, sweep, reference):
    """All finished, with the bits of the sweep that was never stopped."""
    assert process.returncode == 0, process.stderr
    assert [path.name for path in job_folders(sweep)] == [path.name for path in job_folders(reference)]
    for path in job_folders(reference):
        assert read_status(sweep / path.name)["state"] == "finished"
        assert result(sweep / path.name)["arrays"] == result(path)["arrays"]
        assert read_summary(sweep / path.name)["evaluation"] == read_summary(path)["evaluation"]


@contextmanager
def started_command(arguments, cwd, command=COMMAND):
    """A command that has just been started, ended whatever the test does."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("the processes of a sweep are found in /proc, which this system does not have")
    started = Started(arguments, cwd, command)
    try:
        yield started
    finally:
        started.clean()
