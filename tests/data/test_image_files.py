"""Images of the user's: what is odd is read, what cannot be used is refused in a line that names the file or class."""

import struct
import zlib

import numpy as np
import pytest
from helpers import default_config
from PIL import Image

from maml_exp.config.schema import from_dict
from maml_exp.core.checks import SettingError
from maml_exp.data import pictures

RNG = np.random.default_rng(2)
TASK = {"name": "images", "file": "x", "shots": 2, "query": 3, "ways": 3, "size": 8}
CLASSES, EACH = 24, 7


def family_of(path, **changes):
    """The family that a run with this file has."""
    config = from_dict(default_config().to_dict() | {"task": TASK | changes})
    return config.reading(str(path)).problem.family


def gallery_of(path, **changes):
    return family_of(path, **changes)._gallery


def pictures_of(classes=CLASSES, each=EACH, side=8):
    return RNG.integers(256, size=(classes, each, side, side), dtype=np.uint8)


def write_folder(path, found, name="a{}/c{}", scripts=4):
    """Folders alphabet/character of the pictures of each class."""
    for number, images in enumerate(found):
        folder = path / name.format(number % scripts, number)
        folder.mkdir(parents=True)
        for place, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{place:02d}.png")
    return path


def write_npz(path, found, **arrays):
    labels = np.repeat([f"c{number}" for number in range(len(found))], found.shape[1])
    np.savez(path, **{"images": found.reshape(-1, *found.shape[2:]), "labels": labels} | arrays)
    return path


# ------------------------------------------------------------------ what is read


def test_a_folder_of_alphabets_is_classes_with_scripts(tmp_path):
    found = pictures_of()
    gallery = gallery_of(write_folder(tmp_path / "omniglot", found))
    assert {*gallery.names} == {f"a{n % 4}/c{n}" for n in range(CLASSES)}
    assert {*gallery.scripts} == {"a0", "a1", "a2", "a3"}
    for place, name in enumerate(gallery.names):
        own = gallery.images[gallery.starts[place] : gallery.starts[place + 1]]
        expected = found[int(name.split("c")[1])]
        assert sorted(map(bytes, own)) == sorted(map(bytes, expected))


def test_names_and_order_of_files_do_not_matter_and_an_npz_is_as_good(tmp_path):
    found = pictures_of()
    first = gallery_of(write_folder(tmp_path / "a", found, "c{1}"))
    other = gallery_of(write_folder(tmp_path / "b", found[:, ::-1], "c{1}"))
    order = RNG.permutation(CLASSES * EACH)
    flat, labels = found.reshape(-1, 8, 8), np.repeat([f"c{n}" for n in range(CLASSES)], EACH)
    third = gallery_of(write_npz(tmp_path / "c.npz", found, images=flat[order], labels=labels[order]))
    assert first.content_sha256 == other.content_sha256 == third.content_sha256
    assert first.file_sha256 != other.file_sha256
    changed = found.copy()
    changed[3, 2, 1, 1] ^= 1
    assert gallery_of(write_folder(tmp_path / "d", changed, "c{1}")).content_sha256 != first.content_sha256


def test_pictures_are_made_grey_and_small_and_ink_may_be_dark(tmp_path):
    found = pictures_of(side=16)
    path = write_folder(tmp_path / "large", found)
    gallery, inverted = gallery_of(path), gallery_of(path, invert=True)
    first = int(gallery.names[0].split("c")[1])
    means = found[first].reshape(EACH, 8, 2, 8, 2).mean(axis=(2, 4))
    own = gallery.images[: gallery.starts[1]]
    for image in own:
        assert np.abs(means - image).max(axis=(1, 2)).min() <= 1  # Pillow rounds rows, then columns
    assert sorted(map(bytes, inverted.images[: gallery.starts[1]])) == sorted(map(bytes, 255 - own))


def test_images_to_be_warped_are_kept_larger(tmp_path):
    path = write_folder(tmp_path / "x", pictures_of())
    assert gallery_of(path, rotation=10.0).side == 24
    assert family_of(path, rotation=10.0).sample(RNG, 2, "float32").x_support.shape == (2, 6, 64)


LEVELS = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
MODES = {
    "L": Image.fromarray(LEVELS),
    "RGB": Image.fromarray(np.stack([LEVELS] * 3, axis=2)),
    "LA": Image.merge("LA", [Image.fromarray(LEVELS), Image.new("L", (8, 8), 255)]),
    "16 bits": Image.fromarray(LEVELS.astype(np.uint16) * 256),
    "palette": Image.fromarray(LEVELS).convert("P"),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_png_has_the_same_grey_values(mode, tmp_path):
    MODES[mode].save(tmp_path / "x.png")
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / "x.png", 8)[0], LEVELS)


def test_black_and_white_and_what_is_transparent(tmp_path):
    Image.fromarray(LEVELS > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / "bits.png", 8)[0], 255 * (LEVELS > 100))
    Image.merge("LA", [Image.new("L", (8, 8), 0), Image.fromarray(LEVELS)]).save(tmp_path / "clear.png")
    grey = pictures.read_picture(tmp_path / "clear.png", 8)[0]
    assert np.abs(grey.astype(int) - (255 - LEVELS.astype(int))).max() <= 1


@pytest.mark.parametrize("kind", ["bool", "int64", "float64"])
def test_an_npz_may_hold_other_numbers(kind, tmp_path):
    bits = pictures_of() > 127
    made = 255 * bits.astype(kind) if kind == "int64" else bits.astype(kind)
    expected = gallery_of(write_npz(tmp_path / "a.npz", bits * np.uint8(255)))
    assert gallery_of(write_npz(tmp_path / "b.npz", made)).content_sha256 == expected.content_sha256


def test_folders_and_arrays_may_say_the_splits(tmp_path):
    found = pictures_of()
    words = ["train", "val", "test"]
    path = write_folder(tmp_path / "x", found, "{}/c{}", scripts=3)
    for number, word in enumerate(words):
        (path / str(number)).rename(path / word)
    family = family_of(path)
    for split, word in zip(("train", "validation", "test"), words, strict=True):
        assert {name.split("/")[0] for name in family._parts[split].names} == {word}
    splits = np.repeat([words[n % 3] for n in range(CLASSES)], EACH)
    scripts = np.repeat([f"s{n % 2}" for n in range(CLASSES)], EACH)
    family = family_of(write_npz(tmp_path / "x.npz", found, split=splits, scripts=scripts))
    assert {*family._parts["test"].names} == {f"c{n}" for n in range(2, CLASSES, 3)}
    assert family.scripts["c5"] == "s1"


def test_what_is_no_image_is_left_alone(tmp_path):
    path = write_folder(tmp_path / "x", pictures_of())
    before = gallery_of(path).content_sha256
    for name in ("README.md", "a0/.DS_Store", "a0/c0/.hidden.png", "a0/c0/notes.txt"):
        (path / name).write_text("no image")
    (path / "__MACOSX").mkdir()
    (path / "__MACOSX" / "x.png").write_text("no image")
    assert gallery_of(path).content_sha256 == before


def test_a_changed_folder_is_read_again(tmp_path):
    path = write_folder(tmp_path / "x", pictures_of())
    before = gallery_of(path)
    assert gallery_of(path) is before
    Image.fromarray(LEVELS).save(path / "a0" / "c0" / "one_more.png")
    assert len(gallery_of(path).images) == len(before.images) + 1


# ------------------------------------------------------------------ what is refused


def bomb(width, height):
    """A PNG that declares so many pixels, in a few bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


FILES = {
    "text": (b"no picture", "it is no PNG, or damaged"),
    "empty": (b"", "it is no PNG, or damaged"),
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "it is no PNG, or damaged"),
    "large": (bomb(9000, 9000), "it has 9000 x 9000 pixels"),
    "larger": (bomb(12000, 12000), "it has 12000 x 12000 pixels"),
    "largest": (bomb(2**30, 2**30), "it is no PNG, or damaged"),
    "cut": (None, "it is no PNG, or damaged"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_picture_is_named(name, tmp_path):
    content, message = FILES[name]
    path = write_folder(tmp_path / "x", pictures_of())
    file = path / "a1" / "c5" / "03.png"
    file.write_bytes(file.read_bytes()[:60] if content is None else content)
    with pytest.raises(SettingError, match=r"c5/03.png cannot be used: .*" + message):
        family_of(path)


FOLDERS = {
    "nothing": (lambda path: path.mkdir(), "has no folders with .png files"),
    "no folders": (lambda path: write_folder(path, pictures_of(1), "."), "is in no class"),
    "few classes": (lambda path: write_folder(path, pictures_of(2)), r"has 2 character.s.; task.split_by=character"),
    "few images": (lambda path: write_folder(path, pictures_of(each=4)), "17 of 17 train classes have fewer than 5"),
    "long": (lambda path: write_folder(path, pictures_of(), "a{}/" + "c" * 199 + "{}"), "too long for the name"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_does_not_suffice_is_refused(name, tmp_path):
    write, message = FOLDERS[name]
    write(tmp_path / "x")
    with pytest.raises(SettingError, match=message):
        family_of(tmp_path / "x")


def test_a_pipe_among_the_pictures_holds_nobody_up(tmp_path):
    import os

    path = write_folder(tmp_path / "x", pictures_of())
    os.mkfifo(path / "a0" / "c0" / "pipe.png")
    with pytest.raises(SettingError, match="is a pipe"):
        family_of(path)


FLAT = pictures_of().reshape(-1, 8, 8)
ARRAYS = {
    "no labels": ({"labels": None}, "has no array labels; it has images"),
    "colours": ({"images": np.zeros((168, 8, 8, 3), np.uint8)}, "must be .images, height, width., grey"),
    "lengths": ({"labels": np.zeros(5)}, r"labels has shape \(5,\); it must be \(168,\)"),
    "range": ({"images": FLAT.astype(float)}, "which must be finite and from 0 to 1"),
    "nan": ({"images": np.full(FLAT.shape, np.nan)}, "which must be finite and from 0 to 1"),
    "integers": ({"images": FLAT.astype(int) + 1}, "from 0 to 255"),
    "zeros and ones": ({"images": FLAT // 255}, "holds only 0 and 1"),
    "texts": ({"images": FLAT.astype(str)}, "from 0 to 255"),
    "sizes": (
        {"images": np.array([FLAT[0], FLAT[0, :4]] * 84, dtype=object)},
        "images of different sizes are no array",
    ),
    "split": ({"split": np.array(["tent"] * 168)}, "'tent' in split is none of train, validation, test"),
    "two splits": ({"split": np.array(["train", "test"] * 84)}, "are in both train and test"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_no_images_are_refused(name, tmp_path):
    changes, message = ARRAYS[name]
    arrays = {"images": FLAT, "labels": np.repeat(np.arange(CLASSES), EACH)} | changes
    np.savez(tmp_path / "x.npz", **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(SettingError, match=message):
        family_of(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_npz_is_refused(content, tmp_path):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(SettingError, match=r"x\.npz"):
        family_of(tmp_path / "x.npz")


def test_more_than_memory_holds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    from maml_exp.data.readers import images

    path = write_folder(tmp_path / "x", pictures_of())
    monkeypatch.setattr(images, "MOST_BYTES", 10_000)
    with pytest.raises(SettingError, match=r"168 images would take .* give a smaller task.size"):
        family_of(path)


def test_without_a_file_there_is_an_example():
    with pytest.raises(SettingError, match=r"task=images needs task\.file; for example"):
        family_of("", file="")
