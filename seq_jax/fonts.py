"""Fonts of the letters that few devices bring, for pictures and pages: Noto's, OFL 1.1."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

PACKAGE = "manimgx_fonts"  # a wheel of them
FONTS = {  # language: NAME of NotoSansNAME[wght].ttf, its characters
    "bn": ("Bengali", "U+0980-09FF"),
    "gu": ("Gujarati", "U+0A80-0AFF"),
    "hi": ("Devanagari", "U+0900-097F"),
    "kn": ("Kannada", "U+0C80-0CFF"),
    "ml": ("Malayalam", "U+0D00-0D7F"),
    "mr": ("Devanagari", "U+0900-097F"),
    "pa": ("Gurmukhi", "U+0A00-0A7F"),
    "ta": ("Tamil", "U+0B80-0BFF"),
    "te": ("Telugu", "U+0C00-0C7F"),
    "ur": ("Arabic", "U+0600-06FF"),
}


@contextlib.contextmanager
def font_file(name: str) -> Iterator[Path | None]:
    """The file of Noto Sans NAME; None without the package, which is then said."""
    try:
        font = files(PACKAGE) / f"NotoSans{name}[wght].ttf"
    except ImportError as error:
        print(f"{name} is drawn with whatever font there is: {error}", file=sys.stderr)
        yield None
        return
    with as_file(font) as path:
        yield path


def use_fonts(languages) -> None:
    """Makes matplotlib draw these languages, beside Latin: it falls back from font to font."""
    import matplotlib
    from matplotlib import font_manager

    for name in dict.fromkeys(FONTS[code][0] for code in languages if code in FONTS):
        with font_file(name) as path:
            if path is None:
                warnings.filterwarnings("ignore", "Glyph .* missing from font")
                return
            font_manager.fontManager.addfont(path)
            family = font_manager.FontProperties(fname=path).get_name()
        used = matplotlib.rcParams["font.family"]
        if family not in used:
            matplotlib.rcParams["font.family"] = ["DejaVu Sans", *used[1:], family]
