"""Texts from saved files, made harmless for where they are shown: a terminal, a spreadsheet, a Markdown page.

A folder may be a stranger's, and its names and values are texts like any other: they must not move a cursor, be
calculated, or become HTML.
"""

from __future__ import annotations

import re

# what terminals act on, what turns the direction of writing, and halves of characters that no encoding takes
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "`": "\\`", "](": "]\\(", "\\": "\\\\"}
MARKED = re.compile(r"]\(|[&<>|`\\]")


def for_terminal(text: str) -> str:
    """The text with what a terminal would act on written out, as in \\x1b; newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The same, with newlines and tabs written out, too: a cell of a table."""
    return for_terminal(text).replace("\n", "\\n").replace("\t", "\\t")


def for_csv(value: object) -> object:
    """A cell of a spreadsheet: a text that would be calculated there gets a quote in front; numbers stay."""
    if not isinstance(value, str):
        return value if value is None or isinstance(value, (int, float)) else for_csv(str(value))
    text = one_line(value)
    return "'" + text if value.startswith(FORMULA) and not _is_number(text) else text


def for_markdown(text: str) -> str:
    """A text on a Markdown page, shown as it is: no HTML, link, code or column of a table comes of it."""
    return MARKED.sub(lambda found: MARKDOWN[found[0]], one_line(text))


def as_code(text: str) -> str:
    """A text between backticks on a Markdown page: a command to copy."""
    return "`" + one_line(text).replace("`", "'") + "`"


def for_figure(text: str, longest: int = 100) -> str:
    """A label in a figure: no formula, no longer than can be read; with its end, which often tells texts apart."""
    text = one_line(text)
    if len(text) > longest:
        end = (longest - 2) // 2
        text = f"{text[: longest - 2 - end]}..{text[-end:]}"
    return text.replace("$", r"\$")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
