"""What figures share: views that one diverging task cannot move, colours that differ, legends that fit."""

import gc

import numpy as np
import pytest
from matplotlib.figure import Figure

from maml_exp.core.checks import SettingError
from maml_exp.run.figures import drawing


@pytest.fixture
def axis():
    return Figure().subplots()


@pytest.mark.parametrize(
    ("representative", "baseline", "limits"),
    [
        ([[0.1, 1.0], [4.0]], 5.0, (0.05, 8.0)),
        ([[0.1, 1.0], [1e30, np.inf, np.nan]], 5.0, (0.05, 2.0)),  # decades away, or no number: not in the view
        ([[0.1, 49.0], [51.0]], 5.0, (0.05, 98.0)),  # the view ends at ten times the baseline
        ([[0.0, -1.0, 2.0]], np.inf, (1.0, 4.0)),
        ([[np.nan]], 5.0, (0.1, 10.0)),
        ([], 5.0, (0.5, 2.0)),
    ],
)
def test_limits_come_from_what_is_representative(axis, representative, baseline, limits):
    assert drawing.set_log_limits(axis, representative, baseline, room=2.0) == pytest.approx(limits)
    assert axis.get_ylim() == pytest.approx(limits)
    assert axis.get_yscale() == "log"


def test_a_band_is_clipped_to_the_view_and_absent_where_it_is_unknown(axis):
    low, high = np.array([-5.0, 0.5, np.nan, 0.5]), np.array([15.0, 2.0, 2.0, np.inf])
    drawing.draw_band(axis, np.arange(4), low, high, (0.1, 10.0), drawing.BLUE)
    (band,) = axis.collections
    points = np.concatenate([path.vertices for path in band.get_paths()])
    assert points[:, 1].min() == 0.1
    assert points[:, 1].max() == 10.0
    assert points[:, 0].max() == 1.0  # nothing at 2 and 3


def test_a_band_ends_at_the_edge_beyond_which_its_middle_is(axis):
    low, high = np.array([1.0, -5.0, 1.0, -9.0]), np.array([3.0, 30.0, 3.0, 0.1])
    drawing.draw_band(axis, np.arange(4), low, high, (0.1, 10.0), drawing.BLUE)
    (band,) = axis.collections
    found = {(x, y) for path in band.get_paths() for x, y in path.vertices}
    assert found == {(0, 1), (0, 3), (1, 10), (2, 1), (2, 3), (3, 0.1)}


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ([1.0, 2.0], {}),
        ([1.0, 50.0, np.nan, np.inf], {10.0: [1, 2, 3]}),
        ([0.01, 1.0, 50.0], {0.1: [0], 10.0: [2]}),
    ],
)
def test_what_lies_beyond_the_view_is_marked_at_its_edge(axis, values, marks):
    assert drawing.mark_beyond(axis, range(len(values)), values, (0.1, 10.0), drawing.BLUE) == bool(marks)
    found = {float(line.get_ydata()[0]): [int(x) for x in line.get_xdata()] for line in axis.lines}
    assert found == marks


def test_sixteen_groups_have_sixteen_colours_and_markers():
    assert len({drawing.colour(number) for number in range(16)}) == 16
    assert len({drawing.marker(number) for number in range(16)}) == 16
    assert len({(drawing.colour(number), drawing.marker(number)) for number in range(200)}) == 200


@pytest.mark.parametrize("labels", [["a"], ["x" * 20] * 7, ["x" * 70] * 16, ["short", "x" * 40, "y"]])
@pytest.mark.parametrize("width", [5.6, 6.4, 10.2])
def test_a_legend_lies_inside_the_figure(labels, width, tmp_path):
    labels = [f"{label}{number}" for number, label in enumerate(labels)]
    height = 3.6 + drawing.legend_height(labels, width)
    with drawing.figure(tmp_path / "f.png", 1, 1, (width, height)) as (fig, axes):
        for label in labels:
            axes[0, 0].plot([0, 1], label=label)
        drawing.legend_below(fig, *axes[0, 0].get_legend_handles_labels())
        fig.canvas.draw()
        (legend,) = fig.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= fig.bbox.width
        assert axes[0, 0].get_window_extent().height > 100  # pixels: something is left for the axes


def test_figures_are_150_dots_an_inch_and_the_same_each_time(tmp_path):
    from PIL import Image

    for name in ("a.png", "b.png"):
        with drawing.figure(tmp_path / name, 1, 1, (4, 3)) as (_, axes):
            axes[0, 0].plot([1, 2, 3])
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (600, 450)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_margins_are_inches(tmp_path):
    margins = drawing.Margins(left=1, right=0.5, bottom=0.75, top=0.25, across=0.5, down=0.5)
    with drawing.figure(tmp_path / "f.png", 2, 2, (6, 4), margins=margins) as (_, axes):
        boxes = [axis.get_position() for axis in axes.flat]
    assert min(box.x0 for box in boxes) * 6 == pytest.approx(1)
    assert max(box.x1 for box in boxes) * 6 == pytest.approx(5.5)
    assert min(box.y0 for box in boxes) * 4 == pytest.approx(0.75)
    assert max(box.y1 for box in boxes) * 4 == pytest.approx(3.75)
    assert (boxes[1].x0 - boxes[0].x1) * 6 == pytest.approx(0.5)
    assert (boxes[0].y0 - boxes[2].y1) * 4 == pytest.approx(0.5)


def test_an_unknown_style_is_refused(tmp_path):
    refused = pytest.raises(SettingError, match=r"--style nice is not usable: it must be one of .*ggplot")
    with refused, drawing.figure(tmp_path / "f.png", 1, 1, (4, 3), style="nice"):
        pass
    assert not (tmp_path / "f.png").exists()


@pytest.mark.parametrize("enabled", [True, False])
def test_drawing_leaves_the_collector_and_matplotlib_as_they_were(enabled, tmp_path):
    import matplotlib.artist

    kwdoc = matplotlib.artist.kwdoc
    (gc.enable if enabled else gc.disable)()
    try:
        with drawing.figure(tmp_path / "f.png", 1, 1, (4, 3)):
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
        with pytest.raises(ZeroDivisionError), drawing.figure(tmp_path / "f.png", 1, 1, (4, 3)):
            raise ZeroDivisionError
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert matplotlib.artist.kwdoc is kwdoc
    assert kwdoc(matplotlib.artist.Artist)


def test_labels_at_a_distance_keep_clear_of_ticks_and_lie_in_the_figure(tmp_path):
    margins = drawing.Margins(left=0.75, bottom=0.5, top=0.3)
    with drawing.figure(tmp_path / "f.png", 1, 2, (6, 3), margins=margins) as (fig, axes):
        for axis in axes[0]:
            axis.plot([-1e-3, 1e4], [-4, 4])
            axis.set_xlabel("an input")
        axes[0, 0].set_ylabel("two lines\nof text")
        fig.canvas.draw()
        for axis in axes[0]:
            ticks = [label.get_window_extent() for label in axis.get_xticklabels()]
            label = axis.xaxis.label.get_window_extent()
            assert label.y1 < min(tick.y0 for tick in ticks)
            assert label.y0 >= 0
        assert axes[0, 0].yaxis.label.get_window_extent().x0 >= 0
