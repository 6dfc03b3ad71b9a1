"""Tables for the terminal."""

from __future__ import annotations

Table = list[list[str]]  # the first row is the heading


def as_text(table: Table) -> str:
    """Columns aligned with spaces."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table)
