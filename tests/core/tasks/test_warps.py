"""Random maps of images against a slow and obvious version, and means over pixels against closed forms."""

import numpy as np
import pytest

from maml_exp.core.tasks._classes.warps import FINENESS, NUMBERS, Canvas, Warps, pixel_means

from .galleries import gallery_of

RNG = np.random.default_rng(11)
WARPS = Warps(rotation=25.0, shear=0.3, scale=(0.7, 1.3), shift=0.1)


def one_class(images, frame=0):
    return gallery_of(np.asarray(images, np.uint8), [0, len(images)], frame)


def test_what_is_not_warped_and_smaller_is_the_mean_of_its_squares():
    images = RNG.integers(256, size=(5, 12, 12))
    canvas = Canvas(one_class(images), 4, 1)
    means = images.reshape(5, 4, 3, 4, 3).mean(axis=(2, 4)).reshape(5, 16)
    drawn = canvas.draw(np.array([3, 0, 4, 1]), None)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, means[[3, 0, 4, 1]] / 255, atol=0.5 / 255 + 1e-6)


def test_an_image_of_its_own_size_is_as_it_is():
    images = RNG.integers(256, size=(2, 9, 9))
    drawn = Canvas(one_class(images), 9, 1).draw(np.arange(2), None)
    np.testing.assert_array_equal(drawn, (images.reshape(2, -1) * np.float32(1 / 255)).astype(np.float32))


@pytest.mark.parametrize(("side", "frame", "size", "fineness"), [(12, 0, 5, 3), (40, 8, 10, 3), (40, 8, 28, 3)])
def test_means_over_a_pixels_width_are_those_of_a_fine_sum(side, frame, size, fineness):
    line = np.zeros(side)
    line[frame : side - frame] = RNG.random(side - 2 * frame)
    means, first = pixel_means(side, frame, size, fineness)
    fine = np.repeat(line, 1000)
    whole = np.zeros(size * fineness)
    for place in range(len(whole)):
        low, high = (np.clip((place + 0.5) / fineness + half, 0, size) / size for half in (-0.5, 0.5))
        whole[place] = fine[round(low * len(fine)) : round(high * len(fine))].mean()
    np.testing.assert_allclose(means @ line[frame : side - frame], whole[first : first + len(means)], atol=2e-3)
    assert np.all(whole[:first] == 0)
    assert np.all(whole[first + len(means) :] == 0)


def test_maps_are_the_inverse_of_shear_scale_rotation_and_shift():
    uniform = RNG.random((20, NUMBERS))
    matrices, offsets = WARPS.maps(uniform, 28)
    for (angle, shear, *rest), matrix, offset in zip(uniform, matrices, offsets, strict=True):
        angle, shear = np.deg2rad(25) * (2 * angle - 1), 0.3 * (2 * shear - 1)
        widths = np.diag([0.7 + 0.6 * rest[0], 0.7 + 0.6 * rest[1]])
        shift = 2.8 * (2 * np.array(rest[2:]) - 1)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shown = RNG.normal(size=2)  # a point of the image, about its centre
        at = rotation @ widths @ np.array([[1, shear], [0, 1]]) @ shown + shift
        np.testing.assert_allclose(matrix @ at + offset, shown, atol=1e-12)


@pytest.mark.parametrize(("side", "frame", "size"), [(84, 0, 28), (40, 8, 10), (90, 18, 28)])
def test_a_drawn_pixel_is_where_its_map_leads(side, frame, size):
    """On images whose value is a coordinate, a drawn value says where it was taken from: to a third of a pixel."""
    inner = side - 2 * frame
    ramp = np.rint(np.linspace(20, 235, inner))
    images = [np.tile(ramp, (inner, 1)), np.tile(ramp[:, None], (1, inner))]
    canvas = Canvas(one_class(images, frame), size, FINENESS)
    uniform = np.repeat(RNG.random((300, NUMBERS)), 2, axis=0)  # more than are drawn at once
    matrices, offsets = WARPS.maps(uniform, size)
    drawn = canvas.draw(np.tile([0, 1], 300), (matrices, offsets)).reshape(300, 2, size, size) * 255
    from_centre = np.arange(size) + 0.5 - size / 2
    pixel = side / size  # of the image's pixels
    checked = 0
    for task in range(300):
        for row, column in RNG.integers(size, size=(5, 2)):
            place = matrices[2 * task] @ [from_centre[column], from_centre[row]] + offsets[2 * task]
            x, y = (place + size / 2) * pixel - frame
            for value, along, other in ((drawn[task, 0, row, column], x, y), (drawn[task, 1, row, column], y, x)):
                if all(pixel <= at <= inner - pixel for at in (along, other)):
                    expected = 20 + 215 * (along - 0.5) / (inner - 1)
                    slack = 215 / (inner - 1) * pixel * (0.5 / FINENESS + 0.02) + 1.1
                    assert abs(value - expected) <= slack
                    checked += 1
    assert checked > 300


def test_beyond_the_edge_is_what_is_at_the_edge():
    framed, full = (Canvas(one_class(np.full((1, 20, 20), 200), frame), 10, FINENESS) for frame in (5, 0))
    away = np.eye(2)[None], np.array([[30.0, -30.0]])
    assert framed.draw(np.array([0]), away).max() == 0
    np.testing.assert_allclose(full.draw(np.array([0]), away), 200 / 255, rtol=1e-6)


def test_no_map_is_told_from_one_that_is():
    assert Warps(0.0, 0.0, (1.0, 1.0), 0.0).is_none
    for changes in ({"rotation": 1.0}, {"shear": 0.1}, {"scale": (1.0, 1.1)}, {"shift": 0.1}):
        assert not Warps(0.0, 0.0, (1.0, 1.0), 0.0)._replace(**changes).is_none
