"""Characters rendered from matplotlib's fonts: no file of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maml_exp.core.tasks._classes.gallery import Gallery
from maml_exp.data.glyphs.cache import glyphs
from maml_exp.data.glyphs.fonts import FACES, FRAME, script_of


def wanted(settings: Any) -> None:
    """Whatever the settings, the same characters."""


def read(path: Path | None, wanted: None) -> Gallery:
    """The characters by code point, of each one its faces; raises `SettingError` where fonts are missing."""
    found, content = glyphs()
    families = sorted(set(FACES.values()))
    family_of_face = np.array([families.index(family) for family in FACES.values()])
    scripts = [script_of(character) for character in found.characters]
    starts = np.searchsorted(found.owners, np.arange(len(found.characters) + 1))
    codes = family_of_face[found.faces]
    source = "the set of characters"
    return Gallery(
        found.characters, scripts, starts, found.images, FRAME, codes, families, None, source, content, content
    )
