"""Recurrent layers: a cell of cells.py scanned over time, and flax modules around it.

B = batch, T = time steps, D = input features, H = units, G = gates of the cell.

The mask f32[B, T] or bool[B, T] may have zeros anywhere. A masked step passes the carry through and
emits zeros, so the result is that of the sequence without its masked steps, and the final carry is
the one after the last real step (with reverse: after the first). PyTorch's packed sequences do the
same. Keras passes the carry through too, but by default repeats the output of the step before:
`zero_output_for_mask=True` makes its layers behave as here, and its Bidirectional sets that itself.

A row whose steps are all masked returns its initial carry, and the h of that as its last output,
where Keras returns zeros.

With `reverse` the scan runs from the last step to the first, and the outputs stay where their
inputs are. Keras's go_backwards returns them in the order of computation; its Bidirectional turns
them round again.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from seq_jax import cells

MERGES = ("concat", "sum")
KERNELS = ("kernel", "recurrent_kernel")
MAX_UNROLL = 32  # steps; more would compile for long
RECURRENT_INITS = {"gates": cells.orthogonal_gates, "kernel": cells.orthogonal_kernel}


def step(cell, params, carry, x, mask=None):
    """One step of a stream: (carry, x f32[B, D], mask f32[B]) -> (carry, output f32[B, H]).

    Pure; feeding it the steps of a sequence one by one equals `scan`. Start with
    `cells.zero_carry`. ValueError as `scan`.
    """
    mask = None if mask is None else mask[:, None]
    check_shapes(cell, params, x[:, None], carry, mask)
    mask = None if mask is None else mask.astype(bool)
    return advance(cell, params, carry, cells.project(params, only_real(x, mask)), mask, None)


def scan(
    cell,
    params,
    x,
    *,
    carry=None,
    mask=None,
    reverse=False,
    return_sequences=True,
    unroll=0,
    drop=None,
):
    """Runs a cell over time.

    The input of all steps is projected by one matmul; the scan itself has one matmul per step.

    Args:
      cell: of `cells.make_cell`.
      params: its parameters; see cells.py.
      x: f32[B, T, D].
      carry: the initial one; None for zeros.
      mask: f32[B, T] or bool[B, T], 0 for the steps to leave out; None if there are none.
      reverse: run from the last step to the first.
      return_sequences: whether to return the output of every step or of the last real one.
      unroll: steps in one iteration of the compiled loop; 0: 1 on a CPU, elsewhere up to 32. The
        host of a GPU starts each iteration; a sequence without a loop is part of one graph.
      drop: f32[B, H] or None, see cells.py: the same at every step.

    Returns:
      The final carry, and the outputs f32[B, T, H] or the last output f32[B, H].

    Raises:
      ValueError: shapes do not fit.
    """
    carry = check_shapes(cell, params, x, carry, mask)
    mask = None if mask is None else rearrange(mask.astype(bool), "b t -> t b 1")
    x = only_real(rearrange(x, "b t d -> t b d"), mask)
    projected = cells.project(params, x)  # f32[T, B, G*H]

    def body(carry, inputs):
        carry, output = advance(cell, params, carry, *inputs, drop)
        return carry, output if return_sequences else None

    def run(unroll):
        return lambda *inputs: jax.lax.scan(body, *inputs, reverse=reverse, unroll=unroll)

    inputs = carry, (projected, mask)
    if unroll or not isinstance(x.shape[0], int):  # a program may be exported for any length
        carry, outputs = run(unroll or 1)(*inputs)
    else:
        unrolled = run(min(len(x), MAX_UNROLL))
        carry, outputs = jax.lax.platform_dependent(*inputs, cpu=run(1), default=unrolled)
    return carry, rearrange(outputs, "t b h -> b t h") if return_sequences else carry.h


def only_real(x, mask):
    """x f32[..., D] with zeros where mask bool[..., 1] is False. `advance` drops what a cell makes
    of a masked step, but a NaN in it would still reach the gradients, as 0 times NaN."""
    return x if mask is None else jnp.where(mask, x, 0)


def advance(cell, params, carry, projected, mask, drop):
    """(carry, projected f32[B, G*H], mask bool[B, 1]) -> (carry, output): one masked step."""
    new = cell.step(params, carry, projected, drop)
    if mask is None:
        return new, new.h
    new = jax.tree.map(lambda new, old: jnp.where(mask, new, old), new, carry)
    return new, jnp.where(mask, new.h, 0)


def check_shapes(cell, params, x, carry, mask):
    """The initial carry. Raises ValueError, naming the shapes or dtypes, if arrays do not fit: all
    have one dtype, but that kernels may be bfloat16 where all else is float32."""
    units = params["recurrent_kernel"].shape[0]
    if x.ndim != 3 or x.shape[2] != params["kernel"].shape[0]:
        raise ValueError(f"x must be [B, T, {params['kernel'].shape[0]}], got {x.shape}")
    for name, array in params.items():
        rounded = name in KERNELS and x.dtype == jnp.float32 and array.dtype == jnp.bfloat16
        if array.dtype != x.dtype and not rounded:
            raise ValueError(f"x is {x.dtype} and {name} is {array.dtype}: give one dtype to both")
    if mask is not None and mask.shape != x.shape[:2]:
        raise ValueError(f"mask must be [B, T] = {x.shape[:2]}, got {mask.shape}")
    if carry is None:
        return cells.zero_carry(cell, x.shape[0], units, x.dtype)
    if not isinstance(carry, cell.carry) or any(jnp.shape(c) != (len(x), units) for c in carry):
        found = (type(carry).__name__, *map(jnp.shape, jax.tree.leaves(carry)))
        raise ValueError(f"carry must be {cell.carry.__name__} of {len(x), units}, got {found}")
    for name, array in carry._asdict().items():
        if array.dtype != x.dtype:
            raise ValueError(
                f"{name} of the carry is {array.dtype} and x is {x.dtype}: give one dtype to both"
            )
    return carry


def init_params(cell, key, features: int, units: int, recurrent_init="gates") -> dict:
    """The parameters of `scan` for inputs f32[B, T, D = features] and H = units; see cells.py.

    `recurrent_init`: one of RECURRENT_INITS. Use the `cell` of `cells.make_cell`.
    """
    columns = cell.gates * units
    input_key, recurrent_key = jax.random.split(key)
    return {
        "kernel": cells.kernel_init(input_key, (features, columns)),
        "recurrent_kernel": RECURRENT_INITS[recurrent_init](recurrent_key, (units, columns)),
        "bias": cells.initial_bias(cell, units),
    }


class Recurrent(nn.Module):
    """One recurrent layer, initialised as in Keras but for `recurrent_init`.

    Parameters, carry and outputs are f32 (see cells.py).
    In training, dropout draws from the 'dropout' key. Both kinds use one mask per sequence, the
    same at every step and for every gate (Gal & Ghahramani 2016, the tied form). With recurrent
    dropout Keras draws one for each gate, which takes a matmul for each.
    """

    cell: str  # simple_rnn, gru or lstm
    units: int
    reset_after: bool = True  # gru only: reset after the recurrent matmul, with a second bias
    return_sequences: bool = True  # the output of every step, or of the last real one
    reverse: bool = False  # run from the last step to the first; outputs stay with their inputs
    dropout: float = 0.0  # share of the input features set to 0
    recurrent_dropout: float = 0.0  # share of h set to 0 where it enters the recurrent matmul
    recurrent_init: str = "gates"  # 'gates': each gate orthogonal; 'kernel': one matrix, as Keras
    unroll: int = 0  # steps in one iteration of the compiled loop; 0: see `scan`
    bfloat16: bool = False  # matrix products, with f32 sums

    @nn.compact
    def __call__(self, x, *, train: bool, mask=None, initial_carry=None):
        """x f32[B, T, D], mask [B, T] -> (carry, outputs f32[B, T, H] or f32[B, H]); see `scan`.

        Handing the carry of one call to the next as `initial_carry` continues the sequence.
        """
        cell = cells.make_cell(self.cell, reset_after=self.reset_after)
        self.validate()
        columns = cell.gates * self.units
        params = {
            "kernel": self.param("kernel", cells.kernel_init, (x.shape[-1], columns)),
            "recurrent_kernel": self.param(
                "recurrent_kernel", RECURRENT_INITS[self.recurrent_init], (self.units, columns)
            ),
            "bias": self.param("bias", lambda key: cells.initial_bias(cell, self.units)),
        }
        if self.bfloat16:
            params |= {name: params[name].astype(jnp.bfloat16) for name in KERNELS}
        drop = None
        if train and self.dropout > 0:
            x = x * self.dropout_mask(self.dropout, x.shape[0], 1, x.shape[2])
        if train and self.recurrent_dropout > 0:
            drop = self.dropout_mask(self.recurrent_dropout, x.shape[0], self.units)
        return scan(
            cell,
            params,
            x,
            carry=initial_carry,
            mask=mask,
            reverse=self.reverse,
            return_sequences=self.return_sequences,
            unroll=self.unroll,
            drop=drop,
        )

    def dropout_mask(self, rate, *shape):
        """f32[shape]: 0 with probability `rate`, else 1 / (1 - rate)."""
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, shape)
        return keep.astype(jnp.float32) / (1 - rate)

    def validate(self):
        """Raises ValueError, naming the value, if a field is outside its range."""
        if self.units < 1:
            raise ValueError(f"units must be >= 1, got {self.units}")
        for name in ("dropout", "recurrent_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.recurrent_init not in RECURRENT_INITS:
            choices = tuple(RECURRENT_INITS)
            raise ValueError(
                f"recurrent_init must be one of {choices}, got {self.recurrent_init!r}"
            )
        if self.unroll < 0:
            raise ValueError(f"unroll must be >= 0, got {self.unroll}")


class BidirectionalCarry(NamedTuple):
    forward: Any  # carry after the last real step
    backward: Any  # carry after the first real step


class Bidirectional(nn.Module):
    """Two layers of the same kind, one in each direction (Schuster & Paliwal 1997).

    `layer` is the one that reads forward; its parameters and those of its twin are called 'forward'
    and 'backward'. Outputs are f32[B, T, 2H], forward first, or their sum f32[B, T, H]; without
    return_sequences the last output of each direction, f32[B, 2H] or f32[B, H].
    """

    layer: Recurrent
    merge: str = "concat"  # concat or sum

    @nn.compact
    def __call__(self, x, *, train: bool, mask=None, initial_carry=None):
        """As Recurrent, but both carries are a BidirectionalCarry."""
        if self.merge not in MERGES:
            raise ValueError(f"merge must be one of {MERGES}, got {self.merge!r}")
        if self.layer.reverse:
            raise ValueError("layer reads forward in a Bidirectional, got reverse=True")
        carries = BidirectionalCarry(None, None) if initial_carry is None else initial_carry
        if not isinstance(carries, BidirectionalCarry):
            raise ValueError(
                "initial_carry must be a BidirectionalCarry, one carry per direction, got "
                f"{type(carries).__name__}"
            )
        forward = self.layer.clone(parent=self, name="forward")
        backward = self.layer.clone(parent=self, name="backward", reverse=True)
        ahead, y = forward(x, train=train, mask=mask, initial_carry=carries.forward)
        back, z = backward(x, train=train, mask=mask, initial_carry=carries.backward)
        y = jnp.concatenate([y, z], axis=-1) if self.merge == "concat" else y + z
        return BidirectionalCarry(ahead, back), y
