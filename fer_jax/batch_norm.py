"""Batch norm whose variance keeps its digits where the mean is large (Ioffe & Szegedy 2015).

B = batch, C = channels. The parameters and running statistics are named as flax names them.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

MOMENTUM = 0.99  # of the running statistics, per step, as Keras
EPSILON = 1e-3  # added to the variance, as Keras


class BatchNorm(nn.Module):
    """Normalises each channel over all other axes; the statistics are always f32.

    In training by mean and (biased) variance of the batch, which move the running ones; else by the
    running ones.
    """

    dtype: Any = jnp.float32  # of the output

    @nn.compact
    def __call__(self, x, *, train: bool):
        """[B, ..., C] -> the same shape in `dtype`."""
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean, var = running_mean.value, running_var.value
        if train:
            batch_mean, batch_var = moments(x)
            if not self.is_initializing():
                running_mean.value = MOMENTUM * mean + (1 - MOMENTUM) * batch_mean
                running_var.value = MOMENTUM * var + (1 - MOMENTUM) * batch_var
            mean, var = batch_mean, batch_var
        mean, factor, bias = (
            a.reshape((1,) * (x.ndim - 1) + (-1,))
            for a in (mean, jax.lax.rsqrt(var + EPSILON) * scale, bias)
        )
        return ((x.astype(jnp.float32) - mean) * factor + bias).astype(self.dtype)


def moments(x):
    """(mean f32[C], variance f32[C]) over all axes of [..., C] but the last, in one pass.

    E[y^2] - E[y]^2 of y = x - (the first element of each channel): as fast as flax's fast variance
    (without the shift), whose error grows with (mean / sd)^2, to 0.18 at 1,000. Here it does not:
    of N numbers none is further than sqrt(N) sd from their mean. A second pass over x - mean, as
    PyTorch's, takes 0 to 17 % of a step of fer_best more (2 cores, batch 32 and 64).
    """
    x = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    shift = jax.lax.stop_gradient(x[(slice(1),) * len(axes)])
    y = x - shift
    mean = y.mean(axes)
    var = jnp.maximum(jnp.square(y).mean(axes) - jnp.square(mean), 0)
    return mean + shift.reshape(-1), var
