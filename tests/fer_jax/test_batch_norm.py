"""Batch norm against flax's, and its variance against float64."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.batch_norm import EPSILON, MOMENTUM, BatchNorm, moments


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def flax(train):
    return nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON)


def variables(channels):
    return {
        "params": {"scale": 1 + draw(channels, seed=1) / 2, "bias": draw(channels, seed=2)},
        "batch_stats": {"mean": draw(channels, seed=3), "var": 1 + draw(channels, seed=4) ** 2},
    }


@pytest.mark.equivalence("batch_norm.BatchNorm", "flax.linen.BatchNorm", "1e-4, gradients too")
@pytest.mark.parametrize("shape", [(5, 6, 4, 3), (7, 3)])
@pytest.mark.parametrize("train", [True, False])
def test_values_statistics_and_gradients_are_flaxs(shape, train):
    x, cotangent, params = 3 + draw(*shape), draw(*shape, seed=5), variables(shape[-1])

    def loss(apply, x, params):
        y, new = apply(params, x)
        return jnp.vdot(y, cotangent), new

    def ours(params, x):
        return BatchNorm().apply(params, x, train=train, mutable=["batch_stats"])

    def theirs(params, x):
        return flax(train).apply(params, x, mutable=["batch_stats"])

    found, expected = (
        jax.value_and_grad(functools.partial(loss, f), (0, 1), has_aux=True)(x, params)
        for f in (ours, theirs)
    )
    # float32 sums over up to 120 numbers, in another order
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected
    )


def test_its_variables_are_named_and_begin_as_flaxs():
    x = draw(4, 5, 5, 2)
    ours = BatchNorm().init(jax.random.key(0), x, train=True)
    theirs = flax(True).init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("ratio, error", [(0, 1e-6), (100, 1e-5), (1e3, 3e-4), (1e4, 3e-3)])
def test_the_variance_keeps_its_digits_where_the_mean_is_large(ratio, error):
    """What float32 leaves of x itself is ratio * 6e-8 of the spread, and the variance has that;
    E[x^2] - E[x]^2 is wrong by (ratio^2) * 6e-8."""
    x = (draw(64, 12, 12, 8).astype(np.float64) + ratio).astype(np.float32)
    mean, var = jax.jit(moments)(x)
    axes = (0, 1, 2)
    np.testing.assert_allclose(var, x.astype(np.float64).var(axes), rtol=error)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axes), rtol=1e-6, atol=1e-6)


def test_an_outlier_in_the_first_place_costs_few_digits():
    x = draw(64, 12, 12, 2)
    x[0, 0, 0] = 1e3  # 96 sd from the mean; of N numbers none can be further than sqrt(N) = 96
    var = moments(jnp.asarray(x))[1]
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 1, 2)), rtol=1e-2)


def test_a_constant_channel_has_no_variance_and_finite_gradients():
    x = jnp.full((4, 3, 3, 2), 1e4, jnp.float32)
    np.testing.assert_array_equal(moments(x)[1], [0, 0])
    gradient = jax.grad(
        lambda x: BatchNorm().apply(variables(2), x, train=True, mutable=["batch_stats"])[0].sum()
    )(x)
    assert np.isfinite(gradient).all()


def test_bfloat16_has_float32_statistics():
    x = jnp.asarray(5 + draw(64, 9, 9, 4), jnp.bfloat16)
    y, new = BatchNorm(jnp.bfloat16).apply(variables(4), x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    expected = np.asarray(x, np.float64).mean((0, 1, 2))
    old = variables(4)["batch_stats"]["mean"]
    found = (np.asarray(new["batch_stats"]["mean"]) - MOMENTUM * old) / (1 - MOMENTUM)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
