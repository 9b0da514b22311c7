"""augment.py: the geometry against scipy.ndimage, the draws against their distributions."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from PIL import Image

from configs import fer_base
from fer_jax import augment

KEY_TYPES = ["threefry2x32", "rbg"]
# Of the base config, where a new one is off.
OFF = {
    name: value
    for name, value in fer_base.get_config().augment.items()
    if name in inspect.signature(augment.augment).parameters
} | {"flip": 0, "zoom": 0, "crop": 24, "cutout_probability": 0}
ON = OFF | {
    "flip": 0.5,
    "rotation": 20,
    "zoom": 0.3,
    "shift": 0.15,
    "affine_probability": 0.9,
    "crop": 14,
    "brightness": 0.5,
    "contrast": 0.3,
    "cutout": 6,
    "cutout_probability": 0.5,
}
# Positions up to about 50 pixels in float32 are off by up to 50 * 2**-23 = 6e-6 an operation;
# between neighbours the picture changes by at most 8 (its range), so 3 roundings give 1.5e-4.
TOLERANCE = 1.5e-4
# One shape wherever the shape does not matter: compiling is what takes time here.
SHAPE = (16, 24, 24, 1)


def make_images(*shape, seed=0):
    """Uniform in [-3, 5): no symmetry, values of both signs, not within [0, 1]."""
    return np.random.default_rng(seed).uniform(-3, 5, shape).astype(np.float32)


def scipy_warp(image, matrix):
    """float64 reference for one f32[H, W, C] image and one [2, 3] matrix."""
    matrix = np.asarray(matrix, np.float64)
    channels = [
        scipy.ndimage.affine_transform(
            image[..., c].astype(np.float64), matrix[:, :2], matrix[:, 2], order=1, mode="nearest"
        )
        for c in range(image.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def keras_affine(image, theta, tx, ty, zx, zy):
    """Written after keras.src.legacy.preprocessing.image.apply_affine_transform (3.15)."""
    theta = np.deg2rad(theta)
    rotation = [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    shift = [[1, 0, tx], [0, 1, ty], [0, 0, 1]]
    zoom = [[zx, 0, 0], [0, zy, 0], [0, 0, 1]]
    matrix = np.array(rotation) @ np.array(shift) @ np.array(zoom)
    o_x, o_y = image.shape[0] / 2 - 0.5, image.shape[1] / 2 - 0.5
    offset = np.array([[1, 0, o_x], [0, 1, o_y], [0, 0, 1]])
    reset = np.array([[1, 0, -o_x], [0, 1, -o_y], [0, 0, 1]])
    matrix = offset @ matrix @ reset
    matrix[:, [0, 1]] = matrix[:, [1, 0]]
    matrix[[0, 1]] = matrix[[1, 0]]
    return scipy_warp(image, matrix[:2])


def drawn_parameters(matrices, height, width):
    """(angle in degrees, row scale, column scale, row shift, column shift), each f64[n]."""
    m = np.asarray(matrices, np.float64)
    angle = np.arctan2(m[:, 1, 0], m[:, 0, 0])
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    moved = m[:, :, :2] @ centre + m[:, :, 2] - centre  # the rotated shift
    rows = np.cos(angle) * moved[:, 0] + np.sin(angle) * moved[:, 1]
    columns = -np.sin(angle) * moved[:, 0] + np.cos(angle) * moved[:, 1]
    scale = np.linalg.norm(m[:, :, :2], axis=1)
    return np.rad2deg(angle), scale[:, 0], scale[:, 1], rows, columns


@pytest.mark.equivalence("augment.affine_warp", "scipy.ndimage.affine_transform", "1.5e-4")
def test_warp_equals_scipy():
    height, width, turn = 17, 29, np.deg2rad(33)
    matrices = np.array(
        [
            [[1, 0, 0], [0, 1, 0]],
            [[1, 0, 2.25], [0, 1, -3.5]],
            [[0.7, 0, 1], [0, 1.4, -4]],
            [[np.cos(turn), -np.sin(turn), 5], [np.sin(turn), np.cos(turn), -2]],
            [[0, 1, 0], [1, 0, 0]],  # transposition
            [[-1, 0, 16], [0, -1, 28]],  # half a turn
            [[1, 0, 100], [0, 1, -100]],  # all outside: one corner pixel
            *np.random.default_rng(1).normal(0, [0.8, 0.8, 9], (8, 2, 3)),
        ],
        np.float32,
    )
    images = make_images(len(matrices), height, width, 2)
    ours = augment.affine_warp(jnp.asarray(images), jnp.asarray(matrices))
    expected = [scipy_warp(i, m) for i, m in zip(images, matrices, strict=True)]
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_array_equal(ours[0], images[0])


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_warp_of_one_row_or_column(shape):
    image = make_images(*shape, 1)
    matrix = np.array([[0.8, 0.1, 0.3], [-0.2, 1.1, 0.4]], np.float32)
    ours = augment.affine_warp(jnp.asarray(image[None]), jnp.asarray(matrix[None]))[0]
    np.testing.assert_allclose(ours, scipy_warp(image, matrix), atol=TOLERANCE, rtol=0)


@pytest.mark.equivalence("augment.random_affine", "Keras 3.15 apply_affine_transform", "1.5e-4")
@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize(
    ("rotation", "zoom", "shift"), [(0, 0.3, 0), (25, 0, 0), (0, 0, 0.2), (25, 0.3, 0.2)]
)
def test_random_affine_equals_keras(key_type, rotation, zoom, shift):
    key = jax.random.key(3, impl=key_type)
    images, (n, size, _, _) = make_images(*SHAPE), SHAPE
    magnitudes = {"rotation": rotation, "zoom": zoom, "shift": shift}
    ours = augment.random_affine(key, jnp.asarray(images), **magnitudes)
    matrices = augment.affine_matrices(key, n, size, size, **magnitudes)
    drawn = np.stack(drawn_parameters(matrices, size, size), axis=-1)
    for image, result, (angle, rows, columns, down, right) in zip(images, ours, drawn, strict=True):
        # Keras swaps the axes at the end: its x is our column, and its angle turns the other way.
        expected = keras_affine(image, theta=-angle, tx=right, ty=down, zx=columns, zy=rows)
        np.testing.assert_allclose(result, expected, atol=TOLERANCE, rtol=0)
    if rotation == 0:
        assert np.abs(drawn[:, 0]).max() == 0


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_draws_are_uniform_in_their_ranges_and_independent(key_type):
    n, height, width = 4000, 20, 50
    matrices = augment.affine_matrices(
        jax.random.key(0, impl=key_type), n, height, width, rotation=30, zoom=0.3, shift=0.1
    )
    drawn = drawn_parameters(matrices, height, width)
    limits = [(0, 30), (1, 0.3), (1, 0.3), (0, 0.1 * height), (0, 0.1 * width)]
    for values, (middle, limit) in zip(drawn, limits, strict=True):
        assert np.abs(values - middle).max() <= limit * 1.0001  # float32 rounding
        uniform = scipy.stats.uniform(middle - limit, 2 * limit)
        assert scipy.stats.kstest(values, uniform.cdf).pvalue > 1e-3  # fixed keys: no flake
    correlation = np.corrcoef(np.stack(drawn)) - np.eye(5)
    assert np.abs(correlation).max() < 4 / np.sqrt(n)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_each_operation_has_its_own_chance(key_type):
    n, size, p = 4000, 20, 0.3
    key, magnitudes = jax.random.key(1, impl=key_type), {"rotation": 30, "zoom": 0.3, "shift": 0.1}
    always = augment.affine_matrices(key, n, size, size, **magnitudes)
    matrices = augment.affine_matrices(key, n, size, size, **magnitudes, probability=p)
    drawn = np.stack(drawn_parameters(matrices, size, size))
    neutral = np.array([[0], [1], [1], [0], [0]])
    done = np.abs(drawn - neutral) > 1e-4  # float32; all but 1 in 300 of the draws are larger
    assert (done[1] == done[2]).mean() > 0.99 and (done[3] == done[4]).mean() > 0.99
    operations = done[[0, 1, 3]]
    assert np.abs(operations.mean(1) - p).max() < 4 * np.sqrt(p * (1 - p) / n)
    assert np.abs(np.corrcoef(operations) - np.eye(3)).max() < 4 / np.sqrt(n)
    # what is done is what would always have been done
    expected = np.stack(drawn_parameters(always, size, size))
    np.testing.assert_allclose(drawn, np.where(done, expected, neutral), atol=1e-3)


@pytest.mark.equivalence("augment.shrink", "Pillow's bilinear resize", "5e-5")
@pytest.mark.parametrize("size", [24, 36, 40])
def test_shrink_equals_pillow(size):
    images = make_images(3, 48, 48, 2)
    ours = augment.shrink(jnp.asarray(images), size=size)
    for image, result in zip(images, ours, strict=True):
        for channel in range(2):
            picture = Image.fromarray(image[..., channel]).resize((size, size), Image.BILINEAR)
            np.testing.assert_allclose(result[..., channel], picture, atol=5e-5)


def test_zoom_above_one_shrinks_the_picture():
    images = np.zeros(SHAPE, np.float32)
    images[:, 6:18, 6:18] = 1
    key, (n, size, _, _) = jax.random.key(0), SHAPE
    magnitudes = {"rotation": 0, "zoom": 0.4, "shift": 0}
    matrices = augment.affine_matrices(key, n, size, size, **magnitudes)
    _, rows, columns, _, _ = drawn_parameters(matrices, size, size)
    areas = augment.random_affine(key, jnp.asarray(images), **magnitudes).sum((1, 2, 3))
    # Each side of 12 becomes 12 / scale; sampling the edge can cost one pixel per side.
    assert ((12 / rows - 1) * (12 / columns - 1) < areas).all()
    assert ((12 / rows + 1) * (12 / columns + 1) > areas).all()
    assert rows.max() > 1.3 and rows.min() < 0.7


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("probability", [0.5, 0.2, 1.0])
def test_flip(key_type, probability):
    images = make_images(2000, 3, 4, 2)
    key = jax.random.key(5, impl=key_type)
    ours = np.asarray(augment.random_flip(key, jnp.asarray(images), probability=probability))
    flipped = np.array([np.array_equal(o, i[:, ::-1]) for o, i in zip(ours, images, strict=True)])
    np.testing.assert_array_equal(ours[~flipped], images[~flipped])
    assert abs(flipped.mean() - probability) <= 4 * np.sqrt(probability * (1 - probability) / 2000)


def test_nothing_changes_when_all_are_off():
    images, key = jnp.asarray(make_images(4, 24, 24, 1)), jax.random.key(0)
    targets = jnp.eye(4, dtype=jnp.float32)
    assert augment.augment(key, images, **OFF) is images
    never = {"rotation": 20, "zoom": 0.3, "shift": 0.15, "affine_probability": 0}
    assert augment.augment(key, images, **OFF | never) is images
    assert augment.shrink(images, size=24) is images
    assert augment.random_cutout(key, images, size=4, probability=0) is images
    mixed = augment.mixup(key, images, targets, alpha=0)
    assert mixed[0] is images and mixed[1] is targets


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize(
    "part", ["flip", "rotation", "zoom", "shift", "brightness", "contrast", "crop", "cutout"]
)
def test_every_part_depends_on_the_key_and_on_the_image(key_type, part):
    settings = OFF | {part: ON[part], "cutout_probability": 0.9}
    one = make_images(1, *SHAPE[1:])
    images = jnp.asarray(np.repeat(one, SHAPE[0], axis=0))
    keys = [jax.random.key(seed, impl=key_type) for seed in (0, 0, 1)]
    first, again, other = (np.asarray(augment.augment(key, images, **settings)) for key in keys)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    different = len({image.tobytes() for image in first})
    assert different == 2 if part == "flip" else different >= 12


def test_every_part_has_its_own_key_and_its_own_settings(monkeypatch):
    # With a shared key the square would lie where the angle and the zoom say.
    keys, settings = [], []

    def spy(key, images, **given):
        keys.append(key)
        settings.append(given)
        return images

    names = ("random_flip", "random_affine", "random_light", "random_crop", "random_cutout")
    for name in names:
        monkeypatch.setattr(augment, name, spy)
    key = jax.random.key(0)
    given = ON | {"flip": 0.25}
    augment.augment(key, jnp.zeros(SHAPE, jnp.float32), **given)
    assert len(keys) == 5 and len({jax.random.key_data(k).tobytes() for k in [key, *keys]}) == 6
    assert settings == [
        {"probability": 0.25},
        {name: given[name] for name in ("rotation", "zoom", "shift")} | {"probability": 0.9},
        {"brightness": 0.5, "contrast": 0.3},
        {"size": given["crop"]},
        {"size": given["cutout"], "probability": given["cutout_probability"]},
    ]


def test_a_part_that_is_off_leaves_the_draws_of_the_others():
    images, key = jnp.asarray(make_images(*SHAPE)), jax.random.key(2)
    with_cutout = augment.augment(key, images, **ON)
    without = augment.augment(key, images, **(ON | {"cutout": 0}))
    changed = np.asarray(with_cutout != without).sum((1, 2, 3))
    assert changed.max() <= ON["cutout"] ** 2 and 0 < (changed > 0).sum() < 16


def test_jit_equals_eager_and_the_gradient_is_that_of_a_linear_map():
    images, key = jnp.asarray(make_images(*SHAPE)), jax.random.key(2, impl="rbg")
    weights = jnp.asarray(make_images(*SHAPE, seed=9))

    def run(key, images):
        return augment.augment(key, images, **ON | {"brightness": 0})

    weights = weights[:, :14, :14]
    eager = run(key, images)
    assert eager.dtype == jnp.float32 and eager.shape == (16, 14, 14, 1)
    # Fused multiply-adds move the positions by a rounding: see TOLERANCE.
    np.testing.assert_allclose(jax.jit(run)(key, images), eager, atol=TOLERANCE, rtol=0)
    inner = jax.jit(jax.value_and_grad(lambda x: (run(key, x) * weights).sum()))
    value, gradient = inner(images)
    # Every part is linear in the images: value = <gradient, images>. 3,136 terms of up to 25.
    np.testing.assert_allclose((gradient * images).sum(), value, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_crops_lie_everywhere_alike(key_type):
    n, height, width, size = 3000, 6, 7, 4
    images = np.arange(n * height * width * 2, dtype=np.float32).reshape(n, height, width, 2)
    key = jax.random.key(4, impl=key_type)
    ours = np.asarray(augment.random_crop(key, jnp.asarray(images), size=size))
    counts = np.zeros((height - size + 1, width - size + 1), int)
    for image, crop in zip(images, ours, strict=True):
        row, column = np.argwhere(image[..., 0] == crop[0, 0, 0])[0]
        np.testing.assert_array_equal(crop, image[row : row + size, column : column + size])
        counts[row, column] += 1
    assert scipy.stats.chisquare(counts.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("size", [5, 6])
def test_cutout_hides_one_square_with_the_mean(size):
    n, height, width = 1500, 16, 20
    images = make_images(n, height, width, 2)
    ours = augment.random_cutout(jax.random.key(0), jnp.asarray(images), size=size, probability=0.8)
    ours, hidden = np.asarray(ours), np.asarray(ours) != images
    np.testing.assert_array_equal(hidden[..., 0], hidden[..., 1])
    rows, columns = hidden.any((2, 3)), hidden.any((1, 3))
    np.testing.assert_array_equal(hidden[..., 0], rows[:, :, None] & columns[:, None, :])
    # The mean of 320 values up to 5, in float32.
    mean = np.broadcast_to(images.mean((1, 2), keepdims=True, dtype=np.float64), images.shape)
    np.testing.assert_allclose(ours[hidden], mean[hidden], atol=2e-5)

    chosen = rows.any(1)
    assert abs(chosen.mean() - 0.8) < 4 * np.sqrt(0.16 / n)
    for axis, length in ((rows[chosen], height), (columns[chosen], width)):
        side = axis.sum(1)
        first, last = axis.argmax(1), length - 1 - axis[:, ::-1].argmax(1)
        np.testing.assert_array_equal(last - first + 1, side)  # no holes
        clipped = (first == 0) | (last == length - 1)
        assert (side[~clipped] == size).all()
        # With the centre in the picture at least the half from it to the near border remains.
        assert side.max() == size and side.min() == (size + 1) // 2
        whole = (length - size + 1) / length  # centres that leave the side whole
        assert abs((side == size).mean() - whole) < 4 * np.sqrt(whole * (1 - whole) / len(side))
        # Uniform over all pixels: where the end is not clipped, it gives the centre.
        counts = np.bincount(last[last < length - 1], minlength=length - 1)[(size - 1) // 2 :]
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_cutout_larger_than_the_picture():
    images = make_images(3, 4, 5, 1)
    ours = augment.random_cutout(jax.random.key(0), jnp.asarray(images), size=12, probability=1)
    expected = np.broadcast_to(images.mean((1, 2, 3), keepdims=True), images.shape)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_mixup_mixes_images_and_labels_alike(key_type):
    # Image i is the i-th unit vector, and so is its label: what comes out shows who was mixed.
    n = 12
    targets = jnp.eye(n, dtype=jnp.float32)
    images = targets.reshape(n, 3, 4, 1)
    run = jax.jit(lambda key: augment.mixup(key, images, targets, alpha=0.4))
    mixed, labels = run(jax.random.key(0, impl=key_type))
    np.testing.assert_array_equal(mixed.reshape(n, n), labels)
    labels = np.asarray(labels)
    assert (labels >= 0).all()
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    mix = labels.diagonal().min()  # an image that meets itself has 1
    rest = labels - mix * np.eye(n)
    partner = rest.argmax(1)
    assert sorted(partner) == list(range(n)) and (partner != np.arange(n)).sum() >= n // 2
    expected = mix * np.eye(n) + (1 - mix) * np.eye(n)[partner]
    np.testing.assert_allclose(labels, expected, atol=1e-6)
    assert 0 < mix < 1


def test_mixup_of_a_share_of_the_batches():
    targets = jnp.eye(6, dtype=jnp.float32)
    images = targets.reshape(6, 2, 3, 1)
    always, sometimes = (
        jax.jit(lambda key, p=p: augment.mixup(key, images, targets, alpha=5.0, probability=p))
        for p in (1, 0.25)
    )
    mixed = 0
    for key in jax.random.split(jax.random.key(3), 400):
        (x, y), y_always = sometimes(key), always(key)[1]
        np.testing.assert_array_equal(x.reshape(6, 6), y)
        if np.array_equal(y, targets):
            continue
        np.testing.assert_array_equal(y, y_always)
        mixed += 1
    assert abs(mixed / 400 - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)
    with pytest.raises(ValueError, match="mixup_probability must be .* got 2"):
        augment.mixup(jax.random.key(0), images, targets, alpha=1.0, probability=2)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_light(key_type):
    images, key = make_images(3000, 3, 4, 1), jax.random.key(6, impl=key_type)
    ours = np.asarray(augment.random_light(key, jnp.asarray(images), brightness=0.5, contrast=0.3))
    means, before = ours.mean((1, 2, 3)), images.mean((1, 2, 3))
    scale = ours.std((1, 2, 3)) / images.std((1, 2, 3))
    for values, middle, limit in ((means - before, 0, 0.5), (scale, 1, 0.3)):
        assert np.abs(values - middle).max() <= limit * 1.0001
        uniform = scipy.stats.uniform(middle - limit, 2 * limit)
        assert scipy.stats.kstest(values, uniform.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(means - before, scale)[0, 1]) < 4 / np.sqrt(3000)
    expected = (images - before[:, None, None, None]) * scale[:, None, None, None]
    np.testing.assert_allclose(ours, expected + means[:, None, None, None], atol=1e-4)


def test_alternating_flip_shows_both_views_in_two_epochs():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 5, 7), dtype=np.uint8)
    even, odd = (
        np.asarray(augment.alternating_flip(jnp.asarray(images), odd=odd)) for odd in (False, True)
    )
    np.testing.assert_array_equal(odd, even[:, :, ::-1])
    flipped = (even != images).any((1, 2))
    np.testing.assert_array_equal(even[~flipped], images[~flipped])
    np.testing.assert_array_equal(even[flipped], images[flipped][:, :, ::-1])
    assert 70 < flipped.sum() < 130


def test_mixup_draws_lambda_from_beta():
    targets = jnp.eye(6, dtype=jnp.float32)
    images = targets.reshape(6, 2, 3, 1)
    run = jax.jit(lambda key: augment.mixup(key, images, targets, alpha=0.4)[1])
    labels = np.stack([run(key) for key in jax.random.split(jax.random.key(1), 400)])
    mix = labels.diagonal(axis1=1, axis2=2).min(1)
    mix = mix[mix < 1]  # 1 in 720 permutations moves nothing, which hides lambda
    assert len(mix) > 380
    assert scipy.stats.kstest(mix, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_smooth_labels():
    targets = jnp.eye(7, dtype=jnp.float32)[jnp.array([2, 0, 6])]
    ours = augment.smooth_labels(targets, smoothing=0.1)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(ours[0, 2], 0.9 + 0.1 / 7, rtol=1e-6)
    np.testing.assert_allclose(ours[0, 3], 0.1 / 7, rtol=1e-6)
    np.testing.assert_array_equal(augment.smooth_labels(targets, smoothing=0), targets)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("flip", 1.5, "flip must be in .* got 1.5"),
        ("flip", float("nan"), "flip must be in .* got nan"),
        ("rotation", -3, "rotation must be in .* got -3"),
        ("rotation", 200, "rotation must be in .* got 200"),
        ("zoom", 1, "zoom must be in .* got 1"),
        ("shift", -0.1, "shift must be in .* got -0.1"),
        ("affine_probability", 1.5, "affine_probability must be in .* got 1.5"),
        ("brightness", -1, "brightness must be .* got -1"),
        ("contrast", 1.0, "contrast must be .* got 1.0"),
        ("crop", 0, "crop must be from 1 to 8 pixels, got 0"),
        ("crop", 9, "crop must be .* got 9"),
        ("cutout", -4, "cutout must be .* got -4"),
        ("cutout", 2.5, "cutout must be .* got 2.5"),
        ("cutout_probability", 2, "probability must be in .* got 2"),
    ],
)
def test_errors_print_the_value(setting, value, message):
    images = jnp.zeros((2, 8, 8, 1), jnp.float32)
    with pytest.raises(ValueError, match=message):
        augment.augment(jax.random.key(0), images, **(OFF | {"crop": 8} | {setting: value}))


def test_errors_of_the_other_parts():
    key, images = jax.random.key(0), jnp.zeros((2, 8, 8, 1), jnp.float32)
    targets = jnp.eye(2, dtype=jnp.float32)
    with pytest.raises(ValueError, match="alpha must be .* got -1"):
        augment.mixup(key, images, targets, alpha=-1)
    with pytest.raises(ValueError, match="smoothing must be .* got 1"):
        augment.smooth_labels(targets, smoothing=1)
    with pytest.raises(ValueError, match=r"images must be .* got float32\(8, 8, 1\)"):
        augment.random_flip(key, images[0])
    with pytest.raises(ValueError, match="images must be .* got uint8"):
        augment.random_flip(key, images.astype(jnp.uint8))
    with pytest.raises(ValueError, match=r"matrices must .* got \(3, 2, 3\)"):
        augment.affine_warp(images, jnp.zeros((3, 2, 3), jnp.float32))
