"""Images by class: what a family of classification tasks is given, and how whole classes are split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.tasks._columns import is_flat
from maml_exp.core.tasks._rows import SPLITS, group_key, split_groups

Array = np.ndarray
CHARACTER, SCRIPT, FAMILY = "character", "script", "family"  # what whole splits are made of


@dataclass(frozen=True, eq=False)
class Gallery:
    """Square grey images in an order that is its own: by class, and within a class whatever their reader says."""

    names: Sequence[str]  # of the classes, in order, each once
    scripts: Sequence[str]  # of every class, what it belongs to: its alphabet
    starts: Array  # (C + 1,): images starts[i] to starts[i + 1] are those of class i
    images: Array  # (M, side, side) uint8: 0 is background, 255 ink
    frame: int  # empty pixels around every image, which are not kept
    families: Array  # (M,) places in `family_names`: the font family of every image; empty where they have none
    family_names: Sequence[str]
    splits: Sequence[str] | None  # of every class, one of `SPLITS`, where the data says so
    source: str  # for messages
    file_sha256: str  # of what was read
    content_sha256: str  # of the images and names

    @property
    def side(self) -> int:
        """Pixels along an image with its frame."""
        return self.images.shape[1] + 2 * self.frame


class Part(NamedTuple):
    """The classes of one split, in an order that a seed decides, and the images that each may be drawn from."""

    names: Sequence[str]
    images: Array  # (R,) places in the gallery, those of a class behind each other
    starts: Array  # (C,) places in `images`
    sizes: Array  # (C,)

    def where(self, kept: Sequence[bool] | Array) -> Part:
        """These of its classes alone."""
        kept = np.asarray(kept, dtype=bool)
        names = [name for name, keep in zip(self.names, kept, strict=True) if keep]
        return self._replace(names=names, starts=self.starts[kept], sizes=self.sizes[kept])


class GalleryFacts(NamedTuple):
    """What a run remembers of its images: enough to adapt without them, and to tell whether they have changed."""

    fingerprint: dict[str, Any]
    counts: dict[str, Any]  # images, classes, classes of every split, SHA-256 of the file

    def to_plain(self) -> dict[str, Any]:
        """Plain data, for files."""
        return self._asdict()

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> GalleryFacts:
        """The same again; raises `SettingError` for what is damaged."""
        try:
            facts = cls(dict(plain["fingerprint"]), dict(plain["counts"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SettingError(f"what the run saved of its images is damaged: {error!r}"[:200]) from error
        if not is_flat(facts.fingerprint):
            raise SettingError("what the run saved of its images is damaged: its fingerprint is none")
        return facts


def split_parts(gallery: Gallery, by: str, shares: Sequence[float], seed: int) -> dict[str, Part]:
    """The classes of every split; raises `SettingError` where there are too few to be split.

    By character, a hash of each class's name and the seed decides; by script, that of its script's, so that whole
    scripts are in one split; by family, characters are split as by character and font families by a hash of their
    names, and the characters of a split are drawn in its families alone.
    """
    if gallery.splits is not None and by == CHARACTER:
        named = {split: [i for i, own in enumerate(gallery.splits) if own == split] for split in SPLITS}
        missing = next((split for split, classes in named.items() if not classes), None)
        if missing is not None:
            raise SettingError(f"{gallery.source} has no {missing} class; where it says splits, it needs one of each")
    elif by == SCRIPT:
        scripts = sorted(set(gallery.scripts))
        _require_three(gallery, scripts, by)
        groups = split_groups(scripts, shares, seed)
        chosen = {split: {scripts[place] for place in places} for split, places in groups.items()}
        named = {split: [i for i, own in enumerate(gallery.scripts) if own in chosen[split]] for split in SPLITS}
    else:
        _require_three(gallery, gallery.names, CHARACTER)
        named = split_groups(gallery.names, shares, seed)
    allowed = _images_by_split(gallery, shares, seed) if by == FAMILY else dict.fromkeys(SPLITS)
    return {split: _part(gallery, named[split], allowed[split], seed) for split in SPLITS}


def _require_three(gallery: Gallery, groups: Sequence[str], by: str) -> None:
    if len(groups) < 3:
        raise SettingError(
            f"{gallery.source} has {len(groups)} {by}(s); task.split_by={by} needs at least 3: "
            "one to train on, one to choose by, one to judge by"
        )


def _images_by_split(gallery: Gallery, shares: Sequence[float], seed: int) -> dict[str, Array | None]:
    """Of every split, whether an image (M,) is of one of its font families."""
    _require_three(gallery, gallery.family_names, FAMILY)
    groups = split_groups(gallery.family_names, shares, seed)
    return {split: np.isin(gallery.families, places) for split, places in groups.items()}


def _part(gallery: Gallery, classes: Sequence[int], allowed: Array | None, seed: int) -> Part:
    order = sorted(classes, key=lambda i: (group_key(gallery.names[i], seed), gallery.names[i]))
    images = [np.arange(gallery.starts[i], gallery.starts[i + 1]) for i in order]
    if allowed is not None:
        images = [own[allowed[own]] for own in images]
    sizes = np.array([len(own) for own in images], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    return Part([gallery.names[i] for i in order], np.concatenate(images), starts, sizes)
