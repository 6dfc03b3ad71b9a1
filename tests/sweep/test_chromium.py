"""What a person sees: TensorBoard's tabs over a sweep in headless Chromium, beside those over an empty folder.

With KEEP_SCREENSHOTS=FOLDER the pictures are kept there, to be looked at.
"""

import base64
import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import TIMEOUT, environment, read_summary
from PIL import Image

from .conftest import DIVERGING, FAILING, RATES, job_folders
from .server import tensorboard

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]
WIDTH, HEIGHT = 1600, 1100

if CHROMIUM is None:
    pytest.skip("no Chromium: apt-get install chromium", allow_module_level=True)

# The texts within the window, also those inside of components, one a line.
VISIBLE_TEXT = """
(() => {
  const texts = [], range = document.createRange();
  const walk = node => {
    if (node.nodeType === Node.TEXT_NODE && node.textContent.trim()) {
      range.selectNodeContents(node);
      const box = range.getBoundingClientRect();
      if (box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.left < innerWidth)
        texts.push(node.textContent.trim().replace(/\\\\s+/g, ' '));
    }
    if (node.shadowRoot) walk(node.shadowRoot);
    for (const child of node.childNodes)
      if (!['STYLE', 'SCRIPT', 'TEMPLATE'].includes(child.nodeName)) walk(child);
  };
  walk(document.body);
  return texts.join('\\\\n');
})()
""".replace("\\\\", "\\")


class Browser:
    """Headless Chromium, told what to do over a pair of pipes."""

    def __init__(self, profile):
        # Chromium reads from file 3 and writes to file 4
        (read, self._write), (self._read, write) = os.pipe(), os.pipe()
        high = [fcntl.fcntl(number, fcntl.F_DUPFD, 20) for number in (read, write)]

        def at_3_and_4():
            for number, wanted in zip(high, (3, 4), strict=True):
                os.dup2(number, wanted)

        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}", "about:blank"],
            stderr=subprocess.DEVNULL,
            env=environment(HOME=str(profile)),
            close_fds=False,
            preexec_fn=at_3_and_4,
        )
        for number in (read, write, *high):
            os.close(number)
        self._calls, self._buffer, self._page = 0, b"", None

    def call(self, method, **parameters):
        """A command of Chromium's DevTools protocol; returns its result."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        if self._page is not None:
            message["sessionId"] = self._page
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                chunk = os.read(self._read, 1 << 16)
                assert chunk, "Chromium has ended"
                self._buffer += chunk
            line, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._calls:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def open(self, address):
        """Show a page in a new window."""
        self._page = None
        target = self.call("Target.createTarget", url=address, newWindow=True)["targetId"]
        self._page = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def text(self):
        """What can be read in the window."""
        return self.call("Runtime.evaluate", expression=VISIBLE_TEXT, returnByValue=True)["result"].get("value", "")

    def picture(self, path):
        """What can be seen in the window, as (height, width, 3); written to a file too."""
        content = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(content)
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def close(self):
        """End it."""
        self._process.terminate()
        self._process.wait(TIMEOUT)
        os.close(self._read)
        os.close(self._write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One Chromium for all tests."""
    running = Browser(tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """TensorBoard over nothing."""
    with tensorboard(tmp_path_factory.mktemp("nothing"), tmp_path_factory.mktemp("tensorboard")) as running:
        yield running


@pytest.fixture(scope="module")
def see(browser, tmp_path_factory):
    """A function that opens a tab and waits until these words can be read: (lines of text, picture)."""
    kept = Path(os.environ.get("KEEP_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))

    def open_tab(server, tab, name, words):
        browser.open(f"{server.address}#{tab}")
        until, text, before = time.monotonic() + 30, "", None
        # until the words are there and the picture no longer changes
        while time.monotonic() < until:
            text, picture = browser.text(), browser.picture(kept / f"{name}-{tab}.png")
            if all(word in text for word in words) and before is not None and np.array_equal(picture, before):
                break
            before = picture
            time.sleep(0.5)
        return text.splitlines(), picture

    return open_tab


def strong_colours(picture):
    """How many strongly coloured shades cover more than fifty points below the bar at the top."""
    body = picture[140:]
    coarse = (body // 32)[np.ptp(body, axis=2) > 60]
    _, counts = np.unique(coarse, axis=0, return_counts=True)
    return int(np.sum(counts > 50))


@pytest.mark.parametrize(
    ("tab", "words"),
    [
        ("scalars", ["meta", "meta/loss", "meta/explosions"]),
        ("images", ["adaptation", "step"]),
        ("hparams", ["Trial ID", "optimizer.lr", "result/objective"]),
    ],
)
def test_every_run_is_seen_by_its_name(server, empty, see, resumed, tab, words):
    names = [path.name for path in job_folders(resumed.folder)]
    lines, picture = see(server, tab, "sweep", words + names)
    assert set(names) <= set(lines)
    for word in words:
        assert any(word in line for line in lines), (word, lines)

    no_lines, nothing = see(empty, tab, "empty", [])
    assert not any(name in line for name in names for line in no_lines)
    assert np.mean(np.any(picture != nothing, axis=2)) > 0.05
    if tab != "hparams":  # a table without colours
        assert strong_colours(picture) > strong_colours(nothing) + 3


def test_the_hparams_table_shows_rates_and_objectives(server, see, resumed):
    """One row a run: its name, the swept rate, its objective; a failed or diverged run has none."""
    folders = job_folders(resumed.folder)
    lines, _ = see(server, "hparams", "table", ["Trial ID", "optimizer.lr", *[path.name for path in folders]])
    rows, name = {}, None
    for line in lines[lines.index("Trial ID") :]:
        if re.fullmatch(r"\d+_.*", line):
            name = line
        rows.setdefault(name, []).append(line)
    heading = rows.pop(None)
    assert "optimizer.lr" in heading
    assert "result/objective" in heading
    assert sorted(rows) == sorted(path.name for path in folders)
    for number, path in enumerate(folders):
        numbers = [float(cell) for cell in rows[path.name] if re.fullmatch(r"-?[\d.]+(e[+-]\d+)?", cell)]
        assert any(np.isclose(cell, float(RATES[number]), rtol=1e-3) for cell in numbers), (path.name, numbers)
        if number not in (DIVERGING, FAILING):
            assert any(np.isclose(cell, read_summary(path)["objective"], rtol=1e-4) for cell in numbers)
