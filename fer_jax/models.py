"""The ladder of convolutional networks for 48x48 grey faces (flax.linen).

B = batch, H = W = 48 pixels, K = classes. Every model is called as
`model.apply(variables, images, train=...)` with images f32[B, H, W, 1] in [0, 1] and returns logits
f32[B, K]; in training it updates 'batch_stats' (where it has batch norm) and draws from the
'dropout' key. `dtype` is the one of the computation; parameters are always f32.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange, reduce

from fer_jax.batch_norm import BatchNorm
from fer_jax.convolution import conv2d
from train_jax import bfloat16
from train_jax.dropout import Dropout
from train_jax.run.errors import no_choice

MODELS = ("simple", "lobo", "best")


def make_model(name, *, num_classes, **settings) -> nn.Module:
    """The model of a config: `config.model.name` and the fields of that class."""
    if name == "simple":
        return SimpleCNN(num_classes=num_classes, **settings)
    if name == "lobo":
        return LoboCNN(num_classes=num_classes, **settings)
    if name == "best":
        return BestCNN(num_classes=num_classes, **settings)
    raise no_choice("name", name, MODELS)


def takes_any_size(model) -> bool:
    """Whether a model has a mean over the pixels as its head, so that images need not be 48x48."""
    return getattr(model, "any_size", False)


class SimpleCNN(nn.Module):
    """Models 1, 2 and 3 of the original study.

    Model 1: two 3x3 convolutions, each with ReLU and 2x2 max pooling, and two dense layers.
    Model 2 adds batch norm, Model 3 also dropout, after each layer but the last.
    """

    num_classes: int
    features: tuple[int, ...]  # of the convolutions
    dense: int  # units of the first dense layer
    batch_norm: bool
    dropout: float  # share of activations set to 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool):
        def after(x):
            if self.batch_norm:
                x = BatchNorm(self.dtype)(x, train=train)
            return Dropout(self.dropout, deterministic=not train)(x)

        for features in self.features:
            x = MaxPool()(ReLU()(conv(features, dtype=self.dtype)(x)))
            x = after(x)
        x = rearrange(x, "b h w c -> b (h w c)")
        x = after(ReLU()(dense(self.dense, dtype=self.dtype)(x)))
        return dense(self.num_classes, dtype=self.dtype)(x)


class LoboCNN(nn.Module):
    """Model 4 of the original study ("lobo_net"), layer by layer.

    The L2 penalty on the third and fourth kernel is part of the loss: `config.loss`.
    """

    num_classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool):
        def drop(rate, x):
            return Dropout(rate, deterministic=not train)(x)

        x = ReLU()(conv(32, dtype=self.dtype)(x))
        x = ReLU()(conv(64, dtype=self.dtype)(x))
        x = BatchNorm(self.dtype)(x, train=train)
        x = drop(0.25, MaxPool()(x))
        x = ReLU()(conv(128, dtype=self.dtype)(x))
        x = ReLU()(conv(256, padding="VALID", dtype=self.dtype)(x))
        x = BatchNorm(self.dtype)(x, train=train)
        x = drop(0.25, MaxPool()(x))
        x = rearrange(x, "b h w c -> b (h w c)")
        x = drop(0.5, ReLU()(dense(1024, dtype=self.dtype)(x)))
        return dense(self.num_classes, dtype=self.dtype)(x)


class BestCNN(nn.Module):
    """A VGG-like net of four blocks, made for the compute of two CPU cores.

    Each unit is convolution, batch norm, ReLU; the last of a block pools before its batch norm,
    which then works on a quarter of the pixels. Only one thin convolution runs at 48x48: XLA's CPU
    convolution reaches 350 GFLOP/s at 12x12x128 and 90 at 48x48x32 (2 cores, float32). From the
    second unit of a block on, the input is added to the output (He et al. 2016).
    """

    any_size = True
    num_classes: int
    features: tuple[tuple[int, ...], ...]  # of each unit of each block
    standardize: bool  # each image to mean 0 and about unit contrast first
    dropout: float  # before the last layer
    block_dropout: float = 0.0  # after each block but the last
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = standardize(x) if self.standardize else x
        for block in self.features:
            for unit, features in enumerate(block):
                y = conv(features, use_bias=False, init="he_normal", dtype=self.dtype)(x)
                if unit > 0 and x.shape[-1] == features:
                    y = y + x
                last = unit == len(block) - 1 and block is not self.features[-1]
                y = MaxPool()(y) if last else y
                x = ReLU()(BatchNorm(self.dtype)(y, train=train))
            if self.block_dropout and block is not self.features[-1]:
                x = Dropout(self.block_dropout, deterministic=not train)(x)
        x = reduce(x.astype(jnp.float32), "b h w c -> b c", "mean")
        x = Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.num_classes, dtype=self.dtype)(x)


class ReLU(nn.Module):
    """max(x, 0). A module, as MaxPool is, so that `fer_jax.explain.maps` finds it by name."""

    def __call__(self, x):
        return nn.relu(x)


class MaxPool(nn.Module):
    def __call__(self, x):
        return max_pool(x)


def standardize(x):
    """(x - mean) / (std + 0.05) of each image f32[B, H, W, C] in [0, 1]: takes out the lighting.

    The 0.05 keeps the noise of an almost flat image small; faces have a std of 0.1 to 0.3.
    """
    x = x - x.mean((1, 2, 3), keepdims=True)
    return x / (x.std((1, 2, 3), keepdims=True) + 0.05)


def conv(features, *, padding="SAME", use_bias=True, init="glorot_uniform", dtype):
    """A 3x3 convolution, initialised as Keras does unless told otherwise."""
    kernel_init = getattr(nn.initializers, init)()
    return nn.Conv(
        features, (3, 3), padding=padding, use_bias=use_bias, kernel_init=kernel_init, dtype=dtype,
        conv_general_dilated=conv2d,
    )  # fmt: skip


def dense(features, *, dtype):
    """A dense layer in float32, initialised as Keras does; the product may be of bfloat16."""
    product = bfloat16.dot_general if dtype == jnp.bfloat16 else None
    init = nn.initializers.glorot_uniform()
    return nn.Dense(features, kernel_init=init, dtype=jnp.float32, dot_general=product)


def max_pool(x):
    """2x2 max pooling of f32[B, H, W, C]; an odd last row or column is dropped, as in Keras.

    Equal to nn.max_pool, whose gradient (select-and-scatter) is slow on the CPU backend; but of
    values that are equal each gets a share of the gradient. As `max` over two axes it would be a
    reduction, which XLA does not join with its neighbours: 10 ms more in a step of fer_best.
    ValueError where a side is less than 2 pixels.
    """
    _, h, w, _ = x.shape
    if min(h, w) < 2:
        raise ValueError(f"{h}x{w} pixels cannot be halved once more: fewer blocks or features")
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    x = rearrange(x, "b (h i) (w j) c -> b h i w j c", i=2, j=2)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])
