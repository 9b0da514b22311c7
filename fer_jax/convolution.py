"""The convolution of the nets: XLA's own, but where a program is compiled for a CPU one of
`cpu_convolution` for the layers that it computes faster.

B = batch, H, W = pixels, C = channels.
"""

import contextlib
import contextvars
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from fer_jax import cpu_convolution

_only_xla = contextvars.ContextVar("_only_xla", default=False)


@contextlib.contextmanager
def only_xla():
    """What is traced within has XLA's own convolution for CPUs too: one program for all platforms,
    which are not known yet where it is exported."""
    token = _only_xla.set(True)
    try:
        yield
    finally:
        _only_xla.reset(token)


def conv2d(x, kernel, strides, padding, **settings):
    """What `nn.Conv(conv_general_dilated=conv2d)` computes: `lax.conv_general_dilated`.

    x [B, H, W, C_in] and kernel [h, w, C_in, C_out] make [B, H', W', C_out]. The platform is the
    one that is compiled for, which while tracing nobody knows.
    """
    by_xla = partial(lax.conv_general_dilated, window_strides=strides, padding=padding, **settings)
    spread = {*strides, *settings["lhs_dilation"], *settings["rhs_dilation"]}
    if _only_xla.get() or spread != {1} or x.dtype not in (jnp.float32, jnp.bfloat16):
        return by_xla(x, kernel)
    forward, training = cpu_convolution.choose(x, kernel, padding, by_xla)
    if forward is training is by_xla:
        return by_xla(x, kernel)
    return _convolve(
        partial(lax.platform_dependent, cpu=forward, default=by_xla),
        partial(lax.platform_dependent, cpu=training, default=by_xla),
        x,
        kernel,
    )


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _convolve(forward, training, x, kernel):
    """`forward(x, kernel)`, but where it is differentiated `training(x, kernel)`, forward too."""
    return forward(x, kernel)


@_convolve.defjvp
def _differentiate(forward, training, primals, tangents):
    return jax.jvp(training, primals, tangents)
