"""The seam by which a family that needs data gets it: core takes arrays, and this is where files become arrays.

A family's settings name their reader (`TaskSettings.reader`, a file of readers/) and, in `file`, what it reads; where
they name no file, it is something that comes with the program. What is read is kept, by the file's name, size and time
(of a folder the number of its files, and when one was added last), as long as this process asks for the same.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from maml_exp.core.checks import SettingError
from maml_exp.data import door
from maml_exp.data.readers import READERS

SHIPPED = Path(__file__).with_name("shipped")
PACKAGE = "package:"  # in front of the name of a file that comes with the program
LARGEST = 4 * 2**30  # bytes, unpacked
UNPACKING: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
KEPT = 2


class State(NamedTuple):
    """What tells whether a file or folder is still the one that was read."""

    path: Path
    size: int
    changed: int  # nanoseconds
    inode: int

    @classmethod
    def of(cls, path: Path) -> State:
        """The state now; raises OSError."""
        found = path.stat()
        if not path.is_dir():
            return cls(path, found.st_size, found.st_mtime_ns, found.st_ino)
        files, changed = 0, 0
        for folder, _, names in os.walk(path):
            files += len(names)
            changed = max(changed, os.stat(folder).st_mtime_ns)
        return cls(path, files, changed, found.st_ino)


def resolved(file: str) -> Path:
    """The path that a setting names: in this folder, or of what is shipped. Raises `SettingError`."""
    if not file.startswith(PACKAGE):
        return Path(file).expanduser().absolute()
    name = file.removeprefix(PACKAGE)
    known = {
        path.name.removesuffix(path.suffix): path for path in sorted(SHIPPED.iterdir()) if path.suffix in UNPACKING
    }
    if name not in known:
        raise SettingError(f"task.file={file[:60]!r} is not usable: {PACKAGE} must be one of {', '.join(known)}")
    return known[name]


def is_shipped(file: str) -> bool:
    """Whether a setting names what comes with the program."""
    return file.startswith(PACKAGE)


def load(settings: Any, file: str | None) -> Any:
    """What the family of these settings is computed on, from a file if it takes one; raises `SettingError`."""
    wanted = READERS.get(settings.reader).wanted(settings)
    if file is None:
        return _load(settings.reader, None, wanted)
    path = resolved(file)
    try:
        return _load(settings.reader, State.of(path), wanted)
    except OSError as error:
        raise SettingError(f"task.file={file}: {path} cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=KEPT)
def _load(reader: str, state: State | None, wanted: Hashable) -> Any:
    return READERS.get(reader).read(None if state is None else state.path, wanted)


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 of an opened file's bytes; it is at its beginning again afterwards."""
    total = hashlib.sha256()
    while part := file.read(2**20):
        total.update(part)
    file.seek(0)
    return total.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """A file of the user's, unpacked where its name ends in .gz or .xz, and its SHA-256; a link is followed.

    Raises OSError, and `DoorError` for what is no file, is too large, or unpacks to what is.
    """
    with door.open_to_read(path.resolve(), LARGEST) as file:
        digest = sha256_of(file)
        unpack = UNPACKING.get(path.suffix)
        if unpack is None:
            yield file, digest
            return
        try:
            with unpack(file) as content:
                yield io.BufferedReader(_Limited(content, path)), digest
        except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
            raise SettingError(f"{path} is damaged: {error}") from error


class _Limited(io.RawIOBase):
    """A stream that ends with a complaint beyond `LARGEST` bytes."""

    def __init__(self, stream: Any, path: Path):
        self._stream, self._path, self._left = stream, path, LARGEST

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; returns how far."""
        part = self._stream.read(len(buffer))
        self._left -= len(part)
        if self._left < 0:
            raise door.DoorError(f"{self._path} unpacks to more than {LARGEST} bytes: it is not read")
        buffer[: len(part)] = part
        return len(part)
