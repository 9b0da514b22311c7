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

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from train_jax.plateau import check_count, check_min_delta, improves, worst_value


class EarlyStopState(NamedTuple):
    """Changes once per epoch, and belongs in the checkpoint."""

    best: jax.Array  # f32[], best value so far; the worst possible one before the first
    best_epoch: jax.Array  # i32[], whose weights to restore; -1 before the first
    wait: jax.Array  # i32[], epochs since the last one that restarted the patience
    stop: jax.Array  # bool[], stop training now; stays True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """ValueError, which names the setting and its value, if one is outside its range."""

    mode: str  # 'min' if smaller values are better, 'max' if larger ones are
    patience: int  # epochs without improvement before the stop; 0 and 1 mean the same
    min_delta: float  # absolute; an improvement must be larger than this
    baseline: float | None  # a value that must be improved on before `wait` restarts
    start_from_epoch: int  # epochs at the start that are not considered
    enabled: bool = True  # these two are for the training loop: whether it calls `update` ...
    monitor: str = ""  # ... and with which metric

    def __post_init__(self):
        worst_value(self.mode)
        check_count("patience", self.patience)
        check_min_delta(self.min_delta)
        number = isinstance(self.baseline, int | float) and not isinstance(self.baseline, bool)
        if self.baseline is not None and not (number and math.isfinite(self.baseline)):
            raise ValueError(f"baseline must be finite or None, got {self.baseline!r}")
        check_count("start_from_epoch", self.start_from_epoch)


def init(settings: Settings) -> EarlyStopState:
    """The state before the first epoch."""
    return EarlyStopState(
        best=worst_value(settings.mode),
        best_epoch=jnp.array(-1, jnp.int32),
        wait=jnp.array(0, jnp.int32),
        stop=jnp.array(False),
    )


def update(state: EarlyStopState, value, epoch, settings: Settings) -> EarlyStopState:
    """One epoch of keras.callbacks.EarlyStopping.

    Pure and traceable; the settings are Python numbers, so one compiled update serves every epoch.

    Args:
      state: the state after the epoch before.
      value: f32[], the monitored quantity of this epoch; may be NaN or infinite.
      epoch: i32[], this epoch, counted from 0.
      settings: the same at every epoch.

    Returns:
      The state after this epoch.
    """
    value = jnp.asarray(value, jnp.float32)
    epoch = jnp.asarray(epoch, jnp.int32)

    first = state.best_epoch < 0
    better = improves(value, state.best, settings) | first
    restart = better
    if settings.baseline is not None:
        restart = better & improves(value, settings.baseline, settings)
    wait = jnp.where(restart, 0, state.wait + 1)
    after = EarlyStopState(
        best=jnp.where(better, value, state.best),
        best_epoch=jnp.where(better, epoch, state.best_epoch),
        wait=wait,
        stop=state.stop | (~better & (wait >= settings.patience)),
    )
    considered = epoch >= settings.start_from_epoch
    return jax.tree.map(lambda new, old: jnp.where(considered, new, old), after, state)


def resume(state: EarlyStopState, settings: Settings) -> EarlyStopState:
    """The state of a run that goes on with these settings: with more patience it stops later."""
    return state._replace(stop=state.stop & (state.wait >= settings.patience))
