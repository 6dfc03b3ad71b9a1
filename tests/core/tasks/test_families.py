"""What every family of tasks promises (`TaskFamily`), a row a family; one that has no row fails here."""

from dataclasses import replace

import numpy as np
import pytest

from maml_exp.core.tasks import TASKS, glyphs, harmonic, images, mixture, polynomial, sinusoid, table

from .galleries import random_gallery
from .tables import random_table

# family: its settings, with more than one input where it can have them
TABLE = {
    "table": table.Settings(shots=4, query=6, file="x", group="g", inputs=["u", "v"], outputs=["y", "z"]),
    "mixture": mixture.Settings(shots=4, query=6, modes=list(mixture.MODES)),
    "polynomial": polynomial.Settings(shots=4, query=6, noise=0.1),
    "harmonic": harmonic.Settings(shots=4, query=6, x_range_test=[5.0, 6.0]),
    "glyphs": glyphs.Settings(shots=4, query=6, ways=3, size=10),
    "images": images.Settings(shots=4, query=6, ways=4, size=6, file="x"),
    "sinusoid": sinusoid.Settings(oracle=True, frequency=[0.5, 2.0], shots=4, query=6),
}
DATA = {
    "table": random_table(),
    "glyphs": random_gallery(),
    "images": random_gallery(),
}  # of families that are computed on some
each_family = pytest.mark.parametrize("name", sorted(TABLE))


def family_of(name, **changes):
    data = [DATA[name]] if name in DATA else []
    return TASKS.get(name).Family(replace(TABLE[name], **changes), *data)


def test_every_family_of_the_folder_has_a_row():
    assert sorted(TABLE) == TASKS.own_names()


@each_family
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_meta_batch_has_the_shapes_and_the_dtype_asked_for(name, dtype):
    family = family_of(name)
    batch = family.sample(np.random.default_rng(0), 3, dtype)
    sizes = [(k, n) for k in (family.support_points(4), family.query) for n in (family.inputs, family.outputs)]
    assert [part.shape for part in batch] == [(3, *size) for size in sizes]
    assert {part.dtype for part in batch} == {np.dtype(dtype)}
    assert (len(family.input_names), len(family.output_names)) == (family.inputs, family.outputs)


@each_family
def test_the_same_generator_gives_the_same_tasks_and_the_next_ones_are_others(name):
    family, rng = family_of(name), np.random.default_rng(5)
    first, second = family.sample(rng, 3, "float64"), family.sample(rng, 3, "float64")
    again = family.sample(np.random.default_rng(5), 3, "float64")
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@each_family
def test_held_out_tasks_do_not_depend_on_how_many_are_asked_for(name):
    family = family_of(name)
    many, few = family.held_out("test", 7, 7, 20, 30), family.held_out("test", 7, 4, 5, 30)
    points = family.support_points(5)
    np.testing.assert_array_equal(many.x_support[:4, :points], few.x_support)
    np.testing.assert_array_equal(many.y_support[:4, :points], few.y_support)
    if name not in DATA:  # where there are but so many points, those to adapt on are none to judge by
        np.testing.assert_array_equal(many.x_query[:4], few.x_query)
        np.testing.assert_array_equal(many.y_query[:4], few.y_query)
    other = family.held_out("test", 8, 4, 5, 30)
    assert not all(np.array_equal(a, b) for a, b in zip(other[:4], few[:4], strict=True))


@each_family
def test_what_is_trained_with_is_no_part_of_a_fingerprint(name):
    assert family_of(name).fingerprint() == family_of(name, shots=9, query=2).fingerprint()
    assert family_of(name).fingerprint()["name"] == name
