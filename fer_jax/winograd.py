"""CPU only: a 3x3 convolution with 4 multiplications an output in place of 9.

F(2x2, 3x3) of Lavin & Gray 2016, "Fast algorithms for convolutional neural networks" (arXiv
1509.09308). B = batch, H, W = pixels, both even, C = channels. The image is cut into tiles of 2x2
outputs, each with the 4x4 inputs that it depends on. Tile and kernel are turned into 4x4 places
each, multiplied place by place, which is one matrix product over the channels for each of the 16,
and turned back.
"""

import jax.numpy as jnp
from einops import rearrange


def conv3x3(x, kernel, *, padding, product=jnp.matmul):
    """f32[B, H, W, C_in], f32[3, 3, C_in, C_out] -> f32[B, H, W, C_out], or with padding "VALID" in
    place of "SAME" f32[B, H - 2, W - 2, C_out].

    `product` multiplies matrices: f32[M, K], f32[K, N] -> f32[M, N].
    """
    if padding == "SAME":
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    b, h, w = x.shape[0], x.shape[1] - 2, x.shape[2] - 2
    inputs = [[x[:, i : i + h - 1 : 2, j : j + w - 1 : 2] for j in range(4)] for i in range(4)]
    inputs = both_ways(turn_inputs, inputs)  # 4 x 4 of f32[B, H/2, W/2, C_in]
    kernel = both_ways(turn_kernel, kernel)  # 4 x 4 of f32[C_in, C_out]
    rows = [[rearrange(x, "b h w c -> (b h w) c") for x in row] for row in inputs]
    products = [[product(rows[i][j], kernel[i][j]) for j in range(4)] for i in range(4)]
    tiles = both_ways(turn_back, products)  # 2 x 2 of f32[B * H/2 * W/2, C_out]
    tiles = jnp.stack([jnp.stack(row) for row in tiles])
    return rearrange(tiles, "i j (b h w) c -> b (h i) (w j) c", b=b, h=h // 2, w=w // 2)


def both_ways(turn, grid):
    """`turn` of each column of a grid of arrays, then of each row of what that makes."""
    columns = [turn(*column) for column in zip(*grid, strict=True)]
    return [turn(*row) for row in zip(*columns, strict=True)]


def turn_inputs(a, b, c, d):
    return a - c, b + c, c - b, b - d


def turn_kernel(a, b, c):
    return a, (a + b + c) / 2, (a - b + c) / 2, c


def turn_back(a, b, c, d):
    return a + b + c, b - c - d
