"""Recurrent cells as pure functions: SimpleRNN, GRU in both its forms, LSTM.

B = batch, T = time steps, D = input features, H = units, G = gates of the cell. The parameters are
named and laid out as in Keras, a dict of
    kernel            f32[D, G*H]  input weights W, one block of H columns per gate
    recurrent_kernel  f32[H, G*H]  recurrent weights U, in the same order of gates
    bias              f32[G*H], or f32[2, G*H] where the cell has one for W and one for U
In the equations a row vector is multiplied from the left, `.` is the elementwise product, s the
logistic sigmoid. A step function takes (params, carry, projected, drop) and returns the new carry:
    carry      the named state after the step before; its `h` f32[B, H] is the output
    projected  f32[B, G*H], what `project` makes of the input of this step
    drop       f32[B, H] or None, multiplies h where it enters the recurrent matmul, and only there
All of it works in any float dtype, as long as there is only one; but kernels may be bfloat16 where
all else is float32: then they meet their input rounded to bfloat16, with float32 sums.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from train_jax import bfloat16
from train_jax.run.errors import check_choice


class SimpleRNNCarry(NamedTuple):
    h: jax.Array  # f32[B, H], the output


class GRUCarry(NamedTuple):
    h: jax.Array  # f32[B, H], the output


class LSTMCarry(NamedTuple):
    c: jax.Array  # f32[B, H], the memory
    h: jax.Array  # f32[B, H], the output


class Cell(NamedTuple):
    """What the scan and the initialisers have to know of a cell. Hashable: a static argument."""

    step: Callable  # (params, carry, projected, drop) -> carry
    carry: type  # of the named carry
    gates: int  # G
    two_biases: bool  # bias is f32[2, G*H]: row 0 goes with the input, row 1 with the recurrence
    forget_gate: int | None  # index of the gate whose bias starts at 1


def simple_rnn(params, carry, projected, drop=None) -> SimpleRNNCarry:
    """Elman's network (Elman 1990, "Finding structure in time"), with the tanh of Keras.

    h' = tanh(x W + h U + b)
    """
    recurrent = times(dropped(carry.h, drop), params["recurrent_kernel"])
    return SimpleRNNCarry(h=jnp.tanh(projected + recurrent))


def gru(params, carry, projected, drop=None) -> GRUCarry:
    """Gated recurrent unit that resets after the matmul (Cho et al. 2014, arXiv 1406.1078v1).

    Gates in the order z, r, n, as Keras (reset_after=True); the form of cuDNN and PyTorch.
        z  = s(x W_z + b_z + h U_z + a_z)                    update gate
        r  = s(x W_r + b_r + h U_r + a_r)                    reset gate
        n  = tanh(x W_n + b_n + r . (h U_n + a_n))           candidate
        h' = z . h + (1 - z) . n
    `bias` holds b in row 0 and a in row 1. z = 1 keeps the old state, as in Cho et al., Keras and
    PyTorch; Chung et al. 2014 call that 1 - z.
    """
    recurrent = times(dropped(carry.h, drop), params["recurrent_kernel"]) + params["bias"][1:]
    x_z, x_r, x_n = jnp.split(projected, 3, axis=-1)
    h_z, h_r, h_n = jnp.split(recurrent, 3, axis=-1)
    z = jax.nn.sigmoid(x_z + h_z)
    r = jax.nn.sigmoid(x_r + h_r)
    n = jnp.tanh(x_n + r * h_n)
    return GRUCarry(h=z * carry.h + (1 - z) * n)


def gru_reset_before(params, carry, projected, drop=None) -> GRUCarry:
    """Gated recurrent unit that resets before the matmul (Cho et al. 2014, arXiv 1406.1078v3).

    Gates in the order z, r, n, as Keras (reset_after=False).
        z  = s(x W_z + h U_z + b_z)                          update gate
        r  = s(x W_r + h U_r + b_r)                          reset gate
        n  = tanh(x W_n + (r . h) U_n + b_n)                 candidate
        h' = z . h + (1 - z) . n
    The candidate waits for r, so this form alone needs two recurrent matmuls per step, together of
    the size of the one of `gru`.
    """
    units = carry.h.shape[-1]
    h = dropped(carry.h, drop)
    u_zr, u_n = jnp.split(params["recurrent_kernel"], [2 * units], axis=-1)
    x_zr, x_n = jnp.split(projected, [2 * units], axis=-1)
    z, r = jnp.split(jax.nn.sigmoid(x_zr + times(h, u_zr)), 2, axis=-1)
    n = jnp.tanh(x_n + times(r * h, u_n))
    return GRUCarry(h=z * carry.h + (1 - z) * n)


def lstm(params, carry, projected, drop=None) -> LSTMCarry:
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with a forget gate (Gers et al. 2000).

    Gates in the order i, f, g, o, as Keras (which calls g "c") and PyTorch; no peepholes.
        i  = s(x W_i + h U_i + b_i)                          input gate
        f  = s(x W_f + h U_f + b_f)                          forget gate
        g  = tanh(x W_g + h U_g + b_g)                       candidate
        o  = s(x W_o + h U_o + b_o)                          output gate
        c' = f . c + i . g
        h' = o . tanh(c')
    """
    gates = projected + times(dropped(carry.h, drop), params["recurrent_kernel"])
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    i = jax.nn.sigmoid(i)
    f = jax.nn.sigmoid(f)
    g = jnp.tanh(g)
    o = jax.nn.sigmoid(o)
    c = f * carry.c + i * g
    return LSTMCarry(c=c, h=o * jnp.tanh(c))


SIMPLE_RNN = Cell(simple_rnn, SimpleRNNCarry, gates=1, two_biases=False, forget_gate=None)
GRU = Cell(gru, GRUCarry, gates=3, two_biases=True, forget_gate=None)
GRU_RESET_BEFORE = Cell(gru_reset_before, GRUCarry, gates=3, two_biases=False, forget_gate=None)
LSTM = Cell(lstm, LSTMCarry, gates=4, two_biases=False, forget_gate=1)
CELLS = {
    "simple_rnn": SIMPLE_RNN,
    "gru": GRU,
    "gru_reset_before": GRU_RESET_BEFORE,
    "lstm": LSTM,
}  # by their names in a config


def make_cell(name, *, reset_after=True) -> Cell:
    """The cell of a config. `reset_after` chooses the form of the GRU, as in Keras."""
    if not reset_after and name != "gru":
        raise ValueError(f"reset_after=False is an option of 'gru' only, got cell {name!r}")
    check_choice("cell", name, CELLS)
    return CELLS[name] if reset_after else GRU_RESET_BEFORE


def dropped(h, drop):
    """f32[B, H]: h as the recurrent matmul sees it."""
    return h if drop is None else h * drop


def times(x, kernel):
    """[..., D] @ [D, F] in the dtype of x; with float32 sums where the kernel is bfloat16."""
    return bfloat16.dot(x, kernel).astype(x.dtype) if kernel.dtype == jnp.bfloat16 else x @ kernel


def project(params, x):
    """f32[..., G*H]: the part of every gate that depends on the input f32[..., D] alone."""
    bias = params["bias"][0] if params["bias"].ndim == 2 else params["bias"]
    return times(x, params["kernel"]) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def zero_carry(cell, batch, units, dtype=jnp.float32):
    """The carry before the first step: zeros f32[B, H]."""
    return cell.carry(*(jnp.zeros((batch, units), dtype) for _ in cell.carry._fields))


def kernel_init(key, shape, dtype=jnp.float32):
    """Glorot uniform over the whole f32[D, G*H], so its fan-out is G*H, as in Keras."""
    return jax.nn.initializers.glorot_uniform()(key, shape, dtype)


def orthogonal_gates(key, shape, dtype=jnp.float32):
    """f32[H, G*H] of random orthogonal f32[H, H], one per gate (Saxe et al. 2014).

    At the start each gate then keeps the length of h. Not what Keras does: see `orthogonal_kernel`.
    """
    units, columns = shape
    keys = jax.random.split(key, columns // units)
    blocks = [_orthogonal(k, (units, units), dtype) for k in keys]
    return rearrange(blocks, "g h k -> h (g k)")


def orthogonal_kernel(key, shape, dtype=jnp.float32):
    """f32[H, G*H] with orthonormal rows: what Keras 3 makes of 'orthogonal'.

    One matrix over all gates: U U^T = I, and no block is orthogonal. The entries of a block are
    smaller than in `orthogonal_gates`, by sqrt(G) on average; for G = 1 the two are the same thing.
    """
    return _orthogonal(key, shape, dtype)


def _orthogonal(key, shape, dtype):
    """In float32, for which there is a QR decomposition, unless the dtype is wider."""
    wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
    return jax.nn.initializers.orthogonal()(key, shape, wide).astype(dtype)


def initial_bias(cell, units, dtype=jnp.float32):
    """Zeros, but 1 for the forget gate (Jozefowicz et al. 2015), as in Keras."""
    bias = jnp.zeros((cell.gates, units), dtype)
    if cell.forget_gate is not None:
        bias = bias.at[cell.forget_gate].set(1)
    bias = bias.reshape(-1)
    return jnp.stack([bias, jnp.zeros_like(bias)]) if cell.two_biases else bias
