"""One self-contained HTML page: sections made of parts, put into template.html.j2.

What the parts say comes from train_jax/report/run.py, for every run, and from the tasks.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from train_jax.report.table import Table
from train_jax.run.files import write_atomically

TEMPLATE = Path(__file__).with_name("template.html.j2")


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Facts(NamedTuple):
    """Names and values."""

    rows: list[tuple[str, str]]


class Picture(NamedTuple):
    svg: str  # of `figure.svg`
    caption: str = ""


class Pictures(NamedTuple):
    """Side by side where there is room."""

    pictures: list[Picture]


class Card(NamedTuple):
    image: str  # of `png_uri`
    lines: list[str]


class Cards(NamedTuple):
    """Many small images with a few words each."""

    cards: list[Card]


class Fold(NamedTuple):
    """Parts that are folded away."""

    summary: str
    parts: Sequence["Part"]

    def kinds(self):
        return kinds(self.parts)


class Details(NamedTuple):
    """Text that is folded away, in a fixed-width font."""

    summary: str
    text: str


Part = Text | Facts | Table | Pictures | Cards | Fold | Details


def kinds(parts: Sequence[Part]) -> list[tuple[str, Part]]:
    """(name of its type, part) of each, for the template."""
    return [(type(part).__name__, part) for part in parts]


class Section(NamedTuple):
    title: str
    parts: Sequence[Part]

    def kinds(self):
        return kinds(self.parts)


class Font(NamedTuple):
    """A font that travels in the page, for the characters of `range` only (CSS unicode-range)."""

    name: str
    uri: str  # of `font_uri`
    range: str


def write_page(path: Path, title: str, subtitle: str, sections, fonts=()) -> None:
    """Writes the page. Sections without parts are left out; all but SVG is escaped."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    html = template.render(
        title=title, subtitle=subtitle, sections=[s for s in sections if s.parts], fonts=fonts
    )
    write_atomically(path, html)


def png_uri(png: str) -> str:
    """The data URI of a PNG in base64."""
    return f"data:image/png;base64,{png}"


def font_uri(path: Path) -> str:
    """The data URI of a TrueType font."""
    return f"data:font/ttf;base64,{base64.b64encode(path.read_bytes()).decode()}"
