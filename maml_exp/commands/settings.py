"""`maml-exp settings`: every setting, with its default, unit, bounds and meaning."""

from __future__ import annotations

from collections.abc import Sequence

from maml_exp.commands import parser_of
from maml_exp.config.reference import Section, sections
from maml_exp.core.checks import SettingError

HEAD = """# Settings

Every setting, made from the code that declares them: `maml-exp settings --markdown > docs/settings.md`.
"""


def run_settings(arguments: Sequence[str]) -> int:
    """Print every setting, or those of one group."""
    parser = parser_of("settings", run_settings)
    parser.add_argument("group", nargs="?", help="as in inner or task")
    parser.add_argument("--markdown", action="store_true", help="as docs/settings.md has them")
    options = parser.parse_args(arguments)
    found = sections()
    if options.group:
        names = sorted({section.title.split()[0] for section in found} - {"(no"})
        found = [section for section in found if section.title.split()[0] == options.group]
        if not found:
            raise SettingError(f"{options.group} is not a group of settings: it must be one of {', '.join(names)}")
    shown = [as_markdown(section) if options.markdown else as_lines(section) for section in found]
    print("\n\n".join([HEAD.rstrip(), *shown] if options.markdown else shown))
    return 0


def as_lines(section: Section) -> str:
    """A section for the terminal."""
    lines = [f"{section.title}: {section.about}"]
    for entry in section.entries:
        unit = f" ({entry.unit})" if entry.unit else ""
        lines.append(f"  {entry.key}={entry.default}{unit}")
        lines.append(f"      {entry.help} (must be {entry.allowed})")
    return "\n".join(lines)


def as_markdown(section: Section) -> str:
    """A section for the page."""
    rows = ["| setting | default | unit | must be | meaning |", "|---|---|---|---|---|"]
    for entry in section.entries:
        cells = [f"`{entry.key}`", f"`{entry.default}`", entry.unit, entry.allowed, entry.help]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return f"## {section.title}\n\n{section.about}\n\n" + "\n".join(rows)
