"""The convolution of a grey image as shifted sums, against XLA's and numpy's."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import convolution

SHAPES = [  # images, kernel, padding
    ((2, 48, 48, 1), (3, 3, 1, 32), "SAME"),
    ((3, 9, 12, 1), (3, 3, 1, 4), "VALID"),
    ((2, 7, 10, 1), (5, 2, 1, 3), "SAME"),  # an even side is padded by one more below
    ((1, 3, 3, 1), (3, 3, 1, 1), "VALID"),
    ((0, 6, 6, 1), (3, 3, 1, 4), "SAME"),
]


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes]


def by_flax(x, kernel, **settings):
    layer = nn.Conv(kernel.shape[-1], kernel.shape[:2], use_bias=False, **settings)
    return layer.apply({"params": {"kernel": kernel}}, x)


ours = functools.partial(by_flax, conv_general_dilated=convolution.conv2d)


def close(found, expected):
    """Sums of 9 to 4608 products in another order."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max(initial=1)),
        found, expected,
    )  # fmt: skip


@pytest.mark.parametrize("images, kernel, padding", SHAPES)
def test_values_and_gradients_are_those_of_xla(images, kernel, padding):
    x, k = draw(images, kernel)
    assert "conv_general_dilated" not in str(
        jax.make_jaxpr(functools.partial(ours, padding=padding))(x, k)
    )
    expected, backward = jax.vjp(functools.partial(by_flax, padding=padding), x, k)
    found, our_backward = jax.vjp(functools.partial(ours, padding=padding), x, k)
    close(jax.jit(functools.partial(ours, padding=padding))(x, k), expected)
    close(found, expected)
    cotangent = draw(expected.shape, seed=1)[0]
    close(our_backward(cotangent), backward(cotangent))


def test_value_by_numpy():
    x, k = draw((2, 5, 6, 1), (3, 3, 1, 4))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    expected = np.einsum("bhwcij,ijcf->bhwf", windows, k)
    np.testing.assert_allclose(ours(x, k, padding="VALID"), expected, atol=1e-5)


@pytest.mark.parametrize(
    "settings, channels",
    [
        ({}, 4),
        ({"strides": (2, 2)}, 1),
        ({"kernel_dilation": (2, 2)}, 1),
        ({"input_dilation": (2, 2), "padding": 1}, 1),
        ({"dtype": jnp.bfloat16}, 1),
        ({"padding": 5}, 1),
    ],
)
def test_all_else_is_xlas(settings, channels):
    x, k = draw((2, 8, 8, channels), (3, 3, channels, 6))
    assert "conv_general_dilated" in str(jax.make_jaxpr(functools.partial(ours, **settings))(x, k))
    np.testing.assert_array_equal(ours(x, k, **settings), by_flax(x, k, **settings))
