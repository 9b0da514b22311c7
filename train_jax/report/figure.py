"""Figures by matplotlib, whose import takes half a second that only the first figure waits for."""

from pathlib import Path


def new_figure(width: float, height: float):
    """An empty matplotlib.figure.Figure of so many inches, without a window or pyplot's state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def tick_whole_numbers(axis):
    """Puts ticks on whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def save_figure(figure, path: Path):
    """Writes a PNG, and the folder it goes into."""
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
