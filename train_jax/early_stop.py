"""EarlyStopping with the semantics of Keras 3, as a pure state machine of arrays.

The same decisions as keras.callbacks.EarlyStopping (3.15) with restore_best_weights=True. flax's
EarlyStopping(patience=2) stops after three bad epochs, Keras after two, hence our own.

What is surprising, and matched:
  - The first epoch considered is the best so far whatever its value is, NaN and values worse than
    `baseline` included: its weights are the ones to restore if no later epoch improves. After a
    NaN there nothing ever improves. A NaN later on is simply a bad epoch.
  - `baseline` does not decide which epoch is best. It only keeps `wait` counting: until a value is
    both the best so far and better than the baseline, patience runs. An epoch that is the best so
    far never stops the training, even when patience is over.
  - Epochs before `start_from_epoch` are ignored altogether.

Numbers are float32; see train_jax/plateau.py for what that means at the edge of `min_delta`.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from train_jax.plateau import check_count, check_min_delta, improves, worst_value


class EarlyStopState(NamedTuple):
    """Changes once an epoch, and belongs in the checkpoint."""

    best: jax.Array  # f32[], best value so far; the worst possible one before the first
    best_epoch: (
        jax.Array
    )  # i32[], the epoch of `best`, whose weights to restore; -1 before the first
    wait: jax.Array  # i32[], epochs since the last one that restarted the patience
    stop: jax.Array  # bool[], stop training now; stays True


def init(*, mode) -> EarlyStopState:
    """The state before the first epoch. `mode` is 'min' or 'max'."""
    return EarlyStopState(
        best=worst_value(mode),
        best_epoch=jnp.array(-1, jnp.int32),
        wait=jnp.array(0, jnp.int32),
        stop=jnp.array(False),
    )


def update(
    state, value, epoch, *, mode, patience, min_delta, baseline, start_from_epoch
) -> EarlyStopState:
    """One epoch of keras.callbacks.EarlyStopping.

    Pure and traceable; the settings are Python numbers, so one compiled update serves every epoch.

    Args:
      state: the state after the epoch before.
      value: f32[], the monitored quantity of this epoch; may be NaN or infinite.
      epoch: i32[], this epoch, counted from 0.
      mode: 'min' if smaller values are better, 'max' if larger ones are.
      patience: epochs without improvement before the stop; 0 and 1 mean the same.
      min_delta: absolute; an improvement must be larger than this.
      baseline: a value that must be improved on before `wait` restarts, or None.
      start_from_epoch: epochs at the start that are not considered.

    Returns:
      The state after this epoch.

    Raises:
      ValueError: a setting is outside its range.
    """
    validate(
        mode=mode,
        patience=patience,
        min_delta=min_delta,
        baseline=baseline,
        start_from_epoch=start_from_epoch,
    )
    value = jnp.asarray(value, jnp.float32)
    epoch = jnp.asarray(epoch, jnp.int32)

    first = state.best_epoch < 0
    better = improves(value, state.best, mode=mode, min_delta=min_delta) | first
    restart = better
    if baseline is not None:
        restart = better & improves(value, baseline, mode=mode, min_delta=min_delta)
    wait = jnp.where(restart, 0, state.wait + 1)
    after = EarlyStopState(
        best=jnp.where(better, value, state.best),
        best_epoch=jnp.where(better, epoch, state.best_epoch),
        wait=wait,
        stop=state.stop | (~better & (wait >= patience)),
    )
    considered = epoch >= start_from_epoch
    return jax.tree.map(lambda new, old: jnp.where(considered, new, old), after, state)


def resume(state, *, patience) -> EarlyStopState:
    """The state of a run that goes on with `patience`: one with more patience stops later."""
    return state._replace(stop=state.stop & (state.wait >= patience))


def validate(*, mode, patience, min_delta, baseline, start_from_epoch):
    """Raises ValueError, naming the value, if a setting of `update` is outside its range."""
    worst_value(mode)
    check_count("patience", patience)
    check_min_delta(min_delta)
    if baseline is not None and not math.isfinite(baseline):
        raise ValueError(f"baseline must be finite or None, got {baseline}")
    check_count("start_from_epoch", start_from_epoch)
