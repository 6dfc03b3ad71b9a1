"""Arrays of npz files as numpy's `savez` writes them; what a file declares is checked before anything is unpacked.

Such a file holds its arrays as they are, not compressed: so what they declare cannot be more than what is there.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from maml_exp.data.door import DoorError, open_to_read

MOST_ARRAYS = 1000
LARGEST_DIRECTORY = 1_000_000  # bytes of a zip's list of what is in it
END = struct.Struct("<4s4H2LH")  # a zip's last record: signature, disks, entries here and in all, size, offset, comment
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path, names: str, largest: int, own_folder: bool = False) -> dict[str, np.ndarray]:
    """The arrays of an npz file of at most `largest` bytes, whose names must match.

    Raises OSError, ValueError or what damage makes zipfile and numpy raise.
    """
    with open_to_read(path, largest, own_folder) as raw:
        _check_end(raw, path)
        with zipfile.ZipFile(raw) as file:
            members = file.infolist()
            _check_members(members, names, os.fstat(raw.fileno()).st_size, path)
            arrays = {}
            for member in members:
                with file.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _read_array(stream, member, path)
            return arrays


def _check_end(raw: BinaryIO, path: Path) -> None:
    """The last record says how long the list of members is: it is not read at any length."""
    size = os.fstat(raw.fileno()).st_size
    raw.seek(max(0, size - END.size))
    last = raw.read(END.size)
    if len(last) < END.size or not last.startswith(b"PK\x05\x06"):
        raise DoorError(f"{path} is no npz file, or is cut off")
    _, _, _, _, entries, length, _, _ = END.unpack(last)
    if entries > MOST_ARRAYS or length > LARGEST_DIRECTORY:
        raise DoorError(f"{path} declares {entries} arrays in a list of {length} bytes: it is none of ours")


def _check_members(members: list[zipfile.ZipInfo], names: str, size: int, path: Path) -> None:
    seen = set()
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or not re.fullmatch(names, name) or name in seen:
            raise DoorError(f"{path} holds {member.filename[:60]!r}, which is no array of ours, or is there twice")
        seen.add(name)
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise DoorError(f"{path} holds {name} compressed, {member.file_size} bytes unpacked; ours never are")
    declared = sum(member.file_size for member in members)
    if declared > size:
        raise DoorError(f"{path} declares {declared} bytes of arrays, and has {size} in all")


def _read_array(stream: IO[bytes], member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array, whose header must account for every byte that there is."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise DoorError(f"{path} holds {member.filename} in version {version} of numpy's format, which ours never are")
    shape, fortran, dtype = HEADERS[version](stream)
    left = member.file_size - stream.tell()
    if dtype.kind not in "biufU" or dtype.itemsize == 0 or any(length < 0 for length in shape):
        raise DoorError(f"{path} holds {member.filename} with dtype {dtype} and shape {shape}, which ours never have")
    if math.prod(shape) * dtype.itemsize != left:
        raise DoorError(f"{path}: {member.filename} declares shape {shape} of {dtype}, and has {left} bytes")
    flat = np.frombuffer(stream.read(left), dtype)
    if flat.nbytes != left:
        raise DoorError(f"{path}: {member.filename} is cut off")
    return flat.reshape(shape, order="F" if fortran else "C").copy()
