"""The rendered characters, kept in a file of the user's cache folder: $XDG_CACHE_HOME/maml-exp, or ~/.cache/maml-exp.

What it was made from stands in it, and the checksum of what it holds; where either is not as it should be, or nothing
can be written there, characters are rendered again, which takes some seconds. Processes that do so at once write the
same file, each as a whole.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from maml_exp.data import door, npz
from maml_exp.data.glyphs.fonts import BOX, FACES, Glyphs, font_files, made_from, render
from maml_exp.data.glyphs.lookalikes import ALIKE, INK, SAME, SIDE, without_look_alikes

Array = np.ndarray
FILE = "glyphs.npz"
NAMES = "made_from|checksum|characters|images|owners|faces"
LARGEST = 200_000_000  # bytes


def cache_folder() -> Path:
    """Where the file is kept: by the XDG base directory specification, which ignores a relative path."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
    return base / "maml-exp"


def glyphs() -> tuple[Glyphs, str]:
    """The characters, none of which look alike, and their checksum; raises `SettingError` where fonts are missing."""
    files = font_files()
    source = hashlib.sha256(f"{made_from(files)} {SIDE} {INK} {ALIKE} {SAME}".encode()).hexdigest()
    found = _kept(source)
    if found is None:
        made = without_look_alikes(render(files))
        found = made, checksum(made)
        with suppress(OSError, RuntimeError, door.DoorError):  # a home that is not there or not ours to write to
            _keep(source, *found)
    return found


def checksum(glyphs: Glyphs) -> str:
    """SHA-256 of characters and images, whatever the machine's byte order."""
    total = hashlib.sha256("\0".join(glyphs.characters).encode())
    for codes in (glyphs.owners, glyphs.faces):
        total.update(codes.astype("<i8").tobytes())
    total.update(np.ascontiguousarray(glyphs.images).data)
    return total.hexdigest()


def _keep(source: str, glyphs: Glyphs, content: str) -> None:
    folder, buffer = cache_folder(), io.BytesIO()
    texts = {"made_from": source, "checksum": content, "characters": "".join(glyphs.characters)}
    arrays = {name: np.array(text) for name, text in texts.items()}
    arrays |= {"images": glyphs.images, "owners": glyphs.owners, "faces": glyphs.faces}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    door.write(folder / FILE, buffer.getvalue(), own_folder=True)


def _kept(source: str) -> tuple[Glyphs, str] | None:
    """What the file holds; None where there is none, it was made from something else, or it is damaged."""
    try:
        arrays = npz.read_arrays(cache_folder() / FILE, NAMES, LARGEST, own_folder=True)
        if str(arrays["made_from"]) != source:
            return None
        codes = (arrays[name].astype(np.int64) for name in ("owners", "faces"))
        found = Glyphs(tuple(str(arrays["characters"])), arrays["images"], *codes)
        content = str(arrays["checksum"])
        return (found, content) if _fits(found) and checksum(found) == content else None
    except Exception:  # zipfile and numpy raise whatever damage makes them stumble over
        return None


def _fits(glyphs: Glyphs) -> bool:
    count = len(glyphs.images)
    shapes = glyphs.images.shape == (count, BOX, BOX) and glyphs.owners.shape == glyphs.faces.shape == (count,)
    places = ((glyphs.owners, len(glyphs.characters)), (glyphs.faces, len(FACES)))
    return shapes and all(((codes >= 0) & (codes < most)).all() for codes, most in places)
