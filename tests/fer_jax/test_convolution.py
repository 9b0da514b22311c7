"""What a CPU computes in place of XLA's convolution: shifted sums and Winograd's algorithm."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from fer_jax import convolution, winograd
from fer_jax.models import make_model
from train_jax import cpu

GREY = [  # images, kernel, padding
    ((2, 48, 48, 1), (3, 3, 1, 32), "SAME"),
    ((3, 9, 12, 1), (3, 3, 1, 4), "VALID"),
    ((2, 7, 10, 1), (5, 2, 1, 3), "SAME"),  # an even side is padded by one more below
    ((1, 3, 3, 1), (3, 3, 1, 1), "VALID"),
    ((0, 6, 6, 1), (3, 3, 1, 4), "SAME"),
]
WINOGRAD = [
    ((29, 6, 6, 128), (3, 3, 128, 256), "SAME"),
    ((130, 2, 4, 300), (3, 3, 300, 110), "SAME"),
    ((65, 6, 6, 128), (3, 3, 128, 256), "VALID"),
]
WINOGRAD_FORWARD = [
    ((8, 12, 12, 128), (3, 3, 128, 8), "SAME"),
    ((22, 6, 8, 128), (3, 3, 128, 3), "SAME"),
]
XLAS = [
    ((28, 6, 6, 128), (3, 3, 128, 2), "SAME"),  # few tiles
    ((29, 6, 6, 127), (3, 3, 127, 2), "SAME"),  # few channels
    ((32, 6, 26, 128), (3, 3, 128, 2), "SAME"),  # a large image
    ((32, 7, 6, 128), (3, 3, 128, 2), "SAME"),
    ((32, 6, 7, 128), (3, 3, 128, 2), "SAME"),
    ((32, 6, 6, 128), (5, 3, 128, 2), "SAME"),
    ((32, 6, 6, 128), (3, 1, 128, 2), "SAME"),
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
        found,
        expected,
    )


def xlas(function, *arrays, platform="cpu") -> int:
    """How many convolutions of XLA a program for `platform` holds."""
    lowered = jax.jit(function).trace(*arrays).lower(lowering_platforms=(platform,))
    return lowered.as_text().count("stablehlo.convolution")


def uses_xla(*arrays, **settings) -> bool:
    return xlas(functools.partial(ours, **settings), *arrays) > 0


@pytest.mark.equivalence(
    "convolution.conv2d", "XLA, by flax.linen.Conv", "2e-6 of the largest, gradients too"
)
@pytest.mark.parametrize("images, kernel, padding", GREY + WINOGRAD + WINOGRAD_FORWARD)
def test_values_and_gradients_are_those_of_xla(images, kernel, padding):
    x, k = draw(images, kernel)
    assert not uses_xla(x, k, padding=padding)
    theirs, mine = (functools.partial(f, padding=padding) for f in (by_flax, ours))
    expected, backward = jax.vjp(theirs, x, k)
    found, our_backward = jax.vjp(mine, x, k)
    close(jax.jit(mine)(x, k), expected)
    close(found, expected)
    cotangent = draw(expected.shape, seed=1)[0]
    close(jax.jit(our_backward)(cotangent), backward(cotangent))


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize(
    "images, kernel, padding",
    [GREY[0], WINOGRAD[0], ((2, 24, 24, 64), (3, 3, 64, 5), "SAME"), XLAS[1]],
)
def test_bfloat16_is_float32_but_for_its_rounding(images, kernel, padding, amx, monkeypatch):
    """An independent reference: XLA's float32 convolution. 8 bits of mantissa, and 4 products of
    differences of them in Winograd's algorithm: 1 % of the largest value."""
    monkeypatch.setattr(cpu, "has", lambda flag: amx)
    x, k = (a.astype(jnp.bfloat16) for a in draw(images, kernel))
    cotangent = jnp.ones_like(by_flax(x, k, padding=padding, dtype=jnp.bfloat16))
    results = []
    for layer, a, b in (
        (functools.partial(ours, dtype=jnp.bfloat16), x, k),
        (by_flax, x.astype(jnp.float32), k.astype(jnp.float32)),
    ):
        run = jax.jit(functools.partial(jax.vjp, functools.partial(layer, padding=padding)))
        y, backward = run(a, b)
        results.append((y, *jax.jit(backward)(cotangent.astype(y.dtype))))
    for found, expected in zip(*results, strict=True):
        assert found.dtype == jnp.bfloat16
        error = np.abs(np.asarray(found, np.float32) - expected).max()
        assert error < 1e-2 * np.abs(expected).max()


def test_in_bfloat16_products_are_those_of_bfloat16_where_there_is_amx(monkeypatch):
    x, k = (a.astype(jnp.bfloat16) for a in draw(*WINOGRAD[0][:2]))
    layer = jax.jit(functools.partial(ours, dtype=jnp.bfloat16))
    for amx, products in ((True, 16), (False, 0)):
        monkeypatch.setattr(cpu, "has", lambda flag, amx=amx: amx)
        text = layer.trace(x, k).lower(lowering_platforms=("cpu",)).as_text()
        dots = [line for line in text.splitlines() if "dot_general" in line]
        assert sum("bf16>, tensor<" in line for line in dots) == products
        layer.clear_cache()


def valid_by_numpy(x, kernel):
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("bhwcij,ijcf->bhwf", windows, kernel)


def test_value_by_numpy():
    x, k = draw((2, 5, 6, 1), (3, 3, 1, 4))
    np.testing.assert_allclose(ours(x, k, padding="VALID"), valid_by_numpy(x, k), atol=1e-5)


@pytest.mark.parametrize(
    "settings, channels",
    [
        ({}, 4),
        ({"strides": (2, 2)}, 1),
        ({"kernel_dilation": (2, 2)}, 1),
        ({"input_dilation": (2, 2), "padding": 1}, 1),
        ({"padding": 5}, 1),
    ],
)
def test_all_else_is_xlas(settings, channels):
    x, k = draw((2, 8, 8, channels), (3, 3, channels, 6))
    assert uses_xla(x, k, **settings)
    np.testing.assert_array_equal(ours(x, k, **settings), by_flax(x, k, **settings))


@pytest.mark.parametrize("images, kernel, padding", GREY[:3] + WINOGRAD + WINOGRAD_FORWARD)
def test_what_is_differentiated_is_xlas_but_small_winograds(images, kernel, padding):
    gradients = jax.grad(lambda x, k: (ours(x, k, padding=padding) ** 2).sum(), (0, 1))
    found = xlas(gradients, *draw(images, kernel))
    assert found == (0 if (images, kernel, padding) in WINOGRAD else 3)


@pytest.mark.parametrize("images, kernel, padding", XLAS)
def test_winograd_is_left_where_it_does_not_pay(images, kernel, padding):
    assert uses_xla(*draw(images, kernel), padding=padding)


@pytest.fixture(scope="module")
def net():
    """(model, variables, images) with a layer of each kind."""
    model = make_model(
        "best", num_classes=7, features=((4,), (4,), (128, 128), (256, 256)), standardize=True,
        dropout=0.0,
    )  # fmt: skip
    x = draw((32, 48, 48, 1))[0]
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), x[:1])
    return model, variables, x


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_program_for_another_platform_has_nothing_of_the_cpus(net, platform):
    model, variables, x = net
    predict = functools.partial(model.apply, train=False)
    assert xlas(predict, variables, x, platform=platform) == 6
    assert xlas(predict, variables, x) == 2

    def loss(params):
        rest = {"batch_stats": variables["batch_stats"], "params": params}
        return model.apply(rest, x, train=True, mutable=["batch_stats"])[0].std()

    by_plain_xla = 6 + 6 + 5  # forward; gradients of the kernels; of the inputs but the images
    assert xlas(jax.grad(loss), variables["params"], platform=platform) == by_plain_xla
    assert xlas(jax.grad(loss), variables["params"]) == by_plain_xla - 2 * 3


def test_a_program_for_any_number_of_images_can_be_exported(net):
    model, variables, x = net
    images = jax.ShapeDtypeStruct(export.symbolic_args_specs(x, "b, 48, 48, 1").shape, x.dtype)
    predict = jax.jit(functools.partial(model.apply, train=False))
    exported = export.export(predict, platforms=["cpu", "cuda"])(variables, images)
    found = exported.call(variables, x[:3])
    close(found, predict(variables, x[:3]))


@pytest.mark.parametrize("images, kernel, padding", [GREY[1], WINOGRAD[1]])
def test_forward_and_second_derivatives_are_those_of_xla(images, kernel, padding):
    """Forwards, and forwards over backwards: a custom_vjp refuses both."""
    x, k = draw(images, kernel)

    def loss(layer, scale):
        return (layer(scale * x, k, padding=padding) ** 3).mean()

    for derivative in (jax.jacfwd, jax.hessian):
        found, expected = (
            jax.jit(derivative(functools.partial(loss, f)))(jnp.float32(1)) for f in (ours, by_flax)
        )
        assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_winograd_by_numpy():
    """Forward in float64, where XLA's convolution is no part of the comparison."""
    with jax.enable_x64(True):
        x, k = (jnp.asarray(a, jnp.float64) for a in draw((2, 6, 4, 5), (3, 3, 5, 7)))
        expected = valid_by_numpy(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), k)
        found = winograd.conv3x3(x, k, padding="SAME")
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
