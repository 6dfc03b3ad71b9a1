"""A real TensorBoard on loopback."""

import json
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from helpers import TIMEOUT, environment


class Server:
    """TensorBoard on loopback."""

    def __init__(self, process, address):
        self.process, self.address = process, address

    def get(self, path, **query):
        """The JSON at a path."""
        with urllib.request.urlopen(f"{self.address}{path}?{urllib.parse.urlencode(query)}", timeout=TIMEOUT) as answer:
            return json.loads(answer.read())

    def post(self, path, body):
        """The JSON that a path answers to this body."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.loads(answer.read())

    def wait_for(self, runs):
        """Until it has read these many runs and no scalar more comes."""
        until, before = time.monotonic() + TIMEOUT, None
        while time.monotonic() < until:
            tags = self.get("data/plugin/scalars/tags")
            if len(self.get("data/runs")) >= runs and tags == before:
                return
            before = tags
            time.sleep(1)
        raise AssertionError(f"TensorBoard shows {self.get('data/runs')}")


@contextmanager
def tensorboard(folder, cwd):
    """A real server over a folder, on a port that is free."""
    if find_spec("tensorboard") is None:
        pytest.skip("TensorBoard is not installed: pip install -e '.[tensorboard]'")
    log = cwd / "tensorboard.log"
    arguments = [f"--logdir={folder}", "--host=127.0.0.1", "--port=0", "--reload_interval=1"]
    # setuptools that TensorBoard imports warns about itself
    command = [sys.executable, "-W", "ignore", "-m", "tensorboard.main", *arguments]
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=cwd, stdout=file, stderr=file, env=environment(HOME=str(cwd)))
    try:
        until, address = time.monotonic() + TIMEOUT, ""
        while not address:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            address = next((word for word in log.read_text().split() if word.startswith("http://127")), "")
            time.sleep(0.05)
        yield Server(process, address)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
