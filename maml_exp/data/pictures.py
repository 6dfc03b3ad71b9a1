"""PNG files of the user's as grey squares; nothing is unpacked before its size is known."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.data import door

Array = np.ndarray
SUFFIX = ".png"
LARGEST_FILE = 50_000_000  # bytes
MOST_PIXELS = 2**25  # of a picture: some kilobytes may unpack to gigabytes


def read_picture(path: Path, side: int) -> tuple[Array, bytes]:
    """A PNG's grey values (side, side) uint8, and its bytes; raises OSError, and `SettingError` naming the file."""
    from PIL import Image

    content = door.read_bytes(path.resolve(), LARGEST_FILE)
    try:
        with _without_warnings(Image), Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise SettingError(f"it has {width} x {height} pixels, and at most {MOST_PIXELS} in all are unpacked")
            return resized(_grey(image), side), content
    except Exception as error:  # Pillow raises whatever damage makes it stumble over
        told = re.sub(" <.*>", "", str(error))  # no address of an object
        why = told if isinstance(error, SettingError) else f"it is no PNG, or damaged ({told})"
        raise SettingError(f"{path} cannot be used: {why}"[:400]) from error


@contextmanager
def _without_warnings(image_module: Any) -> Iterator[None]:
    """Pillow warns of large pictures before it can be asked how large they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", image_module.DecompressionBombWarning)
        yield


def _grey(image: Any) -> Any:
    """A picture of 8 bits; what is transparent is white."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L")


def resized(image: Any, side: int) -> Array:
    """Grey values (side, side) uint8: the means of the squares that a picture is cut into, whatever its proportions."""
    from PIL import Image

    return np.asarray(image.resize((side, side), Image.Resampling.BOX))
