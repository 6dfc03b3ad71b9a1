"""Images rotated, sheared, scaled and shifted at random, thousands at a time, in a handful of numpy calls.

What one output pixel sees of an image is its mean over a square of the pixel's width. That mean is made beforehand at
`FINENESS` places along every pixel, for all images, so drawing an image is one lookup a pixel: the nearest such place
to where the warp takes it. Places are numbers in fixed point, of 16 bits: the sum of one number for the pixel's row
and one for its column.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from maml_exp.core.tasks._classes.gallery import Gallery

Array = np.ndarray
FINENESS = 3  # places along a pixel
POINT = 5  # binary digits behind the point of a place
IMAGES_AT_ONCE = 256  # what is made of them stays in the cache
NUMBERS = 6  # uniform ones that decide a warp


class Warps(NamedTuple):
    """Ranges of a random map about an image's centre: shear first, then scale, rotation and shift."""

    rotation: float  # degrees, to either side
    shear: float  # x moves by so much of y, to either side
    scale: tuple[float, float]  # of width and height, each its own
    shift: float  # of the image's side, to either side, right and down

    @property
    def is_none(self) -> bool:
        """Whether images stay as they are."""
        return not (self.rotation or self.shear or self.shift) and set(self.scale) == {1.0}

    def maps(self, uniform: Array, side: int) -> tuple[Array, Array]:
        """Matrices (N, 2, 2) and offsets (N, 2) that take a pixel's place (x, y) to where the image shows there.

        Args:
            uniform: (N, `NUMBERS`) in [0, 1).
            side: pixels along an image.
        """
        angle = np.deg2rad(self.rotation) * (2 * uniform[:, 0] - 1)
        shear = self.shear * (2 * uniform[:, 1] - 1)
        low, high = self.scale
        scale = low + (high - low) * uniform[:, 2:4]
        shift = self.shift * side * (2 * uniform[:, 4:6] - 1)
        cosine, sine = np.cos(angle), np.sin(angle)
        matrices = np.stack([cosine, sine, -sine, cosine], axis=1).reshape(-1, 2, 2)  # the rotation back
        matrices /= scale[:, :, None]
        matrices[:, 0] -= shear[:, None] * matrices[:, 1]
        return matrices, -(matrices @ shift[:, :, None])[:, :, 0]


class Canvas:
    """All images of a gallery, ready to be drawn.

    Args:
        gallery: the images.
        size: pixels along what is drawn.
        fineness: places along a pixel; 1 for images that are not warped.
    """

    def __init__(self, gallery: Gallery, size: int, fineness: int):
        means, self._first = pixel_means(gallery.side, gallery.frame, size, fineness)
        self._size, self._fineness, self._places = size, fineness, len(means)
        found = np.empty((len(gallery.images), self._places, self._places), np.uint8)
        for start in range(0, len(found), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            found[part] = np.rint(means @ gallery.images[part].astype(np.float32) @ means.T)
        self._images = found.reshape(-1)

    def draw(self, images: Array, maps: tuple[Array, Array] | None) -> Array:
        """Pixels (N, size * size) float32 in [0, 1], row by row, of images (N,), warped by maps unless None."""
        out = np.empty((len(images), self._size**2), np.float32)
        place = np.empty((min(len(images), IMAGES_AT_ONCE), out.shape[1]), np.intp)
        grey = np.empty(place.shape, np.uint8)
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            own = images[part]
            np.add(self._within(own, maps, part), own[:, None] * self._places**2, out=place[: len(own)])
            self._images.take(place[: len(own)], out=grey[: len(own)], mode="clip")  # all are within: it is quicker
            np.multiply(grey[: len(own)], np.float32(1 / 255), out=out[part])
        return out

    def _within(self, images: Array, maps: tuple[Array, Array] | None, part: slice) -> Array:
        """Places (N, size * size) within an image's own part of what was made; beyond the edge, those of the edge."""
        size = self._size
        if maps is None:
            middle = np.arange(size) * self._fineness + self._fineness // 2 - self._first
            middle = np.clip(middle, 0, self._places - 1)
            return (middle[:, None] * self._places + middle).reshape(1, -1)
        matrices, offsets = (of[part] for of in maps)
        unit = self._fineness * 2**POINT
        from_centre = ((np.arange(size) + 0.5 - size / 2) * unit)[:, None]
        centre = offsets * unit + (size / 2 * self._fineness - self._first) * 2**POINT
        x, y = (self._along(matrices[:, axis], centre[:, axis], from_centre) for axis in range(2))
        y *= np.uint16(self._places)
        y += x
        return y.reshape(-1, len(images)).T

    def _along(self, factors: Array, centre: Array, from_centre: Array) -> Array:
        """Places (size, size, N) along one axis; images come last, so that what numpy does at a stretch is long.

        Args:
            factors: (N, 2), of a pixel's column and of its row.
            centre: (N,), the place of the middle of what is drawn.
            from_centre: (size, 1), of columns and rows.
        """
        by_column = np.rint(factors[:, 0] * from_centre).astype(np.int16)  # (size, N)
        by_row = np.rint(factors[:, 1] * from_centre + centre).astype(np.int16)
        places = by_row[:, None] + by_column
        np.clip(places, 0, (self._places << POINT) - 1, out=places)
        places >>= POINT
        return places.view(np.uint16)


def pixel_means(side: int, frame: int, size: int, fineness: int) -> tuple[Array, int]:
    """The matrix (places, side - 2 frame) that takes a line of an image to means over a pixel's width.

    Means that reach beyond the image are of what is within. Of places that see nothing but the frame one is left at
    either end. Returns the number of those left out in front, too.
    """
    middle = (np.arange(size * fineness) + 0.5) / fineness
    low, high = (np.clip(middle + half, 0, size) * side / size for half in (-0.5, 0.5))
    pixels = np.arange(side)
    overlap = np.minimum(high[:, None], pixels + 1) - np.maximum(low[:, None], pixels)
    means = np.maximum(overlap, 0) / (high - low)[:, None]
    within = means[:, frame : side - frame]
    sees = np.flatnonzero(within.any(axis=1))
    first, end = max(0, sees[0] - 1), sees[-1] + 2
    return within[first:end].astype(np.float32), int(first)


@lru_cache(maxsize=2)  # families for several numbers of shots share one
def canvas_of(gallery: Gallery, size: int, fineness: int) -> Canvas:
    """The canvas of a gallery."""
    return Canvas(gallery, size, fineness)
