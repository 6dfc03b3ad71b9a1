"""The characters of matplotlib's fonts: none looks like another, and their cache is believed only where it is whole."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from maml_exp.core.checks import SettingError
from maml_exp.core.tasks import families
from maml_exp.core.tasks.glyphs import Settings
from maml_exp.data.glyphs import cache, fonts
from maml_exp.data.readers import glyphs as reader

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def gallery():
    """The whole set, from the user's cache where it is there."""
    return reader.read(None, None)


def test_the_set_is_large_and_of_many_scripts(gallery):
    assert len(gallery.names) > 800
    assert {"Latin", "Greek", "Cyrillic", "Armenian", "Georgian"} <= {*gallery.scripts}
    assert len(gallery.images) > 12 * len(gallery.names)
    assert np.diff(gallery.starts).min() >= fonts.FEWEST_FACES
    assert {unicodedata.category(name)[0] for name in gallery.names} == {"L", "N"}
    assert all(unicodedata.normalize("NFKC", name) == name for name in gallery.names)


def test_every_image_is_a_character_that_fills_its_square(gallery):
    extents = []
    for axis in (2, 1):
        has_ink = gallery.images.max(axis=axis) > 0
        extents.append(fonts.BOX - has_ink.argmax(axis=1) - has_ink[:, ::-1].argmax(axis=1))
    assert (np.max(extents, axis=0) >= fonts.BOX - 1).all()  # the last row or column may be a faint edge
    assert (gallery.images.max(axis=(1, 2)) == 255).all()


# ------------------------------------------------------------------ no character looks like one of another split


def silhouettes(face, characters, side=24):
    """Black and white pictures (C, side * side) of characters, rendered and made smaller in another way than ours."""
    font, found = ImageFont.truetype(str(fonts.font_files()[face]), 64), []
    for character in characters:
        drawn = Image.new("L", (200, 200))
        ImageDraw.Draw(drawn).text((60, 60), character, fill=255, font=font)
        ink = np.asarray(drawn) > 127
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        most = max(ink.shape)
        square = np.zeros((most, most), bool)
        y, x = (most - ink.shape[0]) // 2, (most - ink.shape[1]) // 2
        square[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
        places = ((np.arange(side) + 0.5) * most / side).astype(int)
        found.append(square[np.ix_(places, places)].reshape(-1))
    return np.array(found, np.float32)


@pytest.fixture(scope="module")
def overlap(gallery):
    """Of all pairs of characters: the largest share of ink in common in any face; in how many of the faces most is."""
    faces = list(fonts.FACES)
    found, _ = cache.glyphs()
    count = len(gallery.names)
    largest, alike, shared = (np.zeros((count, count)) for _ in range(3))
    for number, face in enumerate(faces):
        own = found.owners[found.faces == number]
        if not len(own):  # older versions of matplotlib lack some
            continue
        ink = silhouettes(face, [gallery.names[i] for i in own])
        both = ink @ ink.T
        sizes = ink.sum(axis=1)
        share = both / (sizes[:, None] + sizes - both)  # of the ink that either has
        pairs = np.ix_(own, own)
        largest[pairs] = np.maximum(largest[pairs], share)
        alike[pairs] += share > 0.9
        shared[pairs] += 1
    return largest, alike / np.maximum(shared, 1)


@pytest.mark.slow
@pytest.mark.parametrize("split_by", ["character", "script", "family"])
def test_no_character_and_no_look_alike_of_one_is_in_two_splits(split_by, gallery, overlap):
    largest, alike = overlap
    place = {name: i for i, name in enumerate(gallery.names)}
    for seed in range(4):
        family = families(Settings(split_by=split_by, split_seed=seed), gallery)[0]
        drawn = {}
        for split in SPLITS:
            tasks = family.held_out(split, seed, 400, 1, 5)
            drawn[split] = [place[name] for name in {name for names in tasks.classes for name in names}]
        for a, b in ((SPLITS[0], SPLITS[1]), (SPLITS[0], SPLITS[2]), (SPLITS[1], SPLITS[2])):
            assert not {*drawn[a]} & {*drawn[b]}
            assert alike[np.ix_(drawn[a], drawn[b])].max() < 0.5
            assert largest[np.ix_(drawn[a], drawn[b])].max() < 0.98


def test_what_is_known_to_look_alike_is_there_once(gallery):
    groups = (
        "A\u0391\u0410",
        "E\u0395\u0415",
        "H\u0397\u041d\u043d",
        "0Oo\u039f\u041e\u043e\u03bf",
        "xX\u0445\u0425",
        "sS\u0455\u0405",
        "vV",
        "zZ",
        "C\u0441\u03f9",
        "p\u0440",
        "I\u04cf",
    )
    for group in groups:
        assert len({*group} & {*gallery.names}) == 1, group


# ------------------------------------------------------------------ the cache


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of ten digits alone, which are rendered in no time: (the folder's environment variable, the file)."""
    monkeypatch.setattr(fonts, "CATEGORIES", ("Nd",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "maml-exp" / cache.FILE


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a[0], b[0], strict=True)) and a[1] == b[1]


def rewritten(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **arrays | changes)


def test_what_was_rendered_is_read_again(own_cache):
    first = cache.glyphs()
    assert "".join(first[0].characters) == "0123456789"
    written = own_cache.read_bytes()
    with np.load(own_cache) as file:
        images = 255 - file["images"]
    other = first[0]._replace(images=images)
    rewritten(own_cache, images=images, checksum=np.array(cache.checksum(other)))
    assert np.array_equal(cache.glyphs()[0].images, images)  # it is the file that is read
    own_cache.write_bytes(written)
    assert same(cache.glyphs(), first)
    assert {path.name for path in own_cache.parent.iterdir()} == {cache.FILE}


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "text", "other fonts", "places", "shape", "link", "missing"])
def test_a_damaged_or_foreign_cache_is_made_anew(damage, own_cache, tmp_path):
    first = cache.glyphs()
    content = own_cache.read_bytes()
    with np.load(own_cache) as file:
        owners = file["owners"]
    middle = len(content) // 2
    changes = {
        "bit": lambda: own_cache.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]),
        "cut": lambda: own_cache.write_bytes(content[:-100]),
        "empty": lambda: own_cache.write_bytes(b""),
        "text": lambda: own_cache.write_bytes(b"no arrays"),
        "other fonts": lambda: rewritten(own_cache, made_from=np.array("x")),
        "places": lambda: rewritten(own_cache, owners=owners + 100),
        "shape": lambda: rewritten(own_cache, owners=owners[1:]),
        "link": lambda: (own_cache.rename(tmp_path / "x"), own_cache.symlink_to(tmp_path / "x")),
        "missing": own_cache.unlink,
    }
    changes[damage]()
    assert same(cache.glyphs(), first)
    assert own_cache.is_file()
    assert not own_cache.is_symlink()
    with np.load(own_cache) as file:
        assert np.array_equal(file["owners"], owners)
        assert str(file["checksum"]) == first[1]


@pytest.mark.parametrize("home", ["a file", "missing", "relative"])
def test_where_nothing_can_be_written_it_works_in_memory(home, own_cache, tmp_path, monkeypatch):
    first = cache.glyphs()
    (tmp_path / "file").write_text("")
    places = {"a file": str(tmp_path / "file"), "missing": "/proc/none", "relative": "some/where"}
    monkeypatch.setenv("XDG_CACHE_HOME", places[home])
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert same(cache.glyphs(), first)
    assert not Path("some").exists()


ONE = """
import sys
from maml_exp.data.glyphs import cache, fonts
fonts.CATEGORIES = ("Nd",)
print(cache.glyphs()[1])
"""


def test_processes_at_once_leave_one_whole_file(own_cache):
    first = cache.glyphs()
    own_cache.unlink()
    command = [sys.executable, "-c", ONE]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(3)]
    assert {process.communicate()[0].strip() for process in processes} == {first[1]}
    assert {path.name for path in own_cache.parent.iterdir()} == {cache.FILE}
    assert same(cache.glyphs(), first)


def test_fonts_that_are_not_there_are_missed_by_name(monkeypatch, tmp_path):
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(SettingError, match="has 0 of 21; install matplotlib with its fonts"):
        reader.read(None, None)
