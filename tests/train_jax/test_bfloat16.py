"""bfloat16.py: products in bfloat16, against float64 of the rounded numbers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train_jax import bfloat16, cpu


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16), np.float64)


def close(found, expected):
    """Sums in float32 of exact products: 1e-5 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(params=[True, False], ids=["amx", "no amx"])
def processor(request, monkeypatch):
    monkeypatch.setattr(cpu, "has", lambda flag: request.param)


@pytest.mark.parametrize("shape", [(40, 24), (5, 8, 24), (24,)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_product_is_that_of_rounded_numbers_with_float32_sums(shape, dtype, processor):
    x, y = draw(*shape).astype(dtype), draw(24, 9, seed=1)
    found = jax.jit(lambda x, y: bfloat16.dot(x, y))(x, y)
    assert found.dtype == jnp.float32 and found.shape == (*shape[:-1], 9)
    close(found, rounded(x) @ rounded(y))


def test_both_gradients_are_products_of_rounded_numbers(processor):
    x, y, cotangent = draw(40, 24), draw(24, 9, seed=1), draw(40, 9, seed=2)
    gradients = jax.jit(lambda x, y, c: jax.vjp(bfloat16.dot, x, y)[1](c))(x, y, cotangent)
    close(gradients[0], rounded(cotangent) @ rounded(y).T)
    close(gradients[1], rounded(x).T @ rounded(cotangent))


def test_no_gradient_multiplies_float32():
    x, y = draw(40, 24), draw(24, 9, seed=1)
    loss = jax.grad(lambda x, y: (bfloat16.dot(x, y) ** 2).sum(), (0, 1))
    for platform in ("cpu", "cuda"):
        text = jax.jit(loss).trace(x, y).lower(lowering_platforms=(platform,)).as_text()
        dots = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
        assert len(dots) == 3
        if platform == "cuda" or cpu.has("amx_bf16"):
            assert all(line.count("xbf16>") == 2 and line.endswith("xf32>") for line in dots)


def test_second_derivatives_in_both_directions(processor):
    """Of a cubic: forwards over backwards and backwards over backwards, against float32."""
    x, y = draw(12, 8), draw(8, 5, seed=1)

    def second(product):
        gradient = jax.grad(lambda x, y: (product(x, y) ** 3).sum(), (0, 1))
        forwards = jax.jvp(gradient, (x, y), (x, y))[1]
        return forwards, jax.grad(lambda y: sum(g.sum() for g in gradient(x, y)))(y)

    found, expected = jax.jit(second, static_argnums=0)(bfloat16.dot), second(jnp.matmul)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.abs(a - b).max() < 0.03 * np.abs(b).max()  # bfloat16 has 8 bits


def test_many_products_at_once(processor):
    x, y = draw(3, 6, 8), draw(3, 8, 5, seed=1)
    found = jax.vmap(bfloat16.dot)(x, y)
    close(found, rounded(x) @ rounded(y))


def test_a_dense_layer_takes_it(processor):
    layer = functools.partial(nn.Dense, 7, dtype=jnp.bfloat16)
    x = draw(9, 24)
    variables = layer().init(jax.random.key(0), x)
    found = layer(dot_general=bfloat16.dot_general).apply(variables, x)
    assert found.dtype == jnp.bfloat16
    expected = rounded(x) @ rounded(variables["params"]["kernel"])
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=0.01, atol=0.02)
