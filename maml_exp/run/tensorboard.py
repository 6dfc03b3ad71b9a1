"""TensorBoard event files. The only module that imports tensorboardX.

Events are written in the caller's thread and handed to the system at every `flush`: what was logged
survives a kill, and a full disk is an OSError here rather than a dead writer thread.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.data import door
from maml_exp.store.files import naming
from maml_exp.store.names import safe_name


@contextmanager
def without(module: str) -> Iterator[None]:
    """Have imports of a module that is not imported yet fail."""
    absent = module not in sys.modules
    if absent:
        sys.modules[module] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        yield
    finally:
        if absent:
            del sys.modules[module]


with without("torch"):  # tensorboardX imports it where it is installed, for more than a second, and we need none of it
    from tensorboardX import summary
    from tensorboardX.crc32c import CRC_TABLE, crc32c
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

LARGEST_IMAGE = 2**26  # bytes
MANY_BYTES = 2**14
# TensorBoard orders its sections by name: what is watched while training, meta/, is to stand on top
SECTIONS = {"final": "result", "health": "meta"}
DIFFERS = b"\x38\x01"  # HParamInfo.differs = true; tensorboardX's copy of TensorBoard's format lacks the field


class Board:
    """One event file in a run's folder; older ones there are replaced."""

    def __init__(self, folder: Path):
        for name in os.listdir(folder):
            if name.startswith("events.out.tfevents."):
                door.remove(folder / name)
        self._folder = folder
        # a suffix of our own: names have one-second resolution
        name = f"events.out.tfevents.{int(time.time()):010d}.{safe_name(socket.gethostname())}.{time.time_ns()}"
        self._file = door.open_new(folder / name)
        self._write_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def _write(self, value: Summary, step: int = 0, walltime: float | None = None) -> None:
        """Append an event and hand it to the system."""
        event = Event(wall_time=time.time() if walltime is None else walltime, step=step, summary=value)
        self._write_event(event)

    def _write_event(self, event: Event) -> None:
        """Append a record of TensorFlow's: length, its checksum, content, its checksum."""
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        with naming(self._folder):
            self._file.write(length + _checksum(length) + content + _checksum(content))
            self._file.flush()

    def scalars(self, values: dict[str, float], step: int, walltime: float) -> None:
        """A point of each of several curves."""
        points = [Summary.Value(tag=shown_as(tag), simple_value=value) for tag, value in values.items()]
        self._write(Summary(value=points), step, walltime)

    def text(self, tag: str, markdown: str) -> None:
        """A text, shown under Text."""
        self._write(summary.text(tag, markdown))

    def image(self, tag: str, png: Path, step: int) -> None:
        """A PNG file, shown under Images just as it is."""
        content = door.read_bytes(png, LARGEST_IMAGE, own_folder=True)
        width, height = struct.unpack(">II", content[16:24])  # PNG's first chunk
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=content)
        self._write(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def session_start(self, hparams: dict[str, Any], metric_tags: list[str], swept: Collection[str] = ()) -> None:
        """This run's row in the HParams tab: its settings, `swept` ones in front, and its metrics."""
        experiment, start, _ = summary.hparams(hparams, dict.fromkeys(map(shown_as, metric_tags), 0.0))
        plugin = experiment.value[0].metadata.plugin_data
        data = HParamsPluginData.FromString(plugin.content)
        for info in data.experiment.hparam_infos:
            if any(info.name == key or info.name.startswith(f"{key}.") for key in swept):
                info.MergeFromString(DIFFERS)
        plugin.content = data.SerializeToString()
        if metric_tags:  # TensorBoard takes its columns from one of the runs that name them
            self._write(experiment)
        self._write(start)

    def session_end(self, success: bool) -> None:
        """The status of this run's row in the HParams tab."""
        status = Status.Value("STATUS_SUCCESS" if success else "STATUS_FAILURE")
        data = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()), version=0)
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
        metadata = SummaryMetadata(plugin_data=plugin)
        self._write(Summary(value=[Summary.Value(tag="_hparams_/session_end_info", metadata=metadata)]))

    def close(self) -> None:
        """Close the file."""
        with naming(self._folder):
            os.fsync(self._file.fileno())
            self._file.close()


def shown_as(tag: str) -> str:
    """What a column of metrics.csv is called in TensorBoard."""
    section, slash, name = tag.partition("/")
    return SECTIONS.get(section, section) + slash + name


def _checksum(content: bytes) -> bytes:
    """TFRecord's: CRC-32C, rotated and offset."""
    crc = crc32c(content) if len(content) < MANY_BYTES else _crc32c_of_many(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc32c_of_many(content: bytes, parts: int = 512) -> int:
    """CRC-32C of pictures, of so many parts at once: byte by byte in Python would take longer than to compress them.

    The register is linear over GF(2). Behind a part of n bytes it is that of the part alone, xor what the register
    before it becomes behind n zeros; that is the xor over its bits of what each of them becomes.
    """
    table = np.array(CRC_TABLE, np.uint32)

    def after(registers: np.ndarray, byte: Any) -> np.ndarray:
        return table[(registers ^ byte) & 0xFF] ^ (registers >> 8)

    size = len(content) // parts
    registers, bits = np.zeros(parts, np.uint32), np.uint32(1) << np.arange(32, dtype=np.uint32)
    registers[0] = 0xFFFFFFFF
    for column in np.frombuffer(content, np.uint8, parts * size).reshape(parts, size).T.copy():
        registers, bits = after(registers, column), after(bits, 0)
    total = registers[0]
    for register in registers[1:]:
        total = register ^ np.bitwise_xor.reduce(bits[(total >> np.arange(32)) & 1 == 1])
    for byte in content[parts * size :]:
        total = after(total, byte)
    return int(total) ^ 0xFFFFFFFF
