"""Matrix products in bfloat16 with float32 sums, whose derivatives are such products, too.

`lax.dot` with `preferred_element_type=float32` multiplies in bfloat16 forwards, but its gradients
multiply a float32 cotangent, and so take the speed of float32: 200 in place of 500 to 1,500 GFLOP/s
on two cores with AMX. M, K, N = rows, summed, columns.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from train_jax import cpu


def dot(x, y):
    """[..., K] times [K, N] -> f32[..., N]. Both are rounded to bfloat16, the sums are float32."""
    product = product_p.bind(x.reshape(-1, x.shape[-1]), y, summed=(1, 0))
    return product.reshape(*x.shape[:-1], y.shape[-1])


def dot_general(x, y, dimension_numbers, precision=None, **settings):
    """`dot`, rounded to the dtype of x, as `nn.Dense(dot_general=dot_general)` calls it."""
    del precision, settings
    assert dimension_numbers == (((x.ndim - 1,), (0,)), ((), ())), dimension_numbers
    return dot(x, y).astype(x.dtype)


# f32 product of two matrices; `summed` is the axis of each that is summed over
product_p = Primitive("bfloat16_product")


def _product(x, y, *, summed):
    x, y = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
    dimensions = ((summed[:1], summed[1:]), ((), ()))
    return lax.dot_general(x, y, dimensions, preferred_element_type=jnp.float32)


def _product_on_cpu(x, y, *, summed):
    """XLA hands a product to YNNPACK, which uses AMX, where rows of M sums meet columns of N, each
    in the usual order; a transposed matrix is written out. Without AMX, float32 is faster."""
    if not cpu.has("amx_bf16"):
        x, y = (a.astype(jnp.bfloat16).astype(jnp.float32) for a in (x, y))
        return lax.dot_general(x, y, ((summed[:1], summed[1:]), ((), ())))
    x = _row_major(x.astype(jnp.bfloat16).T) if summed[0] == 0 else x
    return _product(x, y, summed=(1, summed[1]))


def _row_major(x):
    return with_layout_constraint(x, Layout((0, 1)))


def _of_left(cotangent, x, y, *, summed):
    """The cotangent of x: summed with y over the columns of the product."""
    left, right = summed
    if left == 1:
        return product_p.bind(cotangent, y, summed=(1, 1 - right)).astype(x.aval.dtype)
    return product_p.bind(y, cotangent, summed=(1 - right, 1)).astype(x.aval.dtype)


def _of_right(cotangent, x, y, *, summed):
    left, right = summed
    if right == 0:
        return product_p.bind(x, cotangent, summed=(1 - left, 0)).astype(y.aval.dtype)
    return product_p.bind(cotangent, x, summed=(0, 1 - left)).astype(y.aval.dtype)


def _batched(arrays, axes, *, summed):
    return jax.vmap(functools.partial(_product, summed=summed), in_axes=axes)(*arrays), 0


product_p.def_impl(lambda *a, **k: jax.jit(product_p.bind, static_argnames="summed")(*a, **k))
product_p.def_abstract_eval(
    lambda x, y, *, summed: jax.core.ShapedArray(
        (x.shape[1 - summed[0]], y.shape[1 - summed[1]]), jnp.float32
    )
)
ad.defbilinear(product_p, _of_left, _of_right)
batching.primitive_batchers[product_p] = _batched
mlir.register_lowering(product_p, mlir.lower_fun(_product, multiple_results=False))
mlir.register_lowering(
    product_p, mlir.lower_fun(_product_on_cpu, multiple_results=False), platform="cpu"
)
