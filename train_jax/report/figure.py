"""Figures by matplotlib, whose import takes half a second that only the first figure waits for."""

import contextlib
import io
import re
import warnings
from importlib.resources import as_file, files
from pathlib import Path

NOTO = "manimgx_fonts"  # a wheel of Noto fonts, OFL 1.1


def new_figure(width: float, height: float):
    """An empty matplotlib.figure.Figure of so many inches, without a window or pyplot's state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def use_letters(texts) -> None:
    """Makes figures draw the letters of `texts`, where some font on this machine has them: fonts
    are tried one after the other, DejaVu Sans first. Others become boxes, without a warning."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    def known(path):
        with contextlib.suppress(RuntimeError, OSError):  # of a font that is damaged
            return FT2Font(path).get_charmap().keys()
        return set()

    manager, names = font_manager.fontManager, ["DejaVu Sans"]
    missing = {ord(c) for c in "".join(texts) if c.isprintable()}
    missing -= known(manager.findfont("DejaVu Sans"))
    if not missing:
        return
    with contextlib.suppress(ImportError, FileNotFoundError), as_file(files(NOTO)) as folder:
        for path in sorted(folder.glob("*.ttf")):
            manager.addfont(path)
    for font in manager.ttflist:
        if missing and "Last Resort" not in font.name:  # which has boxes for all
            found = missing & known(font.fname)
            names, missing = [*names, font.name] if found else names, missing - found
    matplotlib.rcParams["font.family"] = names
    if missing:
        warnings.filterwarnings("ignore", "Glyph .* missing from font")


def tick_whole_numbers(axis):
    """Puts ticks on whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def explain_lines(axes, **settings):
    """A legend without a frame, whose white would shine on a dark page."""
    axes.legend(frameon=False, fontsize=8, **settings)


def save_figure(figure, path: Path):
    """Writes a PNG or an SVG, as the name says, and the folder it goes into."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".svg":
        path.write_text(svg(figure), encoding="utf-8")
    else:
        figure.savefig(path, dpi=120)


def svg(figure) -> str:
    """The figure as an <svg> element, as wide as it was made where there is room, so that letters
    have one size in all figures. They are outlines, and look the same everywhere. What is black
    takes the colour of the page's text, and the background that of the page."""
    import matplotlib

    buffer = io.StringIO()
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": "report", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"(stroke|fill): #000000", r"\1: currentColor", text)
    text = re.sub(r' (?:width|height)="[^"]*pt"', "", text, count=2)
    return text.replace("<svg", f'<svg style="width: {96 * figure.get_figwidth():.0f}px"', 1)
