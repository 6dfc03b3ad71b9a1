"""N-way K-shot tasks: which images are drawn, under which labels, of which classes."""

from dataclasses import replace

import numpy as np
import pytest

from maml_exp.core.checks import SettingError
from maml_exp.core.tasks import families, glyphs, images
from maml_exp.core.tasks._classes.family import _drawn_images

from .galleries import number_of, numbered_gallery, random_gallery

RNG = np.random.default_rng(3)
IMAGES = images.Settings(shots=2, query=3, ways=3, size=4, file="x")
GLYPHS = glyphs.Settings(shots=2, query=3, ways=3, size=10, rotation=0, shear=0, scale=[1, 1], shift=0)
SPLITS = ("train", "validation", "test")


def labels_of(y):
    assert np.isin(y, (0, 1)).all()
    assert (y.sum(axis=-1) == 1).all()
    return y.argmax(axis=-1)


# ------------------------------------------------------------------ what is drawn


@pytest.mark.parametrize("settings", [IMAGES, GLYPHS], ids=["images", "glyphs"])
def test_rows_are_shot_by_shot_and_labels_stand_for_one_class_each(settings):
    gallery = numbered_gallery([12] * 20)  # image i is of class i // 12
    family = families(settings, gallery)[0]
    batch = family.sample(np.random.default_rng(0), 50, "float32")
    for y, points in ((batch.y_support, 2), (batch.y_query, 3)):
        np.testing.assert_array_equal(labels_of(y), np.tile([0, 1, 2], (50, points)))
    both = np.concatenate([number_of(batch.x_support), number_of(batch.x_query)], axis=1).reshape(50, 5, 3)
    classes = both // 12
    assert (classes == classes[:, :1]).all()
    assert all(len(set(own)) == 3 for own in classes[:, 0])
    assert all(len(set(own)) == 15 for own in both.reshape(50, 15))  # no image is support and query
    assert {*classes.flat} == {gallery.names.index(name) for name in family._parts["train"].names}


def test_a_class_has_every_label_as_often():
    family = families(IMAGES, numbered_gallery([12] * 20))[0]
    classes = number_of(family.sample(np.random.default_rng(0), 6000, "float32").x_support)[:, :3] // 12
    counts = np.array([[np.sum(classes[:, label] == c) for label in range(3)] for c in np.unique(classes)])
    assert abs(counts / counts.sum(axis=1, keepdims=True) - 1 / 3).max() < 5 * np.sqrt(2 / 9 / counts.sum(axis=1).min())


@pytest.mark.parametrize("settings", [IMAGES, GLYPHS], ids=["images", "glyphs"])
def test_held_out_tasks_name_the_classes_behind_their_labels(settings):
    gallery = numbered_gallery([12] * 20, scripts=[f"s{i % 4}" for i in range(20)])
    family = families(settings, gallery)[0]
    tasks = family.held_out("test", 5, 30, 4, 7)
    assert tasks.y_query.shape == (30, 6, 3)  # 7 points are 2 of each of 3 classes
    for x, y in ((tasks.x_support, tasks.y_support), (tasks.x_query, tasks.y_query)):
        for numbers, labels, names in zip(number_of(x), labels_of(y), tasks.classes, strict=True):
            assert [gallery.names[number // 12] for number in numbers] == [names[label] for label in labels]
    assert {name for names in tasks.classes for name in names} <= {*family._parts["test"].names}
    assert family.scripts["c007"] == "s3"
    assert not {*number_of(tasks.x_support)[0]} & {*number_of(tasks.x_query)[0]}


def test_images_are_used_once_and_queries_are_as_many_as_the_smallest_class_has():
    family = families(replace(IMAGES, split=[0.2, 0.2, 0.6]), numbered_gallery([8] * 29 + [6]))[0]
    for task in range(20):
        tasks = family.held_out("test", task, 1, 4, 100)
        used = [*number_of(tasks.x_support)[0], *number_of(tasks.x_query)[0]]
        assert len(set(used)) == len(used)
    least = min(family._parts["test"].sizes)
    assert tasks.x_query.shape[1] == 3 * (least - 4)


def test_of_few_faces_none_is_seen_again_before_all_were():
    places = _drawn_images(RNG, np.array([2, 3, 7]), 6)
    for own, size in zip(places, (2, 3, 7), strict=True):
        for start in range(0, 6 - size + 1, size):
            assert {*own[start : start + size]} == {*range(size)}
    assert len(set(places[2])) == 6
    family = families(GLYPHS, numbered_gallery([4] * 20))[0]
    assert family.held_out("test", 0, 2, 10, 100).x_query.shape == (2, 99, 100)
    few, many = (family.held_out("test", 0, 2, shots, 100) for shots in (1, 10))
    np.testing.assert_array_equal(few.x_query, many.x_query)  # what is adapted to changes nothing of what is judged


# ------------------------------------------------------------------ splits


def names_by_split(family):
    return {split: {*family._parts[split].names} for split in SPLITS}


@pytest.mark.parametrize("seed", range(5))
def test_no_class_is_in_two_splits_and_the_order_of_classes_does_not_matter(seed):
    settings = replace(IMAGES, split_seed=seed, split=[0.5, 0.2, 0.3])
    found = names_by_split(families(settings, random_gallery())[0])
    assert [len(found[split]) for split in SPLITS] == [30, 12, 18]
    assert len(set.union(*found.values())) == 60
    assert found != names_by_split(families(replace(settings, split_seed=seed + 1), random_gallery())[0])


@pytest.mark.parametrize("seed", range(5))
def test_whole_scripts_are_in_one_split(seed):
    gallery = random_gallery(scripts=[f"s{i % 7}" for i in range(60)])
    family = families(replace(IMAGES, split_by="script", split_seed=seed), gallery)[0]
    scripts = [{family.scripts[name] for name in names} for names in names_by_split(family).values()]
    assert sum(map(len, scripts)) == len(set.union(*scripts)) == 7


@pytest.mark.parametrize("seed", range(5))
def test_font_families_and_characters_are_in_one_split(seed):
    gallery = numbered_gallery([8] * 30, families=np.arange(240) % 4, family_names=["a", "b", "c", "d"])
    family = families(replace(GLYPHS, split_by="family", split_seed=seed), gallery)[0]
    seen = {}
    for split in SPLITS:
        tasks = family.held_out(split, 0, 100, 5, 30)
        numbers = np.concatenate([number_of(tasks.x_support).reshape(-1), number_of(tasks.x_query).reshape(-1)])
        seen[split] = {("class", number // 8) for number in numbers} | {("family", number % 4) for number in numbers}
    assert not any(seen[a] & seen[b] for a, b in (SPLITS[:2], SPLITS[1:], SPLITS[::2]))
    assert len([what for split in SPLITS for what in seen[split] if what[0] == "family"]) == 4


def test_what_the_data_says_of_splits_is_followed():
    splits = [SPLITS[i % 3] for i in range(20)]
    family = families(IMAGES, numbered_gallery([12] * 20, splits=splits))[0]
    for split in SPLITS:
        assert {*family._parts[split].names} == {f"c{i:03d}" for i in range(20) if splits[i] == split}


BAD = {
    "few images": ({"shots": 10}, [12] * 20, "14 of 14 train classes have fewer than 13 images: .*task.shots"),
    "few classes": ({"ways": 5}, [12] * 12, r"test has \d train|test has \d"),
    "no groups": ({}, [12, 12], "has 2 character.s.; task.split_by=character needs at least 3"),
    "one script": ({"split_by": "script"}, [12] * 20, "has 1 script"),
}


@pytest.mark.parametrize("name", BAD)
def test_images_that_do_not_suffice_are_refused(name):
    changes, sizes, message = BAD[name]
    gallery = numbered_gallery(sizes, scripts=["one"] * len(sizes))
    with pytest.raises(SettingError, match=message):
        families(replace(IMAGES, **changes), gallery)[0].require_shots(1)


def test_small_classes_are_left_out_if_asked_for_and_told():
    sizes, shares = [12] * 17 + [3] * 3, [0.5, 0.25, 0.25]
    with pytest.raises(SettingError, match=r"task\.short=drop"):
        families(IMAGES, numbered_gallery(sizes))[0].require_shots(3)
    family = families(replace(IMAGES, short="drop", split=shares), numbered_gallery(sizes))[0]
    family.require_shots(3)
    assert sum(family._dropped.values()) == 3
    assert "classes with too few images are left out" in family.notes()[0]


def test_a_saved_run_adapts_without_images_and_says_what_it_lacks():
    known = families(IMAGES, numbered_gallery([12] * 20))[0].facts()
    family = families(IMAGES, known)[0]
    assert (family.inputs, family.outputs, family.is_open) == (16, 3, False)
    assert family.fingerprint() == known["fingerprint"]
    with pytest.raises(SettingError, match=r"give them again, task\.file=PATH"):
        family.sample(RNG, 2, "float32")
    for damaged in ({}, {"fingerprint": 3, "counts": {}}, {"fingerprint": {"a": {}}, "counts": {}}):
        with pytest.raises(SettingError, match="damaged"):
            families(IMAGES, damaged)


def test_several_numbers_of_shots_are_of_the_same_images():
    made = families(replace(IMAGES, shots=[1, 4]), numbered_gallery([12] * 20))
    assert [family.sample(RNG, 2, "float64").x_support.shape[1] for family in made] == [3, 12]
    assert made[0]._canvas is made[1]._canvas
