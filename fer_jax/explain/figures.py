"""Pictures of an Explanation and of filters, as PNG files."""

from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image

from train_jax.report.figure import new_figure, save_figure

FIRST = 16  # features of a layer that are shown
SIDE, CELL = 48, 51  # pixels of a map in the picture, without and with the gap


def draw_features(features: dict[str, np.ndarray], classes, path: Path, title: str) -> None:
    """A row for each layer with its first 16 features; layers without pixels as numbers.

    Each map has its own range from dark to bright; one that is the same everywhere is black.
    """
    board = np.full((len(features), FIRST, CELL, CELL), np.nan, np.float32)
    height, width = CELL * len(features) / 120, CELL * FIRST / 120  # about one dot per pixel
    figure = new_figure(1.6 + width, 0.6 + height)
    axes = figure.subplots()
    for row, maps in enumerate(features.values()):
        for column in range(min(FIRST, maps.shape[-1])):
            cell = board[row, column, :SIDE, :SIDE]
            if maps.ndim == 3:
                cell[:] = _stretch(maps[..., column])
                continue
            cell[:] = (maps[column] - maps.min()) / (np.ptp(maps) or 1)
            name = classes[column] + "\n" if len(maps) == len(classes) else ""
            axes.text(
                column * CELL + SIDE / 2, row * CELL + SIDE / 2, f"{name}{maps[column]:.2g}",
                ha="center", va="center", fontsize=6.5,
                color="black" if cell[0, 0] > 0.5 else "white",
            )  # fmt: skip
    board = rearrange(board, "row column h w -> (row h) (column w)")
    axes.imshow(board, cmap="magma", vmin=0, vmax=1, interpolation="none")
    labels = [f"{name}\n{_shape(maps)}" for name, maps in features.items()]
    axes.set_yticks([row * CELL + SIDE / 2 for row in range(len(labels))], labels, fontsize=7.5)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # inches: no letter at the edge
    save_figure(figure, path)


def _shape(maps: np.ndarray) -> str:
    """'12×12, 16 of 64': pixels, and how many features are shown."""
    pixels, count = "×".join(map(str, maps.shape[:-1])), maps.shape[-1]
    shown = f"{FIRST} of {count}" if count > FIRST else f"{count}"
    return f"{pixels}, {shown}" if pixels else shown


def _stretch(pixels: np.ndarray) -> np.ndarray:
    """f32[H, W] -> f32[48, 48], scaled to [0, 1]; 0 if all are equal. No pixel is mixed."""
    rows, columns = (np.arange(SIDE) * n // SIDE for n in pixels.shape)
    return ((pixels - pixels.min()) / (np.ptp(pixels) or 1))[rows][:, columns]


def draw_heat(explanation, classes, path: Path, title: str) -> None:
    """The face, Grad-CAM and occlusion over it, and the probabilities: four fields of one size.

    The maps are the more transparent the less they say, so that the face stays visible.
    """
    e = explanation
    figure = new_figure(13.5, 4.3)
    figure.set_layout_engine("none")  # which would make room for each field on its own
    places = {"left": 0.01, "right": 0.97, "bottom": 0.17, "top": 0.84, "wspace": 0.07}
    face, cam, occlusion, names, bars = figure.subplots(
        1, 5, width_ratios=(1, 1, 1, 0.22, 1), gridspec_kw=places
    )
    names.set_axis_off()  # the room of the names of the bars
    for axes in (face, cam, occlusion):
        axes.imshow(e.face, cmap="gray", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
    face.set_title("what the network sees")
    small = Image.fromarray(e.cam / (e.cam.max() or 1))
    heat = np.asarray(small.resize(e.face.shape, Image.Resampling.BICUBIC)).clip(0, 1)
    _lay_over(cam, heat, 0.65 * heat, "turbo", (0, 1), "share of the maximum")
    cam.set_title(f"Grad-CAM of {e.cam_layer} ({'×'.join(map(str, e.cam.shape))})")
    far = np.abs(e.occlusion).max() or 1
    alpha = 0.75 * np.abs(e.occlusion) / far
    label = f"drop of P({classes[e.label]})"
    _lay_over(occlusion, e.occlusion, alpha, "RdBu_r", (-far, far), label)
    occlusion.set_title("occlusion")
    colors = ["C0" if label == e.label else "lightgrey" for label in range(len(classes))]
    drawn = bars.barh(classes, e.probabilities, color=colors)
    bars.bar_label(drawn, fmt="{:.2f}", padding=3)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1.15), xticks=[], box_aspect=1)
    bars.set_title("probability")
    bars.spines[["top", "right", "bottom"]].set_visible(False)
    figure.suptitle(title)
    save_figure(figure, path)


def _lay_over(axes, values, alpha, colors, ends, label):
    """`values` over a picture, as opaque as `alpha` says, and what their colours mean below it."""
    from matplotlib.ticker import MaxNLocator  # here, as in figure.py

    picture = axes.imshow(values, cmap=colors, vmin=ends[0], vmax=ends[1])
    place = axes.inset_axes([0, -0.09, 1, 0.05])  # takes no room from the picture
    axes.figure.colorbar(
        picture, cax=place, orientation="horizontal", label=label, ticks=MaxNLocator(4)
    )
    picture.set_alpha(alpha)


def draw_filters(kernel: np.ndarray, path: Path, title: str) -> None:
    """The filters f32[h, w, 1, C] of the first layer: red is negative, white 0, blue positive."""
    count = kernel.shape[-1]
    columns = min(count, FIRST)
    rows = -(-count // columns)
    figure = new_figure(0.4 + 0.62 * columns, 0.7 + 0.62 * rows)
    far = np.abs(kernel).max()
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if number < count:
            axes.imshow(kernel[:, :, 0, number], cmap="RdBu", vmin=-far, vmax=far)
    figure.suptitle(f"{title}: red -{far:.2f}, white 0, blue {far:.2f}", fontsize=10)
    save_figure(figure, path)
