"""What all figures share: a canvas, colours and markers, limits that one bad value cannot move, legends that fit.

matplotlib is imported here, and only when a figure is drawn (its fonts are glyphs, too: data/glyphs/fonts.py).
"""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maml_exp.core.checks import SettingError
from maml_exp.core.losses import Measure
from maml_exp.data import door

Array = np.ndarray
# Okabe and Ito's colours first, told apart by readers with colour vision deficiency; then Tol's
BLACK, GREY, ORANGE, BLUE, GREEN, RED = "#000000", "#999999", "#E69F00", "#0072B2", "#009E73", "#D55E00"
COLOURS = (
    *(BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", BLACK, "#882255"),
    *("#999933", "#332288", "#44AA99", "#AA7744", "#CC6677", "#117733", "#7777CC", "#666666"),
)
MARKERS = "osD^vPX<>ph*8dH."  # as many: a colour that comes again has another marker, and the other way round
STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "text.hinting": "none",  # letters are as readable at 150 dpi, and cost a third less
    "axes.titley": 1.0,  # just above the frame: else every tick is measured once more, to keep clear of its label
}
FAR_ABOVE = 10.0  # times the baseline, the view ends
LABEL_BELOW = 0.285  # inches, below ticks of 9 points
INCHES_A_LETTER, INCHES_A_LINE, INCHES_A_HANDLE = 0.077, 0.19, 0.6  # of a legend, at 9 points


class Margins(NamedTuple):
    """Inches around and between the axes of a figure."""

    left: float = 0.65
    right: float = 0.12
    bottom: float = 0.5
    top: float = 0.6
    across: float = 0.3
    down: float = 0.35


@contextmanager
def _without_collector() -> Iterator[None]:
    """Drawing makes many small objects and drops few: looking through all of them again and again frees nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _import_matplotlib() -> None:
    """Import it without the list of settings that each of its classes writes into its docstrings.

    They take a third of the time that importing takes. Where somebody may ask for help they are left as they are.
    """
    import matplotlib.artist

    kwdoc = matplotlib.artist.kwdoc
    if not hasattr(sys, "ps1") and "IPython" not in sys.modules:
        matplotlib.artist.kwdoc = lambda artist: ""
    try:
        import matplotlib.figure
    finally:
        matplotlib.artist.kwdoc = kwdoc


@contextmanager
def figure(
    path: Path,
    rows: int,
    columns: int,
    size: tuple[float, float],
    style: str | None = None,
    margins: Margins | None = None,
    own_folder: bool = False,
    **options: Any,
) -> Iterator[Any]:
    """Subplots (figure, axes) that are saved to `path`, whatever its format.

    Args:
        path: its suffix is the format.
        rows, columns: of axes.
        size: inches.
        style: one of matplotlib's, over ours; raises `SettingError` for a name that is none.
        margins: where axes and their labels lie; None leaves that to matplotlib, which takes most of a figure's time.
        own_folder: of a run's plots/: made where it is not there, and never a link.
        options: of `Figure.subplots`.
    """
    with ExitStack() as stack:
        stack.enter_context(_without_collector())
        _import_matplotlib()
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        stack.enter_context(matplotlib.rc_context(STYLE))
        if style is not None:
            stack.enter_context(_style(style))
        fig = Figure(figsize=size, layout="constrained" if margins is None else None)
        FigureCanvasAgg(fig)
        axes = fig.subplots(rows, columns, squeeze=False, **options)
        if margins is not None:
            _place(fig, margins, rows, columns)
        yield fig, axes
        picture, suffix = io.BytesIO(), path.suffix.lstrip(".")
        # no date or version in the file: the same run gives the same picture
        as_png: dict[str, Any] = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 1}}
        fig.savefig(picture, format=suffix, **(as_png if suffix == "png" else {}))
        if not own_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        door.write(path, picture.getvalue(), own_folder)


def _style(name: str) -> Any:
    import matplotlib.style

    if name not in matplotlib.style.available:
        known = ", ".join(matplotlib.style.available)
        raise SettingError(f"--style {name} is not usable: it must be one of {known}")
    return matplotlib.style.context(name)


def _place(fig: Any, margins: Margins, rows: int, columns: int) -> None:
    """Put the axes where the margins say."""
    width, height = fig.get_size_inches()
    inner_width = (width - margins.left - margins.right - (columns - 1) * margins.across) / columns
    inner_height = (height - margins.bottom - margins.top - (rows - 1) * margins.down) / rows
    fig.subplots_adjust(
        left=margins.left / width,
        right=1 - margins.right / width,
        bottom=margins.bottom / height,
        top=1 - margins.top / height,
        wspace=margins.across / inner_width,
        hspace=margins.down / inner_height,
    )
    for axis in fig.axes:  # labels at a distance, where they keep clear of ticks; matplotlib would measure each tick
        axis.xaxis.set_label_coords(0.5, -LABEL_BELOW / inner_height)
        if not axis.get_subplotspec().is_first_col():
            axis.yaxis.set_label_coords(0.0, 0.5)  # they have none


def heighten(fig: Any, inches: float, margins: Margins, rows: int, columns: int) -> None:
    """More room above the axes of a figure with margins."""
    width, height = fig.get_size_inches()
    fig.set_size_inches(width, height + inches)
    _place(fig, margins._replace(top=margins.top + inches), rows, columns)


def colour(number: int) -> str:
    """The colour of the number-th of several things."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """Its marker."""
    return MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of these labels fit into `width` inches."""
    longest = max((len(label) for label in fitting(labels, width)), default=1)
    most = max(1, min(len(labels), int(width / (INCHES_A_HANDLE + INCHES_A_LETTER * longest))))
    lines = -(-len(labels) // most)
    return max(1, -(-len(labels) // lines))  # as even as they can be


def fitting(labels: Sequence[str], width: float) -> list[str]:
    """Labels, cut where they are longer than `width` inches."""
    most = int((width - INCHES_A_HANDLE) / INCHES_A_LETTER)
    return [label if len(label) <= most else label[: most - 4] + " ..." for label in labels]


def legend_height(labels: Sequence[str], width: float) -> float:
    """The inches that a legend of these labels takes below a figure `width` inches wide."""
    if not labels:
        return 0.0
    lines = -(-len(labels) // legend_columns(labels, width))
    return 0.1 + INCHES_A_LINE * lines


def legend_below(fig: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend below the axes, in as many columns as fit into the figure."""
    width = fig.get_size_inches()[0]
    inside = {"loc": "outside lower center"} if fig.get_layout_engine() is not None else {"loc": "lower center"}
    fig.legend(handles, fitting(labels, width), ncols=legend_columns(labels, width), **inside)


def set_log_limits(
    axis: Any, representative: Iterable[Any], baseline: Any = np.inf, room: float = 1.6
) -> tuple[float, float]:
    """A logarithmic y axis around representative values, as medians, and a baseline; returns its limits.

    Means and bands of a run of which one task diverged lie decades away: they are clipped, and `mark_beyond` says so.
    So are values many times the baseline, the error of what has learned nothing.
    """
    values = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in representative] or [np.ones(1)])
    top = FAR_ABOVE * float(np.max(baseline))
    values = values[np.isfinite(values) & (values > 0) & (values <= top)]
    low, high = (values.min() / room, values.max() * room) if len(values) else (0.1, 10.0)
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    axis.yaxis.minorticks_off() if high / low > 1e3 else _few_minor_labels(axis, high / low)
    return float(low), float(high)


def set_error_limits(
    axis: Any, measure: Measure, representative: Iterable[Any], baseline: Any = np.inf
) -> tuple[float, float]:
    """A y axis for errors that are shown by a measure: as `set_log_limits`, or linear where more is better."""
    if not measure.rises:
        return set_log_limits(axis, representative, baseline)
    values = measure.of(np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in representative]))
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (measure.of(1.0), measure.of(0.0))
    room = 0.08 * (high - low) + 1
    low, high = max(measure.of(1.0), low - room), min(measure.of(0.0), high + room)
    axis.set_ylim(low, high)
    return float(low), float(high)


def _few_minor_labels(axis: Any, ratio: float) -> None:
    """Ticks at 1, 2 and 5 of every decade, with plain numbers: a few decades have few powers of 10."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    steps: tuple[float, ...] = (1.0, 3.0)
    if ratio < 100:
        steps = (1.0, 2.0, 5.0)
    if ratio < 8:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.yaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def draw_band(axis: Any, x: Any, low: Any, high: Any, limits: tuple[float, float], shade: str) -> None:
    """A band, clipped to the view; it ends at the edge beyond which its middle is, and where an end is not known."""
    low, high = (np.asarray(end, dtype=float) for end in (low, high))
    known = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore", over="ignore"):
        middle = (low + high) / 2
    for edge, beyond in zip(limits, (middle < limits[0], middle > limits[1]), strict=True):
        low, high = (np.where(beyond, edge, end) for end in (low, high))
    low, high = np.clip(np.where(known, low, np.nan), *limits), np.clip(np.where(known, high, np.nan), *limits)
    if known.any():
        axis.fill_between(x, low, high, color=shade, alpha=0.2, lw=0)


def mark_beyond(axis: Any, x: Any, values: Any, limits: tuple[float, float], shade: str) -> bool:
    """Small triangles at the edge of the view where values lie beyond it, or are not finite; whether there are any."""
    x, values = np.asarray(x, dtype=float), np.asarray(values, dtype=float)
    above, below = ~(values <= limits[1]), values < limits[0]
    for beyond, edge, shape in ((above, limits[1], "^"), (below, limits[0], "v")):
        if beyond.any():
            at = np.full(int(beyond.sum()), edge)
            axis.plot(x[beyond], at, shape, color=shade, ms=5, clip_on=False, zorder=4)
    return bool(above.any() or below.any())


def say_within(axis: Any, text: str, shade: str, height: float) -> None:
    """A small text at the right of the view, its top at a share of its height; lines behind it do not cross it."""
    background = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    place = {"transform": axis.transAxes, "ha": "right", "va": "top"}
    axis.text(0.97, height, text, color=shade, fontsize=7, bbox=background, zorder=5, **place)
