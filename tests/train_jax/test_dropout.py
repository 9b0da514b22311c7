"""Dropout by bytes: what flax's does, but for the bits that it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train_jax.dropout import Dropout, dropped_levels, random_bytes


def drop(rate, x, *, key=0, deterministic=False):
    layer = Dropout(rate, deterministic=deterministic)
    return layer.apply({}, x, rngs={"dropout": jax.random.key(key)})


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("shape", [(300, 64), (50, 13, 41), (8000,)])
def test_the_bytes_are_uniform_and_independent(impl, shape):
    found = np.asarray(random_bytes(jax.random.key(1, impl=impl), shape))
    assert found.shape == shape and found.dtype == np.uint8
    counts = np.bincount(found.ravel(), minlength=256)
    expected = found.size / 256
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert 150 < chi2 < 380  # 255 +- 5.5 standard deviations of 22.6
    values = found.reshape(-1, shape[-1]).astype(float)
    for distance in (1, 2, 3, 4):  # neighbours from one word, and from the next
        a, b = values[:, :-distance].ravel(), values[:, distance:].ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(a.size)
    if values.shape[0] > 1:
        a, b = values[:-1].ravel(), values[1:].ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize(
    "rate, share", [(0.25, 0.25), (0.5, 0.5), (0.2, 51 / 256), (0.7, 179 / 256)]
)
def test_share_and_scale(rate, share):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((400, 250)).astype(np.float32))
    y = np.asarray(drop(rate, x))
    zero = y == 0
    assert abs(zero.mean() - share) < 5 * np.sqrt(share * (1 - share) / zero.size)
    np.testing.assert_allclose(y[~zero], (np.asarray(x) / np.float32(1 - share))[~zero], rtol=1e-6)


def test_the_gradient_goes_where_the_value_went():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32))
    gradient = jax.grad(lambda x: drop(0.5, x).sum())(x)
    np.testing.assert_array_equal(gradient, 2.0 * (np.asarray(drop(0.5, x)) != 0))


def test_the_key_alone_decides():
    x = jnp.ones((20, 30))
    np.testing.assert_array_equal(drop(0.5, x, key=3), drop(0.5, x, key=3))
    assert (np.asarray(drop(0.5, x, key=3)) != np.asarray(drop(0.5, x, key=4))).mean() > 0.4


@pytest.mark.parametrize("rate, deterministic", [(0.5, True), (0.0, False)])
def test_where_it_is_off(rate, deterministic):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32))
    np.testing.assert_array_equal(Dropout(rate, deterministic=deterministic).apply({}, x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan"), 0.001, 0.9999])
def test_a_rate_that_cannot_be(rate):
    with pytest.raises(ValueError, match=f"dropout.*got {rate}"):
        dropped_levels(rate)


def test_other_types_stay():
    assert drop(0.5, jnp.ones((4, 8), jnp.bfloat16)).dtype == jnp.bfloat16


def test_as_many_bytes_are_below_as_the_rate_says(monkeypatch):
    every = jnp.arange(256, dtype=jnp.uint8)
    monkeypatch.setattr("train_jax.dropout.random_bytes", lambda key, shape: every)
    for rate, zeros in ((1 / 256, 1), (0.2, 51), (0.5, 128), (255 / 256, 255)):
        assert int((drop(rate, jnp.ones(256)) == 0).sum()) == zeros
