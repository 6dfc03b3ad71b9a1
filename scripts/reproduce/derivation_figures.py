"""Draw the figures of docs/derivation.md into docs/figures: `python scripts/reproduce/derivation_figures.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle

from maml_exp.core.inner.layers.choice import pairs_pay
from maml_exp.run.figures.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, RED, STYLE

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures"


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """A figure of the given inches whose single axis, without frame, counts in inches."""
    fig = plt.figure(figsize=(width, height))
    axis = fig.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(0, height))
    axis.axis("off")
    return fig, axis


def box(axis: Any, x: float, y: float, text: str, colour: str, size: tuple[float, float]) -> None:
    """A rounded box centred at (x, y): the first line of `text` is its title."""
    width, height = size
    corner = (x - width / 2, y - height / 2)
    style = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": colour + "22", "edgecolor": colour}
    axis.add_patch(FancyBboxPatch(corner, width, height, lw=1.4, **style))
    title, *rest = text.split("\n")
    top = y + 0.105 * len(rest)
    axis.text(x, top, title, ha="center", va="center", weight="bold", fontsize=9.5)
    for number, line in enumerate(rest, start=1):
        axis.text(x, top - 0.22 * number, line, ha="center", va="center", fontsize=9)


def arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], colour: str, style: str = "-") -> None:
    """An arrow from `start` to `end`."""
    arrowprops = {"arrowstyle": "-|>", "color": colour, "lw": 1.5, "ls": style, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", xy=end, xytext=start, arrowprops=arrowprops)


def draw_passes() -> Any:
    """The passes of one meta-iteration with S = 2 inner steps, and what is kept for the way back."""
    fig, axis = canvas(10.4, 5.7)
    columns, size, kept = (2.05, 5.4, 8.75), (2.2, 0.98), (2.2, 0.62)
    top, middle, bottom = 4.5, 2.92, 1.25
    axis.text(0.12, 5.4, "forward in time: adapt, then judge", fontsize=9.5, style="italic", va="center")
    axis.text(
        10.28, 0.32, "back in time: pull v through every step", fontsize=9.5, style="italic", ha="right", va="center"
    )

    box(axis, columns[0], top, "support pass 0\nforward and backward\nat $\\theta_0$", BLUE, size)
    box(axis, columns[1], top, "support pass 1\nforward and backward\nat $\\theta_1$", BLUE, size)
    box(axis, columns[2], top, "query pass\nforward and backward\nat $\\theta_2$", GREEN, size)
    for s in range(2):
        start, end = columns[s] + size[0] / 2, columns[s + 1] - size[0] / 2
        arrow(axis, (start, top), (end, top), BLUE)
        axis.text((start + end) / 2, top + 0.2, f"$\\theta_{s + 1}=\\theta_{s}-\\alpha g_{s}$", ha="center", fontsize=9)
        axis.text((start + end) / 2, top - 0.22, "(learn)", ha="center", fontsize=8)

    for index in range(2):
        box(axis, columns[index], middle, f"kept\n$h_{index},\\ u_{index},\\ f'(z_{index})$", GREY, kept)
    box(axis, columns[2], middle, "kept\n$h_2,\\ u_2$", GREY, kept)
    for s, text in ((0, "$h_1h_0^T{+}1$\n$u_1u_0^T$"), (1, "$h_2h_s^T{+}1$\n$u_2u_s^T$")):
        x = (columns[s] + columns[s + 1]) / 2
        axis.text(x, middle + 0.14, text, ha="center", va="center", fontsize=9, linespacing=1.5)
        axis.text(x, middle - 0.36, "kept too", ha="center", va="center", fontsize=8)
    axis.text(columns[0] - 1.2, middle, "for each\nlayer", ha="right", va="center", fontsize=8, color="#555555")

    box(axis, columns[2], bottom, "start_pull_back\n$v=\\nabla L_Q(\\theta_2)$\nthe pair $(h_2, u_2)$", GREEN, size)
    box(axis, columns[1], bottom, "R pass at $\\theta_1$\nR forward, R backward\nadds two pairs to $v$", RED, size)
    box(axis, columns[0], bottom, "R pass at $\\theta_0$\nR forward, R backward\nadds two pairs to $v$", RED, size)
    for s in (1, 0):
        start, end = columns[s + 1] - size[0] / 2, columns[s] + size[0] / 2
        arrow(axis, (start, bottom), (end, bottom), RED)
        axis.text((start + end) / 2, bottom + 0.17, "$v$", ha="center", fontsize=10)
    for index, x in enumerate(columns):
        colour = GREEN if index == 2 else BLUE
        arrow(axis, (x, top - size[1] / 2), (x, middle + kept[1] / 2), colour)
        arrow(axis, (x, middle - kept[1] / 2), (x, bottom + size[1] / 2), GREY, "--")
        if index < 2:
            axis.text(x + 0.1, bottom + 0.83, f"$v \\leftarrow v-\\alpha H_{index}v$", fontsize=9, va="center")
    box(axis, 3.1, 0.32, "gradient: the sum over tasks of v, one stacked product", ORANGE, (4.3, 0.36))
    arrow(axis, (columns[0], bottom - size[1] / 2), (columns[0], 0.5), RED)
    axis.text(columns[0] + 0.1, 0.63, "$v$", va="center", fontsize=10)
    return fig


def block(
    axis: Any, x: float, y: float, shape: tuple[float, float], name: str, note: str, colour: str, **patch
) -> None:
    """A matrix drawn to scale, (rows, columns) in inches, centred at (x, y), with its shape below."""
    rows, columns = shape
    options = {"facecolor": colour + "44", "edgecolor": colour, "lw": 1.4} | patch
    axis.add_patch(Rectangle((x - columns / 2, y - rows / 2), columns, rows, **options))
    inside = rows > 0.3 and columns > 0.45
    height = y if inside else y + rows / 2 + 0.15
    axis.text(x, height, name, ha="center", va="center", fontsize=10)
    axis.text(x, y - rows / 2 - 0.16, note, ha="center", va="center", fontsize=8, color="#444444")


def draw_low_rank() -> Any:
    """A task's adapted weights as blocks, and the product of its inputs with them; n = m = 4 K, two steps made."""
    fig, axis = canvas(10.4, 5.0)
    side, thin = 1.4, 0.35

    def sign(x: float, y: float, text: str) -> None:
        axis.text(x, y, text, ha="center", va="center", fontsize=15)

    y = 3.65
    hidden = {"hatch": "////", "facecolor": "none", "ls": "--"}
    block(axis, 1.15, y, (side, side), "", "n x m, one a task", GREY, **hidden)
    label = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    axis.text(1.15, y, "$W_2$", ha="center", va="center", fontsize=11, bbox=label)
    axis.text(1.15, y + side / 2 + 0.18, "never formed", ha="center", va="center", fontsize=8.5, color="#444444")
    sign(2.2, y, "=")
    block(axis, 3.3, y, (side, side), "$W$", "n x m, shared by all tasks", BLUE)
    for index, (x, colour) in enumerate(((4.75, ORANGE), (7.75, GREEN))):
        sign(x - 0.45, y, "+")
        block(axis, x + 0.1, y, (side, thin), f"$h_{index}^T$", "n x K", colour)
        block(axis, x + 1.35, y, (thin, side), f"$u_{index}$", "K x m", colour)
        axis.text(x + 0.72, y + side / 2 + 0.3, f"step {index}: rank K at most", ha="center", fontsize=8.5)
    axis.plot([0.3, 10.1], [2.3, 2.3], color=GREY, lw=0.6)

    y = 1.4
    block(axis, 0.9, y, (thin, side), "$h_2W_2+b_2$", "Q x m", GREY)
    sign(1.75, y, "=")
    block(axis, 2.6, y, (thin, side), "$h_2$", "Q x n", RED)
    block(axis, 4.1, y, (side, side), "$W$", "n x m", BLUE)
    axis.text(4.88, y, "$+\\ b$", ha="left", va="center", fontsize=11)
    for index, (x, colour) in enumerate(((5.8, ORANGE), (8.15, GREEN))):
        sign(x - 0.32, y, "+")
        block(axis, x + 0.15, y, (thin, thin), f"$h_2h_{index}^T{{+}}1$", "Q x K", RED)
        block(axis, x + 1.15, y, (thin, side), f"$u_{index}$", "K x m", colour)
    axis.text(3.3, 0.3, "one product over all T Q rows", ha="center", fontsize=8.5)
    axis.text(7.75, 0.3, "small products: K (n + m) numbers a step instead of n m", ha="center", fontsize=8.5)
    return fig


def draw_rule() -> Any:
    """Numbers that hold one task's part of an H x H layer, as pairs and multiplied out, and where they cross."""
    shots = 10
    widths = np.arange(4, 513)
    fig, axis = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    axis.loglog(widths, widths**2, color=BLUE, lw=2, label="multiplied out: $n\\,m=H^2$")
    for steps, colour, style in ((1, ORANGE, "--"), (5, RED, "-.")):
        rank = steps * shots
        numbers = rank * 2 * widths
        label = f"pairs, S = {steps}: $S K (n+m)={2 * rank}H$"
        axis.loglog(widths, numbers, color=colour, lw=2, ls=style, label=label)
        crossing = next(h for h in widths if pairs_pay(h, h, rank)) - 1  # the last width that is not narrower in pairs
        axis.plot([crossing], [crossing**2], "o", color=BLACK, ms=6, zorder=3)
        axis.annotate(
            f"H = {crossing}: wider layers\nstay pairs",
            (crossing, crossing**2),
            xytext=(18, -24) if steps == 1 else (-18, 22),
            textcoords="offset points",
            fontsize=8.5,
            ha="left" if steps == 1 else "right",
            arrowprops={"arrowstyle": "-", "color": BLACK, "lw": 0.7},
        )
    axis.set(xlim=(4, 512), xlabel="width H of the layer (n = m = H)", ylabel="numbers a task")
    axis.set_xticks([4, 8, 16, 32, 64, 128, 256, 512], ["4", "8", "16", "32", "64", "128", "256", "512"])
    axis.minorticks_off()
    axis.set_title(
        f"What holds one task's adapted weights beside the shared W, K = {shots} support points", fontsize=10
    )
    axis.legend(loc="upper left")
    return fig


FIGURES = {"passes": draw_passes, "low-rank": draw_low_rank, "pairs-pay": draw_rule}


def main() -> None:
    """Write every figure."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        with plt.rc_context(STYLE):
            fig = draw()
            # no date or version in the file: the same script gives the same picture
            fig.savefig(FOLDER / f"derivation-{name}.png", dpi=120, metadata={"Software": None})
            plt.close(fig)


if __name__ == "__main__":
    main()
