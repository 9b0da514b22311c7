"""Dropout that draws one random byte per element, where flax's draws four (Srivastava et al. 2014).

On a CPU the bits are most of what dropout costs: of f32[256, 50, 1024] it takes 40 ms in place of
128 (2 cores, threefry, benchmarks/NOTES.md).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

LEVELS = 256  # of a byte


class Dropout(nn.Module):
    """Sets a share `rate` of the elements to 0 in training, and scales the others so that the
    expected value stays, as `nn.Dropout` does; draws from the 'dropout' key.

    The share is rounded to a multiple of 1/256 (0.25 and 0.5 are exact, 0.2 becomes 51/256), and
    the scale is that of the rounded share. ValueError for a rate outside [0, 1), or for one above 0
    that rounds to 0 or 1.
    """

    rate: float
    deterministic: bool

    def __call__(self, x):
        """f32[..., C] -> the same."""
        dropped = dropped_levels(self.rate)
        if self.deterministic or not dropped:
            return x
        keep = random_bytes(self.make_rng("dropout"), x.shape) >= dropped
        return jnp.where(keep, x * (LEVELS / (LEVELS - dropped)), 0)


def dropped_levels(rate) -> int:
    """How many of the 256 values of a byte set their element to 0."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout must be in [0, 1), got {rate}")
    levels = round(rate * LEVELS)
    if rate > 0 and not 0 < levels < LEVELS:
        raise ValueError(
            f"dropout is drawn in steps of 1/256: must be 0 or in [0.002, 0.998], got {rate}"
        )
    return levels


def random_bytes(key, shape):
    """u8[shape], uniform: the bytes of random words of 32 bits, four neighbours from each."""
    *rows, columns = shape
    words = jax.random.bits(key, (*rows, -(-columns // 4)), np.uint32)
    return jax.lax.bitcast_convert_type(words, np.uint8).reshape(*rows, -1)[..., :columns]
