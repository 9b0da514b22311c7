"""A table of text, and two of the ways to read it; template.html.j2 has the third."""

import math
import textwrap
from collections.abc import Collection
from typing import NamedTuple

CONSOLE, PAGE = 80, 100  # columns, for notes


class Table(NamedTuple):
    """Cells of text; `numbers` are the columns, from 0, that are set to the right."""

    header: list[str]
    rows: list[list[str]]
    numbers: Collection[int] = ()
    note: str = ""


def as_text(table: Table) -> str:
    """Aligned columns, for the console."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.rjust(width) if column in table.numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, *textwrap.wrap(table.note, CONSOLE)])


def as_markdown(table: Table) -> str:
    """A table of Markdown, and its note as a paragraph."""
    rule = ["--:" if column in table.numbers else "---" for column in range(len(table.header))]
    lines = ["| " + " | ".join(line) + " |" for line in (table.header, rule, *table.rows)]
    return "\n".join(lines) + (f"\n\n{textwrap.fill(table.note, PAGE)}" if table.note else "")


def interval(value: float | None, ci95, digits: int) -> str:
    """'0.662 [0.646, 0.677]' of a value and its (low, high); '-' for one that is not there."""
    if value is None or math.isnan(value):
        return "-"
    low, high = ci95
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
