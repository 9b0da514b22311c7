"""The convolution by oneDNN against XLA's and numpy's, and where which of them computes."""

import functools
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from fer_jax import convolution
from train_jax.step import KEEP_FENCES

ROOT = Path(__file__).parents[2]
CALL = "__onednn$convolution"
SHAPES = [  # images, kernel, padding
    ((2, 48, 48, 1), (3, 3, 1, 32), "SAME"),
    ((3, 24, 24, 32), (3, 3, 32, 64), "SAME"),
    ((1, 6, 6, 256), (3, 3, 256, 256), "SAME"),
    ((2, 12, 12, 8), (3, 3, 8, 5), "VALID"),
    ((2, 7, 10, 3), (5, 2, 3, 4), "SAME"),  # an even side is padded by one more below
    ((1, 3, 3, 2), (3, 3, 2, 1), "VALID"),
]
EMPTY = [((0, 6, 6, 3), (3, 3, 3, 4), "SAME"), ((2, 2, 6, 3), (3, 3, 3, 4), "VALID")]
each_shape = pytest.mark.parametrize("images, kernel, padding", SHAPES)


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes]


def layer(kernel, **settings):
    return nn.Conv(kernel[-1], kernel[:2], use_bias=False, **settings)


def apply(model, x, kernel):
    return model.apply({"params": {"kernel": kernel}}, x)


def by_onednn(kernel, **settings):
    return functools.partial(
        apply, layer(kernel, conv_general_dilated=convolution.conv2d, **settings)
    )


def by_xla(kernel, **settings):
    return functools.partial(apply, layer(kernel, **settings))


def close(found, expected, of=1e-5):
    """Within `of` of the largest value: a sum of up to 2304 products, in another order."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=of * np.abs(b).max(initial=0)),
        found, expected,
    )  # fmt: skip


@pytest.mark.parametrize("images, kernel, padding", SHAPES + EMPTY)
def test_values_are_those_of_xla(images, kernel, padding):
    x, k = draw(images, kernel)
    call = jax.jit(by_onednn(kernel, padding=padding))
    assert CALL in call.lower(x, k).as_text()
    close(call(x, k), by_xla(kernel, padding=padding)(x, k))


@each_shape
def test_gradients_are_those_of_xla(images, kernel, padding):
    x, k = draw(images, kernel)
    cotangent = draw(by_xla(kernel, padding=padding)(x, k).shape, seed=1)[0]

    def gradients(convolve):
        return jax.grad(lambda x, k: (convolve(x, k) * cotangent).sum(), (0, 1))

    expected = gradients(by_xla(kernel, padding=padding))(x, k)
    found = gradients(by_onednn(kernel, padding=padding))
    close(found(x, k), expected)
    fenced = jax.jit(found, compiler_options=KEEP_FENCES).lower(x, k)
    assert fenced.as_text().count(CALL) >= 1  # that of x: the value itself is not asked for
    assert "opt-barrier" in fenced.compile().as_text()
    close(fenced.compile()(x, k), expected)


def test_value_by_numpy():
    x, k = draw((2, 5, 6, 3), (3, 3, 3, 4))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    expected = np.einsum("bhwcij,ijcf->bhwf", windows, k)
    close(by_onednn(k.shape, padding="VALID")(x, k), expected)


def test_it_may_be_mapped_and_scanned():
    x, k = draw((4, 2, 6, 6, 3), (3, 3, 3, 5))
    convolve = by_onednn(k.shape)
    expected = jnp.stack([by_xla(k.shape)(one, k) for one in x])
    close(jax.vmap(convolve, (0, None))(x, k), expected)
    close(jax.jit(lambda x, k: lax.map(lambda one: convolve(one, k), x))(x, k), expected)


@pytest.mark.parametrize(
    "settings, channels",
    [
        ({"strides": (2, 2)}, 4),
        ({"kernel_dilation": (2, 2)}, 4),
        ({"input_dilation": (2, 2), "padding": 1}, 4),
        ({"feature_group_count": 2}, 2),
        ({"dtype": jnp.bfloat16}, 4),
        ({"padding": 5}, 4),
    ],
)
def test_what_it_does_not_know_is_xlas(settings, channels):
    x, k = draw((2, 8, 8, 4), (3, 3, channels, 6))
    call = jax.jit(by_onednn(k.shape, **settings))
    assert CALL not in call.lower(x, k).as_text()
    np.testing.assert_array_equal(call(x, k), jax.jit(by_xla(k.shape, **settings))(x, k))


@pytest.mark.parametrize("attribute, value", [("jaxlib", "0.11.0"), ("sys", "darwin")])
def test_elsewhere_it_is_xlas(monkeypatch, attribute, value):
    x, k = draw((2, 8, 8, 4), (3, 3, 4, 6))
    assert convolution.serves()
    name = {"jaxlib": "__version__", "sys": "platform"}[attribute]
    monkeypatch.setattr(getattr(convolution, attribute), name, value)
    assert not convolution.serves()
    assert CALL not in jax.jit(by_onednn(k.shape)).lower(x, k).as_text()


def test_a_gpu_gets_xlas():
    x, k = draw((2, 8, 8, 4), (3, 3, 4, 6))
    loss = jax.jit(jax.grad(lambda x, k: (by_onednn(k.shape)(x, k) ** 2).sum(), (0, 1)))
    assert (
        CALL in export.export(loss, platforms=["cpu"], disabled_checks=CHECKS)(x, k).mlir_module()
    )
    exported = export.export(loss, platforms=["cuda"])(x, k).mlir_module()
    assert CALL not in exported and exported.count("stablehlo.convolution") == 3


CHECKS = [export.DisabledSafetyCheck.custom_call(CALL)]


def test_many_devices_get_xlas():
    """And a mesh of one of them as well: XLA decides by the program, we by the process."""
    program = """
import jax, jax.numpy as jnp
from fer_jax import convolution, models
print(jax.device_count(), convolution.serves())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.stdout == "2 False\n", done.stderr
