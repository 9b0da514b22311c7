"""compiler.py: options by platform, and the precision of products."""

import jax
import jax.numpy as jnp
import pytest

from train_jax import compiler
from train_jax.run.errors import UserError


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_each_platform_gets_options_of_its_own_alone(platform):
    options = compiler.forward_options(platform) | compiler.step_options(platform)
    assert all(name.startswith(f"xla_{platform}_") for name in options)
    # XLA refuses names and values that it does not know, on any platform
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2


@pytest.fixture
def restored():
    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.parametrize("name, found", [("highest", "HIGHEST"), ("default", None), ("", None)])
def test_the_precision_of_products_and_convolutions(name, found, restored):
    compiler.use_matmul_precision(name)
    x, image, kernel = jnp.ones((4, 4)), jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 2))

    def both(x, image, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        return x @ x, y

    text = jax.jit(both).trace(x, image, kernel).lower(lowering_platforms=("cuda",)).as_text()
    # each operation names the precision of both its inputs
    assert text.count("HIGHEST") == (4 if found else 0)


def test_an_unknown_precision_is_refused_with_the_choices():
    with pytest.raises(UserError, match="matmul_precision must be one of .*'highest'.*'tf32'"):
        compiler.use_matmul_precision("tf32")
