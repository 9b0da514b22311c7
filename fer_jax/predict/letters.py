"""Text in any script, with Pillow: each letter in the first font that has it.

matplotlib's own font has Latin, Greek, Cyrillic and more; the Noto fonts of the package
manimgx-fonts the scripts of India and others; the fonts of the system what else there is, such as
Chinese. A letter that no font has is written as its code point, U+9854, so that names stay apart.
"""

import functools
import importlib.util
import unicodedata
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

FIRST = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"


def runs(text: str, size: int):
    """[(font, part)]: the parts of a line, each in one font of `size` pixels."""
    parts: list[list] = []
    for letter in text:
        path = FIRST if ord(letter) in _letters(FIRST) else _path_of(letter)
        if path is None and unicodedata.combining(letter) == 0 and not letter.isprintable():
            continue
        written = letter if path else f"U+{ord(letter):04X}"
        path = path or FIRST
        if parts and parts[-1][0] == path:
            parts[-1][1] += written
        else:
            parts.append([path, written])
    return [(font(path, size), part) for path, part in parts]


def width(text: str, size: int) -> float:
    """Of the line, in pixels."""
    return sum(font.getlength(part) for font, part in runs(text, size))


def write(draw, place, text, colour, size: int):
    """Draws the line; `place` (x, y) is its upper left corner."""
    x, y = place
    ascent = font(FIRST, size).getmetrics()[0]
    for one, part in runs(text, size):
        draw.text((x, y + ascent), part, colour, one, anchor="ls")  # on one base line
        x += one.getlength(part)


@functools.lru_cache(maxsize=256)
def font(path, size):
    """A font of Pillow."""
    return ImageFont.truetype(str(path), size)


@functools.cache
def _path_of(letter) -> Path | None:
    """Of the first font that has the letter."""
    return next((path for path in paths() if ord(letter) in _letters(path)), None)


@functools.cache
def paths() -> tuple[Path, ...]:
    """Of the fonts, in the order in which they are asked."""
    noto = importlib.util.find_spec("manimgx_fonts")
    folders = (noto and noto.submodule_search_locations) or []
    packaged = [path for folder in folders for path in sorted(Path(folder).glob("*.ttf"))]
    system = [Path(path) for path in sorted(font_manager.findSystemFonts())]
    return (FIRST, *packaged, *(path for path in system if "emoji" not in path.name.lower()))


@functools.cache
def _letters(path) -> frozenset[int]:
    """The code points of a font; none of a file that is no font."""
    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
