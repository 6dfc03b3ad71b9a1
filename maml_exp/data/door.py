"""The one door by which saved files come in and go out; what a file is, is looked at before what it holds.

A run's or sweep's folder may be a stranger's, or damaged. Nothing in it is followed (a link decides neither what is
read nor where is written; one that leads to the folder is the user's own), waited for (a pipe, a device), or believed
about its size. The kind is asked of what was opened, so nothing can be exchanged in between. Whole files are written
under a name that was not there and renamed, never through what is there.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from maml_exp.core.checks import SettingError

LARGEST_JSON = 10_000_000  # bytes; parsed it may take twenty times as much
LONGEST_LINE = 2**24  # bytes
HARMLESS = os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY"):  # Windows has the last one alone
    HARMLESS |= getattr(os, _flag, 0)
CAN_OPEN_FOLDERS = os.open in os.supports_dir_fd
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a file",
}


class DoorError(SettingError):
    """Something that is not opened; the message names it, what it is and what to do."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError say which file it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def failure(error: OSError, path: Path | None = None) -> str:
    """What an OSError is about, in words: "runs/x/status.json: No space left on device"."""
    return f"{error.filename or path or 'a file'}: {error.strerror or error}"


def kind_of(path: Path) -> str | None:
    """ "a file", "a folder", "a link" ... ; None where there is nothing. Raises OSError."""
    try:
        return KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "something odd")
    except (FileNotFoundError, NotADirectoryError):
        return None


def require_kind(path: Path, kind: str) -> None:
    """Raise `DoorError` for something that is there and of another kind."""
    found = kind_of(path)
    if found is not None and found != kind:
        raise _refusal(path, found, kind)


def _refusal(path: Path, found: str, kind: str, is_ours: bool = True) -> DoorError:
    if not is_ours:
        return DoorError(f"{path} is {found}, and must be {kind}")
    return DoorError(f"{path} is {found}, where {kind} of its own should be; take it away, or put {kind} there")


def _open_folder(folder: Path) -> int:
    """A folder's descriptor; raises `DoorError` for a link, and OSError."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | HARMLESS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            require_kind(folder, "a folder")
        raise


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int | None]:
    """A folder that is no link, opened; what is in it is reached from there. None where systems cannot do that."""
    if not CAN_OPEN_FOLDERS:
        require_kind(folder, "a folder")
        yield None
        return
    opened = _open_folder(folder)
    try:
        yield opened
    finally:
        os.close(opened)


@contextmanager
def _place(path: Path, own_folder: bool) -> Iterator[tuple[str, int | None]]:
    """Name and folder of a file, as `os.open` takes them; an `own_folder` is the run's, too, and may be no link."""
    if not own_folder:
        yield str(path), None
        return
    with _opened_folder(path.parent) as folder:
        yield (str(path) if folder is None else path.name), folder


def _open(path: Path, flags: int, own_folder: bool) -> tuple[int, os.stat_result]:
    """A regular file's descriptor, and what it is; raises `DoorError` for anything else, OSError naming the path."""
    folder = None
    name: str | Path = path
    try:  # no context managers: thousands of runs are compared
        if own_folder and CAN_OPEN_FOLDERS:
            folder, name = _open_folder(path.parent), path.name
        elif own_folder:
            require_kind(path.parent, "a folder")
        opened = os.open(name, flags | HARMLESS, 0o666, dir_fd=folder)
    except OSError as error:
        # a link, a folder to write to, a pipe that nobody reads
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            require_kind(path, "a file")
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if folder is not None:
            os.close(folder)
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode):
        os.close(opened)
        raise _refusal(path, KINDS.get(stat.S_IFMT(found.st_mode), "something odd"), "a file", own_folder)
    return opened, found


def _open_to_read(path: Path, largest: int, own_folder: bool) -> tuple[int, int]:
    opened, found = _open(path, os.O_RDONLY, own_folder)
    if found.st_size > largest:
        os.close(opened)
        raise DoorError(f"{path} has {found.st_size} bytes; one of ours has at most {largest} bytes: it is not opened")
    return opened, found.st_size


def open_to_read(path: Path, largest: int, own_folder: bool = False) -> BinaryIO:
    """A regular file of at most `largest` bytes, opened; raises `DoorError` for others, and OSError."""
    return os.fdopen(_open_to_read(path, largest, own_folder)[0], "rb")


def read_bytes(path: Path, largest: int, own_folder: bool = False) -> bytes:
    """A file's content; raises `DoorError` and OSError."""
    opened, size = _open_to_read(path, largest, own_folder)
    with os.fdopen(opened, "rb", buffering=0) as file, naming(path):
        parts = []
        while size > 0 and (part := file.read(size)):  # the system may give less at a time
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def read_json(path: Path, largest: int = LARGEST_JSON, own_folder: bool = False) -> Any:
    """What a JSON file holds; raises OSError or ValueError naming it."""
    content = read_bytes(path, largest, own_folder)
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def read_lines(path: Path, largest: int) -> Iterator[bytes]:
    """A file's lines, one at a time; raises `DoorError` and OSError."""
    with open_to_read(path, largest) as file, naming(path):
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise DoorError(f"{path} has a line of more than {LONGEST_LINE} bytes: it is no table of ours")
            yield line


def open_to_append(path: Path) -> TextIO:
    """A text file to add to, made if it is not there; raises `DoorError` and OSError."""
    opened, found = _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, False)
    if found.st_nlink > 1:  # its other name may be in a backup, or somebody else's
        os.close(opened)
        write(path, read_bytes(path, 2**30))
        opened, _ = _open(path, os.O_WRONLY | os.O_APPEND, False)
    return os.fdopen(opened, "a", encoding="utf-8")


def open_to_lock(path: Path) -> BinaryIO:
    """A file that is held and never written, made if it is not there; raises `DoorError` and OSError."""
    return os.fdopen(_open(path, os.O_RDWR | os.O_CREAT, False)[0], "r+b")


def open_new(path: Path) -> BinaryIO:
    """A file that is not there yet, to write as it grows; raises OSError."""
    return os.fdopen(_open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, False)[0], "wb")


def write(path: Path, content: bytes, own_folder: bool = False) -> None:
    """Write a file so that, killed at any moment, either the old or the new content is there.

    Raises OSError naming the path, and `DoorError` for an `own_folder`, made if it is not there, that is none.
    """
    if own_folder:
        with naming(path.parent), suppress(FileExistsError):
            os.mkdir(path.parent)
    with naming(path), _place(path, own_folder) as (name, folder):
        temporary = str(Path(name).with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"))
        opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | HARMLESS, 0o666, dir_fd=folder)
        try:
            with os.fdopen(opened, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if folder is None:
                os.replace(temporary, name)
            else:
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise


def names_in(folder: Path) -> list[str]:
    """The names in a folder that is no link; none where it is not there. Raises `DoorError` and OSError."""
    if kind_of(folder) is None:
        return []
    with naming(folder), _opened_folder(folder) as opened:
        return os.listdir(folder if opened is None else opened)


def remove(path: Path, own_folder: bool = False) -> None:
    """Delete a file, or a link itself, if it is there; raises `DoorError` and OSError."""
    with naming(path), suppress(FileNotFoundError), _place(path, own_folder) as (name, folder):
        os.unlink(name, dir_fd=folder)


def rename(path: Path, name: str) -> None:
    """Have a file in a folder of our own take the place of another there; raises `DoorError` and OSError."""
    with naming(path), _place(path, own_folder=True) as (old, folder):
        os.replace(old, Path(old).with_name(name), src_dir_fd=folder, dst_dir_fd=folder)


def set_aside(path: Path, own_folder: bool = False, keep: bool = False) -> Path:
    """Rename what cannot be used to NAME.unusable, -2, -3 ... and return that; raises `DoorError` and OSError.

    With `keep` it stays where it is, too, until something else is written there: killed in between, nothing is lost.
    """
    taken = set(names_in(path.parent)) if own_folder else set(os.listdir(path.parent))
    candidates = (f"{path.name}.unusable" + (f"-{number}" if number > 1 else "") for number in range(1, 10**6))
    aside = path.with_name(next(name for name in candidates if name not in taken))
    with naming(path), _place(path, own_folder) as (name, folder):
        if keep:
            with suppress(OSError):  # not every file system has second names
                os.link(path, aside, follow_symlinks=False)
                return aside
            write(aside, read_bytes(path, 2**31), own_folder)
            return aside
        os.rename(name, Path(name).with_name(aside.name), src_dir_fd=folder, dst_dir_fd=folder)
    return aside
