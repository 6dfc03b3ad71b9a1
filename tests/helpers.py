"""What the tests of the experiment runner share: running it, reading what it wrote, comparing two runs to the bit.

Nothing here uses the product's own readers: metrics.csv is read with csv, event files byte by byte.
"""

import csv
import json
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from tensorboardX.proto.event_pb2 import Event

from maml_exp.cli import main
from maml_exp.config.choices import CHOICES
from maml_exp.config.schema import from_dict

COMMAND = [sys.executable, "-m", "maml_exp"]
TIMEOUT = 120  # seconds: only so that a process that hangs fails its test
CLOCK = ("time/iterations_per_second", "time/seconds", "time/unix")  # columns that no second run repeats
NOT_SHOWN = ("step", "time/seconds", "time/unix")  # columns of metrics.csv that are no curve in TensorBoard

# a run of a fifth of a second that logs, evaluates and saves at steps that do not coincide
TINY = [
    "+experiment=smoke",
    "model.hidden=[8]",
    "training.iterations=100",
    "training.log_every=7",
    "training.evaluate_every=30",
    "training.checkpoint_every=20",
    "training.keep_checkpoints=0",
    "evaluation.shots=[5,10]",
    "evaluation.tasks=20",
    "evaluation.tasks_in_training=10",
    "evaluation.steps=2",
    "evaluation.plots=false",
]
TINY_STEPS = [7, 14, 21, 28, 30, 35, 42, 49, 56, 60, 63, 70, 77, 84, 90, 91, 98, 100]


def shipped_options():
    """(group, option) of every file in conf/ that is ours: a user's own stand beside them, and are none of git's."""
    conf = Path(__file__).parents[1] / "conf"
    listed = subprocess.run(["git", "ls-files"], cwd=conf, capture_output=True, text=True)
    names = listed.stdout.split() if listed.returncode == 0 else [p.relative_to(conf) for p in conf.glob("*/*.yaml")]
    paths = [Path(name) for name in names]
    return sorted((path.parent.name, path.stem) for path in paths if len(path.parts) == 2 and path.parts[0] != "hydra")


def default_config():
    """The defaults of every dataclass, with the project's first choices (conf/ may say otherwise)."""
    names = {"task": "sinusoid", "optimizer": "adam", "algorithm": "gradient"}
    return from_dict({group: {CHOICES[group].key: name} for group, name in names.items()})


def train(folder, *overrides):
    """Train into `folder`, in this process; returns the folder."""
    assert main([*TINY, f"hydra.run.dir={folder}", *overrides]) == 0
    return Path(folder)


def command(*arguments, cwd, **options):
    """A real `maml-exp` process, to its end."""
    options = {"capture_output": True, "text": True, "timeout": TIMEOUT, **options}
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, **options)


# A real process in which something happens at an exact moment: before training iteration number `at`, counted
# over all runs of the process from 0.
PLANTED = """
import os, signal, sys
from itertools import count
from maml_exp.cli import main
from maml_exp.core.training import Trainer
def plant(action, at, owner, name):
    function, calls = getattr(owner, name), count()
    def planted(*arguments, **options):
        if next(calls) == at:
            action()
        return function(*arguments, **options)
    setattr(owner, name, planted)
def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)
{plant}
sys.exit(main(sys.argv[1:]))
"""


def planted(plant, *arguments, cwd, **options):
    """A real `maml-exp` process after the code `plant`, which may use plant() and send() of PLANTED."""
    options = {"capture_output": True, "text": True, "timeout": TIMEOUT, **options}
    code = PLANTED.replace("{plant}", plant)
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=cwd, **options)


def signalled(at, *signals):
    """Code for `planted`: the process gets these signals before training iteration `at`."""
    return f"plant(lambda: send({', '.join(f'signal.{name}' for name in signals)}), {at}, Trainer, 'train_step')"


def only_run(cwd):
    """The one run's folder below cwd/runs."""
    found = [path.parent for path in Path(cwd).glob("runs/*/*/status.json")]
    assert len(found) == 1, found
    return found[0]


def read_status(folder):
    return json.loads((Path(folder) / "status.json").read_text())


def read_summary(folder):
    return json.loads((Path(folder) / "summary.json").read_text())


def read_rows(folder):
    """Rows of metrics.csv: {column: number}, empty cells left out."""
    with open(Path(folder) / "metrics.csv", newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def saved_steps(folder):
    """The steps that the folder's checkpoints are named after, in order."""
    return sorted(int(path.stem[5:]) for path in (Path(folder) / "checkpoints").glob("step_" + 8 * "[0-9]" + ".npz"))


def checkpoint_path(folder, step):
    return Path(folder) / "checkpoints" / f"step_{step:08d}.npz"


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def masked_crc(data):
    """TFRecord's checksum: CRC-32C (Castagnoli), rotated and offset."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(folder, check=True):
    """All events of the one event file in a folder, every checksum verified."""
    (path,) = Path(folder).glob("events.out.tfevents.*")
    data, start, events = path.read_bytes(), 0, []
    while start < len(data):
        header = data[start : start + 8]
        (length,) = struct.unpack("<Q", header)
        (header_crc,) = struct.unpack("<I", data[start + 8 : start + 12])
        content = data[start + 12 : start + 12 + length]
        (content_crc,) = struct.unpack("<I", data[start + 12 + length : start + 16 + length])
        assert not check or (header_crc, content_crc) == (masked_crc(header), masked_crc(content)), path
        events.append(Event.FromString(content))
        start += 16 + length
    return events


def points(folder):
    """TensorBoard's scalar points as {(tag, step): [values]}; more than one value is a duplicate."""
    found = {}
    for event in read_events(folder, check=False):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault((value.tag, event.step), []).append(value.simple_value)
    return found


def points_of_rows(rows):
    """The points that these rows of metrics.csv should give; event files hold float32."""
    found = {}
    for row in rows:
        for tag, value in row.items():
            if tag not in NOT_SHOWN:
                found.setdefault((shown_as(tag), int(row["step"])), []).append(float(np.float32(value)))
    return found


def shown_as(tag):
    """A column's name in TensorBoard, where meta/ is to be the first section."""
    return tag.replace("final/", "result/").replace("health/", "meta/")


def tree(path):
    """Everything below a folder: {relative path: (bytes or None, modified at)}."""
    path = Path(path)
    return {
        str(p.relative_to(path)): (p.read_bytes() if p.is_file() else None, p.lstat().st_mtime_ns)
        for p in [path, *path.rglob("*")]
    }


def result(folder):
    """All that a finished run's repetition must equal to the bit, clocks apart."""
    folder = Path(folder)
    summary, rows = read_summary(folder), read_rows(folder)
    newest = checkpoint_path(folder, saved_steps(folder)[-1])
    with np.load(newest, allow_pickle=False) as saved, np.load(folder / "evaluation.npz", allow_pickle=False) as judged:
        arrays = {name: saved[name].tobytes() for name in saved.files if name != "record"}
        arrays |= {name: judged[name].tobytes() for name in judged.files}
    return {
        "state": read_status(folder)["state"],
        "summary": {key: value for key, value in summary.items() if key != "time"},
        "rows": [{name: value for name, value in row.items() if name not in CLOCK} for row in rows],
        "points": {key: value for key, value in points(folder).items() if key[0] not in CLOCK},
        "speeds": Counter(step for tag, step in points(folder) if tag in CLOCK),
        "arrays": arrays,
    }


def assert_same_result(folder, reference):
    """Both runs finished, and with the same bits; names the part that differs."""
    ours, theirs = result(folder), result(reference)
    assert ours["state"] == "finished"
    assert ours["rows"] == theirs["rows"]
    assert ours["points"] == theirs["points"] == points_without_clock(folder)
    assert ours == theirs


def points_without_clock(folder):
    """The points that metrics.csv says TensorBoard should show, clocks apart."""
    return {key: value for key, value in points_of_rows(read_rows(folder)).items() if key[0] not in CLOCK}


def environment(**changes):
    """This process's environment with changes."""
    return {**os.environ, **changes}
