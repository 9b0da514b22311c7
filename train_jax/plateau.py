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

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class PlateauState(NamedTuple):
    """Changes once per epoch, and belongs in the checkpoint."""

    scale: jax.Array  # f32[], multiplies the learning rate of the schedule
    best: jax.Array  # f32[], best value so far; the worst possible one before the first epoch
    wait: jax.Array  # i32[], bad epochs since the best, the last reduction or the cooldown
    cooldown: jax.Array  # i32[], epochs of cooldown left
    started: jax.Array  # bool[], whether `best` is a value that was seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """ValueError, which names the setting and its value, if one is outside its range."""

    base_lr: float  # the learning rate at scale 1, > 0
    mode: str  # 'min' if smaller values are better, 'max' if larger ones are
    factor: float  # in (0, 1), multiplies the learning rate at each reduction
    patience: int  # bad epochs in a row before a reduction; 0 and 1 mean the same
    min_delta: float  # absolute; an improvement must be larger than this
    cooldown: int  # epochs of rest after a reduction
    min_lr: float  # lower bound of the learning rate that it leaves; see `scale_at`
    enabled: bool = True  # these two are for the training loop: whether it calls `update` ...
    monitor: str = ""  # ... and with which metric

    def __post_init__(self):
        if not 0 < self.base_lr < math.inf:
            raise ValueError(f"base_lr must be finite and > 0, got {self.base_lr}")
        worst_value(self.mode)
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}")
        check_count("patience", self.patience)
        check_count("cooldown", self.cooldown)
        check_min_delta(self.min_delta)
        if not 0 <= self.min_lr < math.inf:
            raise ValueError(f"min_lr must be finite and >= 0, got {self.min_lr}")


def init(settings: Settings) -> PlateauState:
    """The state before the first epoch, at full learning rate."""
    return PlateauState(
        scale=jnp.array(1, jnp.float32),
        best=worst_value(settings.mode),
        wait=jnp.array(0, jnp.int32),
        cooldown=jnp.array(0, jnp.int32),
        started=jnp.array(False),
    )


def update(state: PlateauState, value, settings: Settings) -> PlateauState:
    """One epoch of keras.callbacks.ReduceLROnPlateau.

    `base_lr * state.scale` is what Keras calls the learning rate. Pure and traceable; the settings
    are Python numbers, so one compiled update serves every epoch.

    Args:
      state: the state after the epoch before.
      value: f32[], the monitored quantity of this epoch; may be NaN or infinite.
      settings: the same at every epoch.

    Returns:
      The state after this epoch.
    """
    value = jnp.asarray(value, jnp.float32)
    lowest = settings.min_lr / settings.base_lr

    better = improves(value, state.best, settings) | ~state.started
    rest = jnp.maximum(state.cooldown - 1, 0)
    # Keras also sets wait to 0 in the cooldown: it is 0 already, from the reduction that began it.
    wait = jnp.where(better, 0, jnp.where(rest > 0, state.wait, state.wait + 1))
    impatient = ~better & (rest == 0) & (wait >= settings.patience)
    reduce = impatient & (state.scale > lowest)
    reduced = jnp.maximum(state.scale * settings.factor, lowest)
    return PlateauState(
        scale=jnp.where(reduce, reduced, state.scale),
        best=jnp.where(better, value, state.best),
        wait=jnp.where(reduce, 0, wait),
        cooldown=jnp.where(reduce, settings.cooldown, rest),
        started=jnp.array(True),
    )


def scale_at(state: PlateauState, rate, settings: Settings):
    """What multiplies the updates at `rate` f32[], that of the schedule: f32[].

    It takes the learning rate no lower than min_lr, which the schedule alone still may: Keras has
    no schedule beside its callback, where `scale` is all there is.
    """
    if not settings.enabled or not settings.min_lr:
        return state.scale
    share = settings.min_lr / jnp.asarray(rate, jnp.float32)  # infinite at a rate of 0
    return jnp.maximum(state.scale, jnp.minimum(share, 1))


def improves(value, best, settings):
    """bool[]: is f32[] value better than f32[] best by more than min_delta? Never if one is NaN."""
    if settings.mode == "min":
        return value + settings.min_delta < best
    return value - settings.min_delta > best


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
