"""How well one pixel of a shrunken face tells two expressions apart: the area under the ROC curve.

Letters: N images, G rows and columns of the grid, V = 256 grey values, R resamples.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

VALUES = 256
RESAMPLINGS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")  # of Pillow


class AucMap(NamedTuple):
    """The area for each pixel of the grid, with its 95 % interval."""

    auc: np.ndarray  # f64[G, G], chance that the pixel is brighter in the second class
    low: np.ndarray  # f64[G, G], nan without resamples
    high: np.ndarray  # f64[G, G]


def shrink(images, *, grid: int, resampling: str) -> np.ndarray:
    """u8[N, 48, 48] -> u8[N, G, G], with one of RESAMPLINGS.

    Pillow widens its filters by the factor of reduction, so that all but 'nearest' see every pixel.
    """
    filter = Image.Resampling[resampling.upper()]
    small = [np.asarray(Image.fromarray(image).resize((grid, grid), filter)) for image in images]
    return np.array(small, np.uint8).reshape(-1, grid, grid)


def auc_map(first, second, *, resamples: int, seed: int) -> AucMap:
    """Areas for the pixels of two classes, u8[N1, G, G] and u8[N2, G, G].

    The interval holds the middle 95 % of `resamples` bootstrap resamples (0: no interval), each
    class drawn again with replacement. Drawing N images again draws the histogram of a pixel from a
    multinomial distribution, so the histograms are drawn and the images are not.
    """
    grid = first.shape[1]
    counts = [histograms(images.reshape(len(images), -1)) for images in (first, second)]
    areas = auc(*counts)
    low, high = np.full((2, grid * grid), np.nan)
    rng = np.random.default_rng(seed)
    for pixel in range(grid * grid if resamples else 0):
        drawn = [
            rng.multinomial(c[pixel].sum(), c[pixel] / c[pixel].sum(), resamples) for c in counts
        ]
        low[pixel], high[pixel] = np.quantile(auc(*drawn), (0.025, 0.975))
    return AucMap(*(a.reshape(grid, grid) for a in (areas, low, high)))


def histograms(pixels) -> np.ndarray:
    """u8[N, P] -> i64[P, V]: how often each of P pixels has each grey value."""
    n_pixels = pixels.shape[1]
    places = pixels.astype(np.int64) + VALUES * np.arange(n_pixels)
    return np.bincount(places.ravel(), minlength=n_pixels * VALUES).reshape(n_pixels, VALUES)


def auc(first, second) -> np.ndarray:
    """f64[...], the area under the ROC curve from histograms i64[..., V] of two classes.

    Mann-Whitney: the share of all pairs (one of each class) in which the second class has the
    larger value; an equal pair counts half, as averaged ranks do. 0.5 says nothing, 0 as much as 1.
    """
    smaller = np.cumsum(first, -1) - first / 2
    return (second * smaller).sum(-1) / (first.sum(-1) * second.sum(-1))
