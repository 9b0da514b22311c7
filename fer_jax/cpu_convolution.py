"""CPU only: which layers are computed faster than by XLA's convolution, and how.

B = batch, H, W = pixels, C = channels. Times are those of 2 cores, float32; benchmarks/NOTES.md has
more of them.
"""

from functools import partial, reduce

import jax.numpy as jnp
from jax import lax

from fer_jax import winograd

MAX_SIDE, MAX_SIDE_IN_TRAINING = 12, 6  # pixels
MIN_CHANNELS, MIN_TILES = 128, 256


def choose(x, kernel, padding):
    """(function of (x, kernel), or None for XLA's convolution; whether in training, too).

    x [B, H, W, C_in] and kernel [h, w, C_in, C_out], of a convolution without strides.
    """
    if x.dtype != jnp.float32 or not isinstance(padding, str):
        return None, False
    if x.shape[-1] == 1:
        return partial(shifted_sum, padding=padding), False
    if winograd_pays(x, kernel, padding):
        return winograd.conv3x3, max(x.shape[1:3]) <= MAX_SIDE_IN_TRAINING
    return None, False


def winograd_pays(x, kernel, padding) -> bool:
    """Whether `winograd.conv3x3` computes this layer, and faster than XLA's convolution.

    Without AVX-512 (64 images) it takes 0.67 of the time of XLA's at 6x6 with 256 channels and 0.73
    at 12x12 with 128, but 1.04 at 24x24 with 64, where it moves as much memory as it saves
    products, and 0.8 to 1.2 for 8 images, for which it turns the kernel all the same. Prediction of
    64 faces by fer_best takes 0.88. In training, up to 6x6 a step of fer_best takes 0.8; layers of
    12x12 gain nothing more there: their gradients take as long as XLA's, and compiling takes
    0.12 GB and 3 s more.
    """
    b, h, w, c = x.shape
    return (
        (kernel.shape[:2], padding, h % 2, w % 2) == ((3, 3), "SAME", 0, 0)
        and max(h, w) <= MAX_SIDE
        and c >= MIN_CHANNELS
        and isinstance(b, int)  # a program may be exported for any number of images
        and b * (h // 2) * (w // 2) >= MIN_TILES
    )


def shifted_sum(x, kernel, padding):
    """The convolution of x f32[B, H, W, 1] as a sum of shifted images, each times one row of the
    kernel.

    XLA makes one loop of it and of the pooling behind it, where its own convolution has too little
    to multiply: 1.3 ms in place of 7.9 for 64 images of 48x48, 32 channels and their pooling, 0.15
    in place of 0.32 for one. Not where it is differentiated: XLA seems to compute the sum again,
    rounded otherwise, where the gradient of max pooling compares with it, and a step on 8 devices
    then differed from that on one by 1.6e-3, not 1e-4.
    """
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (1, 1), padding)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = kernel.shape[:2]
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    terms = [
        x[:, i : i + height, j : j + width] * kernel[i : i + 1, j : j + 1]
        for i in range(rows)
        for j in range(columns)
    ]
    return reduce(jnp.add, terms)
