"""CPU only: which layers are computed faster than by XLA's convolution, and how.

B = batch, H, W = pixels, C = channels. Times are those of 2 cores, float32; benchmarks/NOTES.md has
more of them.
"""

from functools import partial, reduce

import jax.numpy as jnp
from jax import lax

from fer_jax import winograd
from train_jax import bfloat16, cpu

MIN_TILES = 256


def choose(x, kernel, padding, by_xla):
    """Two functions of (x, kernel): for a forward pass, and for where that is differentiated.

    x [B, H, W, C_in] and kernel [h, w, C_in, C_out], of a convolution without strides, both float32
    or both bfloat16. In bfloat16 `by_xla`, XLA's own convolution, takes 1.0 to 1.5 of its time in
    float32, which is what is computed then but for the products of Winograd's algorithm.
    """
    half = x.dtype == jnp.bfloat16
    forward = training = by_xla
    if isinstance(padding, str) and x.shape[-1] == 1:
        forward = partial(shifted_sum, padding=padding)
    elif winograd_fits(x, kernel, padding):
        product = bfloat16.dot if half else jnp.matmul
        fast = partial(winograd.conv3x3, padding=padding, product=product)
        forward = fast if winograd_pays(x, kernel, half=half, training=False) else by_xla
        training = fast if winograd_pays(x, kernel, half=half, training=True) else by_xla
    return (in_float32(forward), in_float32(training)) if half else (forward, training)


def in_float32(convolution):
    """`convolution` of float32 for arrays of bfloat16."""

    def convert(x, kernel):
        y = convolution(x.astype(jnp.float32), kernel.astype(jnp.float32))
        return y.astype(jnp.bfloat16)

    return convert


def winograd_fits(x, kernel, padding) -> bool:
    b, h, w, _ = x.shape
    return (
        (kernel.shape[:2], h % 2, w % 2) == ((3, 3), 0, 0)
        and padding in ("SAME", "VALID")
        and isinstance(b, int)  # a program may be exported for any number of images
        and b * (h // 2) * (w // 2) >= MIN_TILES
    )


def winograd_pays(x, kernel, *, half, training) -> bool:
    """Whether `winograd.conv3x3` is faster than XLA's convolution in float32.

    Its time as a share of that of XLA's, 64 images (of 24x24 with 128 channels 32), forward and
    then forward with both gradients:

    | layer | float32 | the same with AVX-512 | bfloat16 with AMX |
    |---|---|---|---|
    | 6x6, 256 channels | 0.67; 0.72 | 0.79; 0.73 | 0.35; 0.43 |
    | 12x12, 128 | 0.73; 0.93 | 0.93; 0.92 | 0.47; 0.47 |
    | 12x12, 64 to 128 | | 0.93; 0.94 | 0.68; 0.43 |
    | 24x24, 128 to 256 | | 0.90; 0.74 | 0.41; 0.43 |
    | 24x24, 64 | 1.04; 1.3 | 1.22; 1.26 | 0.83; 0.81 |
    | 24x24, 32 to 64 | | 1.27; 1.28 | 1.09; 1.04 |

    8 images take 0.8 to 1.2 at 6x6, since the kernel is turned all the same: hence MIN_TILES. A
    step of fer_best gains nothing from 12x12 in float32 on either machine, where compiling takes
    3 s and 0.12 GB more.
    """
    side, (inputs, outputs) = max(x.shape[1:3]), kernel.shape[2:]
    if half and cpu.has("amx_bf16"):
        return side <= 24 and inputs >= 64
    if training:
        return side <= (24 if cpu.has("avx512f") else 6) and inputs * outputs >= 128 * 256
    return side <= (24 if cpu.has("avx512f") else 12) and inputs >= 128


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
