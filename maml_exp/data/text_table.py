"""Tables for the terminal."""

from __future__ import annotations

import math

from maml_exp.data.texts import one_line

Table = list[list[str]]  # the first row is the heading


def aligned(table: Table) -> str:
    """Columns aligned with spaces; cells may hold names from saved files."""
    table = [[one_line(cell) for cell in row] for row in table]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table)


def with_margin(mean: float, half_width: float) -> str:
    """mean ± half width of its interval; of one value, which has none, the mean alone."""
    if not math.isfinite(half_width) and math.isfinite(mean):
        return digits(mean)
    noise = abs(half_width) < 1e-12 * abs(mean)  # of rounding, where all values are alike
    return f"{digits(mean)} ± {digits(0.0 if noise else half_width, 2)}"


def digits(value: float, significant: int = 3) -> str:
    """A number in as many significant digits, trailing zeros kept: a column reads as one precision."""
    value = float(value)
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    return f"{value:#.{significant}g}".rstrip(".")
