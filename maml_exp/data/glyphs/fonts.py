"""The faces and their characters, rendered by Pillow: each scaled to fill a square, as a size says nothing of a letter.

Characters are letters and digits that at least `FEWEST_FACES` faces have. What Unicode calls another one's
compatibility variant (fullwidth, mathematical bold) is that other one in a style, and left out.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.data import door

Array = np.ndarray
BOX = 40  # pixels of the longer side of a glyph
FRAME = 8  # empty ones around it: 5 parts in 7 of an image are the glyph's
FONT_SIZE = 96  # pixels that a glyph is rendered in before it is made smaller
FEWEST_FACES = 10
LARGEST_FONT = 5_000_000  # bytes
CATEGORIES = ("Lu", "Ll", "Lt", "Lo", "Nd")  # letters and digits
TEX = "STIX and Computer Modern"
# file: the family that it is a face of; a monospaced one is drawn as its proportional one
FACES = {
    "DejaVuSans": "DejaVu Sans",
    "DejaVuSans-Bold": "DejaVu Sans",
    "DejaVuSans-Oblique": "DejaVu Sans",
    "DejaVuSans-BoldOblique": "DejaVu Sans",
    "DejaVuSansMono": "DejaVu Sans",
    "DejaVuSansMono-Bold": "DejaVu Sans",
    "DejaVuSansMono-Oblique": "DejaVu Sans",
    "DejaVuSansMono-BoldOblique": "DejaVu Sans",
    "DejaVuSerif": "DejaVu Serif",
    "DejaVuSerif-Bold": "DejaVu Serif",
    "DejaVuSerif-Italic": "DejaVu Serif",
    "DejaVuSerif-BoldItalic": "DejaVu Serif",
    "STIXGeneral": TEX,
    "STIXGeneralBol": TEX,
    "STIXGeneralItalic": TEX,
    "STIXGeneralBolIta": TEX,
    "cmb10": TEX,
    "cmr10": TEX,
    "cmss10": TEX,
    "cmti10": TEX,
    "cmtt10": TEX,
}
ASCII_ALONE = ("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10")  # above, these files have an order of their own


class Glyphs(NamedTuple):
    """Rendered characters."""

    characters: Sequence[str]  # in the order of their code points
    images: Array  # (M, BOX, BOX) uint8, by character, then by face
    owners: Array  # (M,) places in `characters`
    faces: Array  # (M,) places in `FACES`


def font_files() -> dict[str, Path]:
    """The faces' files, by name; raises `SettingError` where matplotlib does not have enough of them."""
    import matplotlib  # slow to import

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = {face: path for face in FACES if (path := folder / f"{face}.ttf").is_file()}
    if len(found) < FEWEST_FACES:
        raise SettingError(
            f"task=glyphs renders matplotlib's fonts, and {folder} has {len(found)} of {len(FACES)}; "
            "install matplotlib with its fonts, as pip install matplotlib does"
        )
    return found


def made_from(files: dict[str, Path]) -> str:
    """SHA-256 of all that decides the images: the fonts' bytes, the renderer's version, and what is asked of it."""
    from PIL import features

    asked = (BOX, FRAME, FONT_SIZE, FEWEST_FACES, CATEGORIES, unicodedata.unidata_version)
    total = hashlib.sha256(repr((asked, features.version("freetype2"))).encode())
    for face, path in files.items():
        total.update(face.encode() + hashlib.sha256(door.read_bytes(path.resolve(), LARGEST_FONT)).digest())
    return total.hexdigest()


def script_of(character: str) -> str:
    """Latin, Greek, Cyrillic ... ; of digits Latin."""
    first = unicodedata.name(character).split()[0]
    return "Latin" if first in ("DIGIT", "TURNED") else first.capitalize()


def render(files: dict[str, Path]) -> Glyphs:
    """All characters in all faces that have them."""
    known = {face: _characters(path, face in ASCII_ALONE) for face, path in files.items()}
    counts = Counter(character for own in known.values() for character in own)
    characters = sorted(character for character, count in counts.items() if count >= FEWEST_FACES)
    places = {character: place for place, character in enumerate(characters)}
    images, owners, faces = [], [], []
    for number, face in enumerate(FACES):
        own = sorted(known.get(face, set()) & places.keys())
        for character, image in _rendered(files, face, own):
            images.append(image)
            owners.append(places[character])
            faces.append(number)
    order = np.lexsort([faces, owners])
    return Glyphs(characters, np.stack(images)[order], np.array(owners)[order], np.array(faces)[order])


def _characters(path: Path, ascii_alone: bool) -> set[str]:
    from matplotlib.ft2font import FT2Font

    found = {chr(code) for code in FT2Font(str(path)).get_charmap()}
    return {character for character in found if _is_usable(character) and (character.isascii() or not ascii_alone)}


def _is_usable(character: str) -> bool:
    is_own = unicodedata.normalize("NFKC", character) == character
    return is_own and unicodedata.category(character) in CATEGORIES


def _rendered(files: dict[str, Path], face: str, characters: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """Characters with their images (BOX, BOX), but for those that a face has as an empty space."""
    if not characters:
        return
    from PIL import ImageFont

    font = ImageFont.truetype(str(files[face]), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    for character in characters:
        image = _filling_a_square(font, character)
        if image is not None:
            yield character, image


def _filling_a_square(font: Any, character: str) -> Array | None:
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(character)
    drawn = Image.new("L", (max(1, math.ceil(right - left)), max(1, math.ceil(bottom - top))))
    ImageDraw.Draw(drawn).text((-left, -top), character, fill=255, font=font)
    ink = drawn.getbbox()
    if ink is None:
        return None
    drawn = drawn.crop(ink)
    width, height = (max(1, round(side * BOX / max(drawn.size))) for side in drawn.size)
    small = np.asarray(drawn.resize((width, height), Image.Resampling.BOX))
    image = np.zeros((BOX, BOX), np.uint8)
    y, x = (BOX - height) // 2, (BOX - width) // 2
    image[y : y + height, x : x + width] = small
    return image
