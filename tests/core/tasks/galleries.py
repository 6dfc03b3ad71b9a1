"""Galleries for tests of the families on them, made without any reader."""

import numpy as np

from maml_exp.core.tasks._classes.gallery import Gallery


def gallery_of(images, starts, frame=0, scripts=None, families=None, family_names=(), splits=None):
    """A gallery of images (M, side, side), of which starts[i] to starts[i + 1] are of class i."""
    names = [f"c{place:03d}" for place in range(len(starts) - 1)]
    scripts = names if scripts is None else scripts
    families = np.empty(0, np.int64) if families is None else np.asarray(families)
    digests = "f" * 64, "c" * 64
    return Gallery(names, scripts, np.array(starts), images, frame, families, family_names, splits, "test", *digests)


def random_gallery(classes=60, images=(30, 40), side=12, seed=0, **options):
    """30 to 40 images of random grey values of every class."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(*images, size=classes))])
    return gallery_of(rng.integers(256, size=(starts[-1], side, side), dtype=np.uint8), starts, **options)


def numbered_gallery(sizes, **options):
    """Images of one grey value each, which is their number: at most 256."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    images = np.arange(starts[-1], dtype=np.uint8)[:, None, None]
    return gallery_of(np.broadcast_to(images, (starts[-1], 4, 4)).copy(), starts, **options)


def number_of(pixels):
    """The number of every drawn image (..., n) of a `numbered_gallery`; all of its pixels must say the same."""
    numbers = np.rint(pixels * 255).astype(int)
    assert (numbers == numbers[..., :1]).all()
    return numbers[..., 0]
