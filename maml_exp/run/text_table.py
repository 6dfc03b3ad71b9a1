"""Tables for the terminal."""

from __future__ import annotations

from maml_exp.data.texts import one_line

Table = list[list[str]]  # the first row is the heading


def as_text(table: Table) -> str:
    """Columns aligned with spaces; cells may hold names from saved files."""
    table = [[one_line(cell) for cell in row] for row in table]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table)
