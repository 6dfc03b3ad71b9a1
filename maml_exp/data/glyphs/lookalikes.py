"""Characters that look alike, as the Latin A, the Greek and the Cyrillic do: one of them is kept.

The distance of two characters in a face is the squared difference of their images relative to the sum of their
squares, |a - b|^2 / (|a|^2 + |b|^2): 0 for the same image, 1 where no ink is shared. Images are stretched to fill a
square before, since tasks scale widths and heights at random: a zero is then an O, and every bar an I.
"""

from __future__ import annotations

import numpy as np

from maml_exp.data.glyphs.fonts import FACES, Glyphs

Array = np.ndarray
SIDE = 20  # pixels along a stretched image
INK = 40  # of 255: what is fainter is the edge of something that is within
ALIKE = 0.065  # two characters look alike that are nearer in half of the faces which have both
SAME = 0.02  # or nearer than this in any one face


def stretched(image: Array) -> Array:
    """An image's ink (SIDE * SIDE,) float32, as high and as wide as can be."""
    from PIL import Image

    rows, columns = (np.flatnonzero(image.max(axis=axis) > INK) for axis in (1, 0))
    ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    large = Image.fromarray(ink).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(large, np.float32).reshape(-1)


def distances(images: Array) -> Array:
    """Distances (M, M) of stretched images (M, n)."""
    squares = np.einsum("ij,ij->i", images, images)
    return 1 - 2 * (images @ images.T) / (squares[:, None] + squares)


def look_alike(glyphs: Glyphs) -> Array:
    """Whether two characters look alike (C, C)."""
    count = len(glyphs.characters)
    shared, near = (np.zeros((count, count), np.int16) for _ in range(2))
    same = np.zeros((count, count), bool)
    images = np.stack([stretched(image) for image in glyphs.images])
    for face in range(len(FACES)):
        own = glyphs.faces == face
        pairs = np.ix_(glyphs.owners[own], glyphs.owners[own])
        found = distances(images[own])
        shared[pairs] += 1
        near[pairs] += found < ALIKE
        same[pairs] |= found < SAME
    return same | ((2 * near >= shared) & (shared > 0))


def without_look_alikes(glyphs: Glyphs) -> Glyphs:
    """Of characters that look alike the first one: no two that are left do."""
    alike = look_alike(glyphs)
    kept: list[int] = []
    for place in range(len(glyphs.characters)):
        if not alike[place, kept].any():
            kept.append(place)
    stays = np.isin(glyphs.owners, kept)
    owners = np.searchsorted(kept, glyphs.owners[stays])
    return Glyphs([glyphs.characters[place] for place in kept], glyphs.images[stays], owners, glyphs.faces[stays])
