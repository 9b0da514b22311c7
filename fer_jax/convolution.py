"""The convolution of the nets: XLA's, but for the layer that reads a grey image, and on a CPU for
those that a Winograd convolution computes faster.

B = batch, H, W = pixels, C = channels.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from fer_jax import winograd


def conv2d(x, kernel, strides, padding, **settings):
    """What `nn.Conv(conv_general_dilated=conv2d)` computes: `lax.conv_general_dilated`.

    x [B, H, W, C_in] and kernel [h, w, C_in, C_out] make [B, H', W', C_out].
    """
    spread = {*strides, *settings["lhs_dilation"], *settings["rhs_dilation"]}
    if spread == {1} and isinstance(padding, str) and x.dtype == jnp.float32:
        if x.shape[-1] == 1:
            return only_forward(partial(shifted_sum, padding=padding), padding, x, kernel)
        if winograd.pays_in_training(x, kernel, padding):
            return winograd.conv3x3(x, kernel)
        if winograd.pays(x, kernel, padding):
            return only_forward(winograd.conv3x3, padding, x, kernel)
    return lax.conv_general_dilated(x, kernel, strides, padding, **settings)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def only_forward(fast, padding, x, kernel):
    """`fast(x, kernel)`, but where it is differentiated XLA's convolution, forward too."""
    return fast(x, kernel)


def shifted_sum(x, kernel, padding):
    """The convolution of x f32[B, H, W, 1] as a sum of shifted images, each times one row of the
    kernel.

    XLA makes one loop of it and of the pooling behind it, where its own convolution has too little
    to multiply: 1.3 ms in place of 7.9 for 64 images of 48x48, 32 channels and their pooling, 0.15
    in place of 0.32 for one (2 cores). Not where it is differentiated: XLA seems to compute the sum
    anew, rounded otherwise, where the gradient of max pooling compares with it, and a step on 8
    devices then differed from that on one by 1.6e-3, not 1e-4.
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


def by_xla(padding, x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=numbers)


def _forward(fast, padding, x, kernel):
    return jax.vjp(partial(by_xla, padding), x, kernel)


def _backward(fast, padding, backward, gradient):
    return backward(gradient)


only_forward.defvjp(_forward, _backward)
