"""Images of many classes: a folder of folders of PNGs, or an npz file with images and labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.tasks._classes.gallery import Gallery
from maml_exp.core.tasks._classes.warps import FINENESS
from maml_exp.core.tasks._rows import SPLITS
from maml_exp.data import npz
from maml_exp.data.pictures import SUFFIX, read_picture, resized
from maml_exp.data.readers.table import LONGEST_NAME, OTHER_WORDS, SPLIT
from maml_exp.data.sources import LARGEST, opened

Array = np.ndarray
IMAGES, LABELS, SCRIPTS = "images", "labels", "scripts"  # of an npz file
MOST_BYTES = 8 * 2**30  # of all images, as large as they are kept


class Wanted(NamedTuple):
    """How images are kept."""

    side: int
    invert: bool


class Found(NamedTuple):
    """What was read, image by image."""

    images: Array  # (M, side, side) uint8
    classes: Sequence[str]  # (M,)
    scripts: Sequence[str]  # (M,)
    splits: Sequence[str] | None  # (M,)
    file_sha256: str


def wanted(settings: Any) -> Wanted:
    """What a family's settings need: images that are to be warped are kept larger."""
    settings.require_complete()
    return Wanted(settings.size * (1 if settings.warps.is_none else FINENESS), settings.invert)


def read(path: Path, wanted: Wanted) -> Gallery:
    """The images; raises OSError, and `SettingError` naming the file or class."""
    found = _read_folder(path, wanted.side) if path.is_dir() else _read_npz(path, wanted.side)
    images = 255 - found.images if wanted.invert else found.images
    long = next((name for name in found.classes if len(name) > LONGEST_NAME), None)
    if long is not None:
        raise SettingError(f"{path}: {long[:40]!r}... is too long for the name of a class")
    # whatever the files are called, and in whatever order they come
    order = sorted(range(len(images)), key=lambda i: (found.classes[i], images[i].tobytes()))
    of_images = np.array(found.classes, dtype=object)[order]
    names, starts = sorted(set(found.classes)), np.flatnonzero(np.append(True, of_images[1:] != of_images[:-1]))
    scripts = _of_classes(path, found.classes, found.scripts, names)
    splits = None if found.splits is None else _of_classes(path, found.classes, found.splits, names)
    images, starts = images[order], np.append(starts, len(order))
    content = hashlib.sha256("\0".join([*names, *scripts, *(splits or [])]).encode("utf-8", "surrogatepass"))
    for array in (starts.astype("<i8"), images):
        content.update(np.ascontiguousarray(array).data)
    digests = found.file_sha256, content.hexdigest()
    return Gallery(names, scripts, starts, images, 0, np.empty(0, np.int64), (), splits, path.name, *digests)


def _of_classes(path: Path, classes: Sequence[str], values: Sequence[str], names: Sequence[str]) -> list[str]:
    """The value of every class, from that of every image; raises `SettingError` for a class that has two."""
    found: dict[str, str] = {}
    for name, value in zip(classes, values, strict=True):
        if found.setdefault(name, value) != value:
            raise SettingError(f"{path}: images of class {name[:60]!r} are in both {found[name][:40]} and {value[:40]}")
    return [found[name] for name in names]


def _require_room(count: int, side: int) -> None:
    if count * side**2 > MOST_BYTES:
        gib = count * side**2 / 2**30
        raise SettingError(
            f"{count} images would take {gib:.1f} GiB with {side} pixels a side; give a smaller task.size"
        )


def _read_folder(path: Path, side: int) -> Found:
    """PNGs by the folder they are in; where the outermost folders are called as the splits are, they are those."""
    files = list(_pictures(path))
    if not files:
        raise SettingError(f"{path} has no folders with {SUFFIX} files: a class is a folder of its images")
    _require_room(len(files), side)
    images = np.empty((len(files), side, side), np.uint8)
    total = hashlib.sha256()
    for place, file in enumerate(files):
        images[place], content = read_picture(file, side)
        total.update(file.relative_to(path).as_posix().encode("utf-8", "surrogatepass"))
        total.update(hashlib.sha256(content).digest())
    folders = [file.parent.relative_to(path) for file in files]
    classes = [folder.as_posix() for folder in folders]
    scripts = [folder.parent.as_posix() if len(folder.parts) > 1 else folder.as_posix() for folder in folders]
    outermost = [_as_split(folder.parts[0]) for folder in folders]
    splits = outermost if set(outermost) == set(SPLITS) else None
    return Found(images, classes, scripts, splits, total.hexdigest())


def _pictures(path: Path) -> Iterator[Path]:
    """All PNGs below a folder, in order; raises `SettingError` for one that is in no class."""
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if name.lower().endswith(SUFFIX) and not name.startswith("."):
                if Path(folder) == path:
                    raise SettingError(f"{path / name} is in no class: a class is a folder of its images")
                yield Path(folder) / name


def _as_split(word: str) -> str:
    return OTHER_WORDS.get(word.lower(), word.lower())


def _read_npz(path: Path, side: int) -> Found:
    from PIL import Image

    with opened(path) as (_, digest):
        pass
    arrays = _arrays(path)
    for name in (IMAGES, LABELS):
        if name not in arrays:
            raise SettingError(f"{path} has no array {name}; it has {', '.join(arrays)[:200]}")
    pictures = arrays[IMAGES]
    if pictures.ndim != 3 or 0 in pictures.shape:
        raise SettingError(f"{path}: {IMAGES} has shape {pictures.shape}; it must be (images, height, width), grey")
    for name in {LABELS, SCRIPTS, SPLIT} & {*arrays}:
        if arrays[name].shape != (len(pictures),):
            raise SettingError(f"{path}: {name} has shape {arrays[name].shape}; it must be ({len(pictures)},)")
    _require_room(len(pictures), side)
    grey = _grey(path, pictures)
    images = np.stack([resized(Image.fromarray(picture), side) for picture in grey])
    texts = {name: [str(value) for value in arrays[name]] for name in (LABELS, SCRIPTS, SPLIT) if name in arrays}
    splits = [_as_split(word) for word in texts[SPLIT]] if SPLIT in texts else None
    wrong = next((word for word in splits or () if word not in SPLITS), None)
    if wrong is not None:
        raise SettingError(f"{path}: {wrong[:40]!r} in {SPLIT} is none of {', '.join(SPLITS)}")
    return Found(images, texts[LABELS], texts.get(SCRIPTS, texts[LABELS]), splits, digest)


def _arrays(path: Path) -> dict[str, Array]:
    try:
        return npz.read_arrays(path.resolve(), r"[^/]{1,200}", LARGEST)
    except OSError:
        raise
    except Exception as error:  # zipfile raises whatever damage makes it stumble over
        advice = "; give a folder of folders of PNGs, or an npz file"
        if "dtype object" in str(error):
            advice = "; images of different sizes are no array: make them alike, or save them as PNGs in folders"
        raise SettingError(f"{path} is no readable npz file: {error}{advice}") from error


def _grey(path: Path, pictures: Array) -> Array:
    """Grey values (M, h, w) uint8; raises `SettingError` for numbers that are none."""
    kind, most = pictures.dtype.kind, 1 if pictures.dtype.kind in "bf" else 255
    if kind == "U" or not ((pictures >= 0) & (pictures <= most)).all():
        raise SettingError(f"{path}: {IMAGES} holds {pictures.dtype}, which must be finite and from 0 to {most}")
    if most == 1:
        return np.rint(pictures * 255.0).astype(np.uint8)
    if pictures.max() <= 1:
        raise SettingError(f"{path}: {IMAGES} holds only 0 and 1 as {pictures.dtype}: save booleans, or 0 and 255")
    return pictures.astype(np.uint8)
