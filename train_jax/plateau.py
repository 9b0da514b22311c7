"""ReduceLROnPlateau with the semantics of Keras 3, as a pure state machine of arrays.

The same decisions as keras.callbacks.ReduceLROnPlateau (3.15): epochs are counted, `min_delta` is
absolute, and `patience` bad epochs in a row lower the learning rate. optax.contrib's transformation
of the same name counts calls and compares relatively, hence our own.

What is surprising, and matched:
  - The first value is the best so far whatever it is. If it is NaN, nothing ever improves on it.
    A NaN later on is simply a bad epoch.
  - After a reduction with `cooldown` = c, the next c - 1 epochs are quiet; the c-th ends the
    cooldown and already counts as a bad epoch if it is one. `wait` is 0 during the cooldown, but
    an improvement is noticed.
  - At `min_lr` nothing is reduced, so no cooldown starts and `wait` goes on growing.

Numbers are float32, as Keras compares them; Keras adds `min_delta` in float64 first, so a value
that misses the threshold by one unit in the last place may be judged otherwise.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class PlateauState(NamedTuple):
    """Changes once an epoch, and belongs in the checkpoint."""

    scale: jax.Array  # f32[], multiplies the learning rate of the schedule
    best: jax.Array  # f32[], best value so far; the worst possible one before the first epoch
    wait: jax.Array  # i32[], bad epochs since the best, the last reduction or the cooldown
    cooldown: jax.Array  # i32[], epochs of cooldown left
    started: jax.Array  # bool[], whether `best` is a value that was seen


def init(*, mode) -> PlateauState:
    """The state before the first epoch, at full learning rate. `mode` is 'min' or 'max'."""
    return PlateauState(
        scale=jnp.array(1, jnp.float32),
        best=worst_value(mode),
        wait=jnp.array(0, jnp.int32),
        cooldown=jnp.array(0, jnp.int32),
        started=jnp.array(False),
    )


def update(
    state, value, *, base_lr, mode, factor, patience, min_delta, cooldown, min_lr
) -> PlateauState:
    """One epoch of keras.callbacks.ReduceLROnPlateau.

    `base_lr * state.scale` is what Keras calls the learning rate. Pure and traceable; the settings
    are Python numbers, so one compiled update serves every epoch.

    Args:
      state: the state after the epoch before.
      value: f32[], the monitored quantity of this epoch; may be NaN or infinite.
      base_lr: the learning rate at scale 1, > 0.
      mode: 'min' if smaller values are better, 'max' if larger ones are.
      factor: in (0, 1), multiplies the learning rate at each reduction.
      patience: bad epochs in a row before a reduction; 0 and 1 mean the same.
      min_delta: absolute; an improvement must be larger than this.
      cooldown: epochs of rest after a reduction.
      min_lr: lower bound of the learning rate.

    Returns:
      The state after this epoch.

    Raises:
      ValueError: a setting is outside its range.
    """
    validate(
        base_lr=base_lr,
        mode=mode,
        factor=factor,
        patience=patience,
        min_delta=min_delta,
        cooldown=cooldown,
        min_lr=min_lr,
    )
    value = jnp.asarray(value, jnp.float32)
    lowest = min_lr / base_lr

    better = improves(value, state.best, mode=mode, min_delta=min_delta) | ~state.started
    rest = jnp.maximum(state.cooldown - 1, 0)
    # Keras also sets wait to 0 in the cooldown: it is 0 already, from the reduction that began it.
    wait = jnp.where(better, 0, jnp.where(rest > 0, state.wait, state.wait + 1))
    impatient = ~better & (rest == 0) & (wait >= patience)
    reduce = impatient & (state.scale > lowest)
    return PlateauState(
        scale=jnp.where(reduce, jnp.maximum(state.scale * factor, lowest), state.scale),
        best=jnp.where(better, value, state.best),
        wait=jnp.where(reduce, 0, wait),
        cooldown=jnp.where(reduce, cooldown, rest),
        started=jnp.array(True),
    )


def validate(*, base_lr, mode, factor, patience, min_delta, cooldown, min_lr):
    """Raises ValueError, naming the value, if a setting of `update` is outside its range."""
    if not 0 < base_lr < math.inf:
        raise ValueError(f"base_lr must be finite and > 0, got {base_lr}")
    worst_value(mode)
    if not 0 < factor < 1:
        raise ValueError(f"factor must be in (0, 1), got {factor}")
    check_count("patience", patience)
    check_count("cooldown", cooldown)
    check_min_delta(min_delta)
    if not 0 <= min_lr < math.inf:
        raise ValueError(f"min_lr must be finite and >= 0, got {min_lr}")


def improves(value, best, *, mode, min_delta):
    """bool[]: is f32[] value better than f32[] best by more than min_delta? Never if one is NaN."""
    if mode == "min":
        return value + min_delta < best
    return value - min_delta > best


def worst_value(mode):
    """f32[]: +inf for mode 'min', -inf for 'max'. Raises ValueError for any other mode."""
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
    return jnp.array(math.inf if mode == "min" else -math.inf, jnp.float32)


def check_count(name, value):
    """Raises ValueError unless value is a whole number >= 0."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a whole number of epochs >= 0, got {value}")


def check_min_delta(min_delta):
    """Raises ValueError unless min_delta is finite and >= 0."""
    if not 0 <= min_delta < math.inf:
        raise ValueError(f"min_delta must be finite and >= 0, got {min_delta}")
