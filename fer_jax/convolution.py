"""The convolution of the nets: by oneDNN on one CPU, by XLA anywhere else, with equal values.

jaxlib holds oneDNN, whose convolutions PyTorch and TensorFlow call, and runs it for a custom call
of the right name; what it lacks is the compiler pass that would write that call. So it is written
here. With 2 cores a step of fer_best takes 124 ms in place of 147 and prediction 32 in place of 45
(batch 64, AVX-512); without AVX-512 a step of 32 takes 159 to 189 in place of 176 to 215, one of
64 the same as before, prediction 88 in place of 117 to 141 (benchmarks/NOTES.md).
B = batch, H, W = pixels, C = channels; arrays are f32.
"""

import functools
import json
import platform
import sys

import jax
import jax.numpy as jnp
import jaxlib
from jax import lax

TESTED = "0.10.2"  # of jaxlib. The call is its own affair: another one may understand it otherwise


def conv2d(x, kernel, strides, padding, **settings):
    """What `nn.Conv(conv_general_dilated=conv2d)` computes: `lax.conv_general_dilated`.

    x [B, H, W, C_in] and kernel [h, w, C_in, C_out] make [B, H', W', C_out]. A stride, a dilation,
    groups, another dtype or a padding without a name are XLA's.
    """
    steps = {*strides, *settings["lhs_dilation"], *settings["rhs_dilation"]}
    plain = steps | {settings["feature_group_count"]} == {1} and isinstance(padding, str)
    if not plain or x.dtype != jnp.float32 or not serves():
        return lax.conv_general_dilated(x, kernel, strides, padding, **settings)
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    return _conv2d(x, kernel, tuple(pads))


def serves() -> bool:
    """Whether this is that jaxlib, and one device: XLA cannot divide a custom call over many."""
    known = jaxlib.__version__ == TESTED and sys.platform == "linux"
    return known and platform.machine() == "x86_64" and jax.device_count() == 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d(x, kernel, pads):
    """pads: ((above, below), (left, right))."""
    return lax.platform_dependent(
        x, kernel, cpu=functools.partial(_onednn, pads), default=functools.partial(_xla, pads)
    )


def _forward(x, kernel, pads):
    return _conv2d(x, kernel, pads), (x, kernel)


def _backward(pads, saved, gradient):
    """The gradient of x by oneDNN too; that of the kernel by XLA, which is faster at it.

    The fences keep what is transposed out of the loops that made it: XLA transposes an array that
    lies in memory tile by tile, and three times slower what it computes on the way
    (`train_jax.step` has XLA heed them).
    """
    x, kernel = lax.optimization_barrier((saved[0], jnp.flip(saved[1], (0, 1))))
    h, w = kernel.shape[:2]
    around = tuple((n - 1 - low, n - 1 - high) for n, (low, high) in zip((h, w), pads, strict=True))
    to_x = _conv2d(gradient, kernel.swapaxes(2, 3), around)
    to_kernel = lax.conv_general_dilated(
        x, gradient, (1, 1), pads, dimension_numbers=("CHWN", "IHWO", "HWNC")
    )
    return to_x, to_kernel


_conv2d.defvjp(_forward, _backward)


def _xla(pads, x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _onednn(pads, x, kernel):
    """XLA's `OneDnnConvolutionConfig`, as JSON: which axis is which, then the window."""
    rows, columns = pads
    image = {"data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    config = {
        "dims": 4,
        "input": image,
        "kernel": {
            "filter": {"input_feature_dim": 2, "output_feature_dim": 3, "spatial_dims": [0, 1]}
        },
        "output": image,
        "window": {
            "size": kernel.shape[:2],
            "pad_left": [rows[0], columns[0]],
            "pad_right": [rows[1], columns[1]],
            "strides": [1, 1],
            "window_dilations": [1, 1],
        },
        "feature_groups": 1,
    }
    return jax.ffi.ffi_call(
        "__onednn$convolution",
        jax.eval_shape(functools.partial(_xla, pads), x, kernel),
        vmap_method="sequential",
        custom_call_api_version=1,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )(x, kernel)
