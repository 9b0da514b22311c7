"""The AUC map against its definition: every pair of images compared, one by one."""

import numpy as np
import pytest
from PIL import Image

from fer_jax.explore import auc as auc_lib


def area_by_pairs(first, second):
    """Share of pairs in which the second has the larger value, a tie counting half."""
    pairs = [(a, b) for a in first.tolist() for b in second.tolist()]
    return sum(1.0 if b > a else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("values", [3, 40, 256])  # 3: nearly every pair is a tie
def test_auc_is_the_share_of_pairs(values):
    rng = np.random.default_rng(values)
    first = rng.integers(0, values, (23, 5)).astype(np.uint8)
    second = rng.integers(0, values, (31, 5)).astype(np.uint8)
    areas = auc_lib.auc(auc_lib.histograms(first), auc_lib.histograms(second))
    expected = [area_by_pairs(first[:, p], second[:, p]) for p in range(5)]
    np.testing.assert_allclose(areas, expected, rtol=1e-12)


def test_the_second_class_is_the_brighter_one_above_a_half():
    dark, bright = np.full((4, 1, 1), 10, np.uint8), np.full((6, 1, 1), 255, np.uint8)
    assert auc_lib.auc_map(dark, bright, resamples=0, seed=0).auc == 1
    assert auc_lib.auc_map(bright, dark, resamples=0, seed=0).auc == 0
    assert auc_lib.auc_map(dark, dark, resamples=0, seed=0).auc == 0.5


def test_rows_and_columns_keep_their_places():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 256, (2, 15, 3, 3)).astype(np.uint8)
    second[:, 0, 2] = 255  # top right is always brighter
    first[:, 0, 2] = 0
    areas = auc_lib.auc_map(first, second, resamples=0, seed=0).auc
    assert areas[0, 2] == 1
    assert (areas.ravel() == 1).sum() == 1


def test_the_interval_is_the_one_of_images_drawn_again():
    """Against a bootstrap that draws images, not histograms; both have Monte-Carlo error."""
    rng = np.random.default_rng(2)
    first = rng.integers(0, 12, (60, 1, 1)).astype(np.uint8)
    second = rng.integers(3, 15, (40, 1, 1)).astype(np.uint8)
    result = auc_lib.auc_map(first, second, resamples=4000, seed=0)

    def drawn(images):
        return images[rng.integers(0, len(images), len(images))].reshape(-1, 1)

    areas = [
        auc_lib.auc(auc_lib.histograms(drawn(first)), auc_lib.histograms(drawn(second)))[0]
        for _ in range(4000)
    ]
    low, high = np.quantile(areas, (0.025, 0.975))
    # the standard error of such a quantile is 0.0016 here: four of them
    assert abs(result.low[0, 0] - low) < 0.007 and abs(result.high[0, 0] - high) < 0.007
    assert result.high[0, 0] - result.low[0, 0] > 0.05


def test_no_resamples_no_interval_and_a_seed_repeats():
    first, second = np.random.default_rng(3).integers(0, 256, (2, 9, 2, 2)).astype(np.uint8)
    assert np.isnan(auc_lib.auc_map(first, second, resamples=0, seed=0)[1:]).all()
    once, again = (auc_lib.auc_map(first, second, resamples=50, seed=7) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert (once.low <= once.auc).all() and (once.auc <= once.high).all()


@pytest.mark.parametrize("resampling", auc_lib.RESAMPLINGS)
def test_shrink_is_the_named_filter(resampling):
    images = np.random.default_rng(4).integers(0, 256, (2, 48, 48)).astype(np.uint8)
    small = auc_lib.shrink(images, grid=3, resampling=resampling)
    assert small.shape == (2, 3, 3) and small.dtype == np.uint8
    if resampling == "box":  # the mean of 16x16 pixels
        mean = images.reshape(2, 3, 16, 3, 16).mean((2, 4))
        assert np.abs(small - mean).max() < 1  # Pillow rounds after each axis
    elif resampling == "nearest":
        np.testing.assert_array_equal(small, images[:, 8::16, 8::16])
    else:
        filter = getattr(Image, resampling.upper())
        other = np.asarray(Image.fromarray(images[1]).resize((3, 3), filter))
        np.testing.assert_array_equal(small[1], other)
        assert not np.array_equal(small, auc_lib.shrink(images, grid=3, resampling="box"))


def test_a_grid_of_48_is_the_image():
    images = np.random.default_rng(5).integers(0, 256, (1, 48, 48)).astype(np.uint8)
    np.testing.assert_array_equal(auc_lib.shrink(images, grid=48, resampling="lanczos"), images)
