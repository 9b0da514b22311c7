"""Pictures of a set of faces, as PNG files."""

from pathlib import Path

import numpy as np
from einops import rearrange

from train_jax.report.figure import new_figure, save_figure


def draw_counts(counts: dict[str, dict[str, int]], path: Path, title: str) -> None:
    """Bars of the images of each class, one colour per split."""
    figure = new_figure(9, 4.5)
    axes = figure.subplots()
    classes = list(next(iter(counts.values())))
    width = 0.8 / len(counts)
    for number, (name, row) in enumerate(counts.items()):
        places = np.arange(len(classes)) + (number - (len(counts) - 1) / 2) * width
        bars = axes.bar(places, row.values(), width, label=f"{name} ({sum(row.values()):,})")
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8)
    axes.set_xticks(range(len(classes)), classes)
    axes.set(ylabel="images", title=f"{title}: images of each class")
    figure.legend(loc="outside lower center", ncols=len(counts))
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def draw_samples(samples: list[np.ndarray], classes, path: Path, title: str) -> None:
    """A row of faces for each class; `samples` holds u8[n, 48, 48] for each."""
    columns = max(len(images) for images in samples)
    board = np.full((len(samples), columns, 50, 50), 255, np.uint8)
    for row, images in enumerate(samples):
        board[row, : len(images), :48, :48] = images
    board = rearrange(board, "row column h w -> (row h) (column w)")
    figure = new_figure(1 + 0.5 * columns, 0.4 + 0.5 * len(samples))
    axes = figure.subplots()
    axes.imshow(board, cmap="gray", vmin=0, vmax=255)
    axes.set_yticks([row * 50 + 24 for row in range(len(samples))], classes)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    save_figure(figure, path)


def draw_pairs(above, below, correlations, path: Path, names) -> None:
    """Near twins: u8[n, 48, 48] above, u8[n, 48, 48] below, their correlations f32[n] over them.

    `names` are those of the split below and of the one above.
    """
    figure = new_figure(1 + 0.8 * len(above), 2.4)
    panels = figure.subplots(2, len(above), squeeze=False)
    for column, r in enumerate(correlations):
        for row, images in enumerate((above, below)):
            panels[row, column].imshow(images[column], cmap="gray", vmin=0, vmax=255)
            panels[row, column].set_xticks([])
            panels[row, column].set_yticks([])
        panels[0, column].set_title(f"{r:.2f}", fontsize=8)
    panels[0, 0].set_ylabel(names[1])
    panels[1, 0].set_ylabel(names[0])
    figure.suptitle("near twins, with the correlation of their pixels")
    save_figure(figure, path)


def draw_auc(result, classes, path: Path, title: str) -> None:
    """The map in red (brighter in the first class), white (0.5) and blue (in the second)."""
    grid = len(result.auc)
    figure = new_figure(7, 5.8)
    axes = figure.subplots()
    far = max(np.abs(result.auc - 0.5).max(), 0.01)
    picture = axes.imshow(result.auc, cmap="RdBu", vmin=0.5 - far, vmax=0.5 + far)
    for row, column in np.ndindex(*result.auc.shape) if grid <= 8 else ():
        text = f"{result.auc[row, column]:.3f}"
        if grid <= 5 and not np.isnan(result.low[row, column]):
            text += f"\n[{result.low[row, column]:.3f}, {result.high[row, column]:.3f}]"
        dark = abs(result.auc[row, column] - 0.5) > 0.6 * far
        axes.text(column, row, text, ha="center", va="center", fontsize=9 if grid <= 5 else 7,
                  color="white" if dark else "black")  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10)
    bar = figure.colorbar(picture, label=f"AUC: chance that a pixel is brighter in {classes[1]}")
    bar.ax.text(0.5, 1.02, classes[1], transform=bar.ax.transAxes, ha="center", va="bottom")
    bar.ax.text(0.5, -0.02, classes[0], transform=bar.ax.transAxes, ha="center", va="top")
    save_figure(figure, path)


def draw_mean_faces(means: np.ndarray, classes, path: Path, title: str) -> None:
    """Above the mean of each class, below how it differs from the mean of the classes.

    `means` is f64[K, 48, 48] in grey values, nan for a class without images.
    """
    differences = means - np.nanmean(means, 0)
    far = np.nanmax(np.abs(differences)) or 1.0
    figure = new_figure(1.9 + 1.3 * len(means), 3.9)
    panels = figure.subplots(2, len(means))
    for label, name in enumerate(classes):
        panels[0, label].imshow(means[label], cmap="gray", vmin=0, vmax=255)
        picture = panels[1, label].imshow(differences[label], cmap="RdBu_r", vmin=-far, vmax=far)
        panels[0, label].set_title(name)
    for axes in panels.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    panels[0, 0].set_ylabel("mean face")
    panels[1, 0].set_ylabel("minus the mean\nof the classes")
    figure.colorbar(picture, ax=panels[1, :], label="grey values", shrink=0.9)
    figure.suptitle(title)
    save_figure(figure, path)
