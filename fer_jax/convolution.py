"""The convolution of the nets: XLA's own, but where a program is compiled for a CPU one of
`cpu_convolution` for the layers that it computes faster.

B = batch, H, W = pixels, C = channels.
"""

from functools import partial

import jax
from jax import lax

from fer_jax import cpu_convolution


def conv2d(x, kernel, strides, padding, **settings):
    """What `nn.Conv(conv_general_dilated=conv2d)` computes: `lax.conv_general_dilated`.

    x [B, H, W, C_in] and kernel [h, w, C_in, C_out] make [B, H', W', C_out]. The platform is the
    one that is compiled for, which while tracing nobody knows.
    """
    by_xla = partial(lax.conv_general_dilated, window_strides=strides, padding=padding, **settings)
    if {*strides, *settings["lhs_dilation"], *settings["rhs_dilation"]} != {1}:
        return by_xla(x, kernel)
    fast, in_training = cpu_convolution.choose(x, kernel, padding)
    if fast is None:
        return by_xla(x, kernel)
    choice = partial(lax.platform_dependent, cpu=fast, default=by_xla)
    return choice(x, kernel) if in_training else _only_forward(choice, by_xla, x, kernel)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _only_forward(fast, by_xla, x, kernel):
    """`fast(x, kernel)`, but where it is differentiated `by_xla`, forward too."""
    return fast(x, kernel)


@_only_forward.defjvp
def _differentiated(fast, by_xla, primals, tangents):
    return jax.jvp(by_xla, primals, tangents)
