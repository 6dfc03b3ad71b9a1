"""Drawing N-way K-shot tasks from classes of images: what is on them and where it comes from does not matter here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.losses import CrossEntropy
from maml_exp.core.tasks._classes.gallery import Gallery, GalleryFacts, Part, split_parts
from maml_exp.core.tasks._classes.settings import ClassSettings, require_classes
from maml_exp.core.tasks._classes.warps import FINENESS, NUMBERS, Canvas, canvas_of
from maml_exp.core.tasks._rows import drawn_rows, left_out
from maml_exp.core.tasks.base import TRAINING_SEED, Axis, Batch, FixedTasks, TaskFamily

Array = np.ndarray
IMAGES_TO_FIT = 40  # of every training class: what baselines are fitted to


class ClassFamily(TaskFamily):
    """Tasks are N classes of one split in a random order: the j-th one's label is j, one-hot. Inputs are pixels.

    The k-th support image of all classes comes before the (k + 1)-th of any, so 1 shot is the first N rows of 5 shots.
    Pixels are the same in every dtype: they are made in float32.

    Args:
        settings: see `ClassSettings`.
        data: the `Gallery`, or the plain `facts` of a saved run: that is enough to adapt, not to draw tasks.

    Attributes:
        scripts: of every class's name, what it belongs to.

    Raises:
        SettingError: for images that cannot be used so, and without data.
    """

    baselines: ClassVar[tuple[str, ...]] = ("nearest_point", "nearest_mean", "discriminants", "logistic")
    watched_split: ClassVar[str] = "validation"  # test classes are judged on once, at the end
    repeats: ClassVar[bool] = False  # whether a class may show an image more often than it has it, warped anew
    held_out_dtype: ClassVar[type] = np.float32  # exact for pixels, and half as large
    loss = CrossEntropy()
    input_axis, output_axis = Axis("pixel"), Axis("label")
    is_curve, are_images = False, True
    settings: ClassSettings

    def __init__(self, settings: ClassSettings, data: Gallery | Mapping[str, Any] | None):
        super().__init__(settings)
        self.inputs, self.outputs = settings.size**2, settings.ways
        places = range(settings.size)
        self.input_names = tuple(f"pixel_{row}_{column}" for row in places for column in places)
        self.output_names = tuple(f"label_{label}" for label in range(settings.ways))
        self.scripts: Mapping[str, str] = {}
        self._gallery: Gallery | None = None
        self._dropped: dict[str, int] = {}
        if isinstance(data, Gallery):
            self._open(data)
        elif data is None:
            raise SettingError(self._no_data)
        else:
            self._facts = GalleryFacts.from_plain(data)

    def _open(self, gallery: Gallery) -> None:
        settings = self.settings
        self._gallery = gallery
        self.scripts = dict(zip(gallery.names, gallery.scripts, strict=True))
        self._parts = split_parts(gallery, settings.split_by, settings.split, settings.split_seed)
        counts = {"file_sha256": gallery.file_sha256, "rows": len(gallery.images), "groups": len(gallery.names)}
        counts |= {split: len(part.names) for split, part in self._parts.items()}
        self._facts = GalleryFacts(self._fingerprint(gallery), counts)
        self._training = self._large_enough("train", settings.shots + settings.query, "task.shots and task.query")

    def _large_enough(self, split: str, least: int, keys: str) -> Part:
        """A split's classes of enough images; raises `SettingError` naming those that have fewer, or for too few."""
        settings, gallery, part = self.settings, self._open_gallery, self._parts[split]
        large = part.sizes >= (1 if self.repeats else least)
        short = np.flatnonzero(~large)
        self._dropped[split] = len(short)
        if len(short) and not self._drops:
            shown = ", ".join(f"{part.names[i][:40]} ({part.sizes[i]})" for i in short[:5])
            more = f" and {len(short) - 5} more" if len(short) > 5 else ""
            raise SettingError(
                f"{len(short)} of {len(part.names)} {split} classes have fewer than {least} images: {shown}{more}; "
                f"leave them out with task.short=drop, or ask for fewer: {keys}"
            )
        require_classes(gallery.source, split, int(large.sum()), settings.ways)
        return part.where(large)

    @property
    def _drops(self) -> bool:
        """Whether classes with too few images are left out."""
        return getattr(self.settings, "short", "drop") == "drop"

    @property
    def _no_data(self) -> str:
        """What is said where there are no images."""
        return f"{self.settings.named_data}: this needs the images"

    @property
    def is_open(self) -> bool:
        """Whether there are images."""
        return self._gallery is not None

    @property
    def _open_gallery(self) -> Gallery:
        if self._gallery is None:
            raise SettingError(self._no_data)
        return self._gallery

    @property
    def _canvas(self) -> Canvas:
        fineness = 1 if self.settings.warps.is_none else FINENESS
        return canvas_of(self._open_gallery, self.settings.size, fineness)

    @property
    def query(self) -> int:
        """Q, query points of a task in training: of all classes."""
        return self.settings.ways * self.settings.query

    def support_points(self, shots: int) -> int:
        """N K."""
        return self.settings.ways * shots

    def sample(self, rng: np.random.Generator, tasks: int, dtype: np.dtype | type | str) -> Batch:
        """A meta-batch of training classes; of each, different images for support and query, drawn anew."""
        settings = self.settings
        self._open_gallery  # noqa: B018  raises without one
        points, part = settings.shots + settings.query, self._training
        classes = drawn_rows(rng, np.full(tasks, len(part.names)), settings.ways)  # (T, N)
        places = _drawn_images(rng, part.sizes[classes].reshape(-1), points).reshape(tasks, settings.ways, points)
        images = part.images[part.starts[classes][:, :, None] + places].swapaxes(1, 2)  # (T, K + Q, N)
        uniform = rng.random((*images.shape, NUMBERS))
        halves = slice(None, settings.shots), slice(settings.shots, None)
        x = [self._drawn(images[:, half], uniform[:, half]).astype(dtype, copy=False) for half in halves]
        y = [self._labels(tasks, count, dtype) for count in (settings.shots, settings.query)]
        return Batch(x[0], y[0], x[1], y[1])

    def _drawn(self, images: Array, uniform: Array) -> Array:
        """Pixels (T, K N, size * size) of images (T, K, N), warped by uniform numbers (T, K, N, `NUMBERS`)."""
        warps = self.settings.warps
        maps = None if warps.is_none else warps.maps(uniform.reshape(-1, NUMBERS), self.settings.size)
        return self._canvas.draw(images.reshape(-1), maps).reshape(len(images), -1, self.inputs)

    def _labels(self, tasks: int, points: int, dtype: np.dtype | type | str) -> Array:
        """One-hot labels (T, K N, N) of `points` images of each class."""
        return np.tile(np.eye(self.settings.ways, dtype=dtype), (tasks, points, 1))

    def require_shots(self, shots: int) -> None:
        """Raise `SettingError` for held-out classes of too few images."""
        for split in ("validation", "test"):
            self._large_enough(split, shots + 1, "evaluation.shots")

    def held_out(self, split: str, seed: int, tasks: int, shots: int, grid: int) -> FixedTasks:
        """Tasks of a split's classes, float32 pixels; a stream for each, whatever else is asked for.

        Query points are `grid`, rounded to whole classes, or as many as the smallest class has left; support images
        are taken from one end of a random order of a class's images, queries from the other.
        """
        ways = self.settings.ways
        part = self._large_enough(split, shots + 1, "evaluation.shots")
        queries = max(1, round(grid / ways))
        if not self.repeats:
            queries = min(queries, int(part.sizes.min()) - shots)
        support, query = np.empty((tasks, shots, ways), np.int64), np.empty((tasks, queries, ways), np.int64)
        warps = [np.empty((*images.shape, NUMBERS)) for images in (support, query)]
        chosen = np.empty((tasks, ways), np.int64)
        for task in range(tasks):
            streams = np.random.SeedSequence(seed, spawn_key=(task,)).spawn(3)
            rng, *of_warps = (np.random.default_rng(stream) for stream in streams)
            chosen[task] = rng.permutation(len(part.names))[:ways]
            for label, place in enumerate(chosen[task]):
                order = part.starts[place] + rng.permutation(part.sizes[place])
                support[task, :, label] = np.resize(order, shots)  # again from the beginning where there are too few
                query[task, :, label] = np.resize(order[::-1], queries)
            for uniform, stream in zip(warps, of_warps, strict=True):
                uniform[task] = stream.random(uniform.shape[1:])
        x_support, x_query = (self._drawn(part.images[p], u) for p, u in zip((support, query), warps, strict=True))
        y_support, y_query = (self._labels(tasks, points, np.float64) for points in (shots, queries))
        names = tuple(tuple(part.names[place] for place in places) for places in chosen)
        return FixedTasks(x_support, y_support, x_query, y_query, classes=names)

    def training_tasks(self) -> list[tuple[Array, Array]]:
        """Every training class once, N of them a task, as pixels (K N, n) float32 and labels (K N, N).

        Of each K images, drawn as in training; K is `IMAGES_TO_FIT`, or what the smallest class has.
        """
        part, ways = self._training, self.settings.ways
        count = IMAGES_TO_FIT if self.repeats else min(IMAGES_TO_FIT, int(part.sizes.min()))
        tasks = len(part.names) // ways
        rng = np.random.default_rng(TRAINING_SEED)
        classes = rng.permutation(len(part.names))[: tasks * ways]
        places = part.starts[classes][:, None] + _drawn_images(rng, part.sizes[classes], count)
        images = part.images[places].reshape(tasks, ways, count).swapaxes(1, 2)  # (T, K, N)
        x = self._drawn(images, rng.random((*images.shape, NUMBERS)))
        return list(zip(x, self._labels(tasks, count, np.float32), strict=True))

    def fingerprint(self) -> dict[str, Any]:
        """The images, how they are split and warped, and what a task is."""
        return self._facts.fingerprint

    def _fingerprint(self, gallery: Gallery) -> dict[str, Any]:
        settings = self.settings
        kind = {"name": settings.name, "content": gallery.content_sha256, "ways": settings.ways, "size": settings.size}
        split = {"split_by": settings.split_by, "split": list(settings.split), "split_seed": settings.split_seed}
        return kind | split | settings.warps._asdict() | {"scale": list(settings.warps.scale)}

    def facts(self) -> dict[str, Any]:
        """Fingerprint and counts, as plain data."""
        return self._facts.to_plain()

    def notes(self) -> list[str]:
        """Classes that are left out."""
        counts = left_out(self._dropped, {split: len(self._parts[split].names) for split in self._dropped})
        return [f"classes with too few images are left out: {counts}"] if counts else []


def _drawn_images(rng: np.random.Generator, sizes: Array, points: int) -> Array:
    """Places (C, points) of images of classes of these sizes (C,): different ones, or none again before all were."""
    if sizes.min() >= points:
        return drawn_rows(rng, sizes, points)
    keys = rng.random((len(sizes), int(sizes.max())))
    keys[np.arange(keys.shape[1]) >= sizes[:, None]] = 2.0  # no image of the class: behind all of them
    orders = np.argsort(keys, axis=1)
    return np.take_along_axis(orders, np.arange(points) % sizes[:, None], axis=1)
