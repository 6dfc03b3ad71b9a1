"""Characters that look alike, as the Latin A, the Greek and the Cyrillic do: one of them is kept.

The distance of two characters in a face is the squared difference of their images relative to the sum of their
squares, |a - b|^2 / (|a|^2 + |b|^2), at a coarse size: 0 for the same image, 1 where no ink is shared.
"""

from __future__ import annotations

import numpy as np

from maml_exp.data.glyphs.fonts import BOX, FACES, Glyphs

Array = np.ndarray
COARSE = 20  # pixels along an image
ALIKE = 0.03  # two characters look alike that are nearer in half of the faces which have both
SAME = 0.01  # or nearer than this in any one face


def distances(images: Array) -> Array:
    """Distances (M, M) of images (M, BOX, BOX)."""
    step = BOX // COARSE
    coarse = images.reshape(-1, COARSE, step, COARSE, step).mean(axis=(2, 4), dtype=np.float32)
    flat = coarse.reshape(len(coarse), -1)
    squares = np.einsum("ij,ij->i", flat, flat)
    sums = squares[:, None] + squares
    return 1 - 2 * (flat @ flat.T) / sums


def look_alike(glyphs: Glyphs) -> Array:
    """Whether two characters look alike (C, C)."""
    count = len(glyphs.characters)
    shared, near = (np.zeros((count, count), np.int16) for _ in range(2))
    same = np.zeros((count, count), bool)
    for face in range(len(FACES)):
        own = glyphs.faces == face
        pairs = np.ix_(glyphs.owners[own], glyphs.owners[own])
        found = distances(glyphs.images[own])
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
