"""The compiled functions of a run and the state that they begin with."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train_jax import early_stop as early_stop_lib
from train_jax import plateau as plateau_lib
from train_jax import state as state_lib
from train_jax.optim import make_optimizer, make_schedule
from train_jax.step import make_epoch_end, make_eval_step, make_train_step


class Program(NamedTuple):
    """The compiled functions of a run."""

    train_step: Callable  # with `Task.loss`
    train_step_at: Callable  # epoch -> the step with `Task.loss_at` of it
    eval_step: Callable
    epoch_end: Callable
    learning_rate: Callable  # of a step, before the plateau scales it


def build(
    task, mesh, *, seed, prng, steps, epochs, batch_size, ema_decay, optimizer, schedule, plateau,
    early_stop,
):  # fmt: skip
    """The compiled functions and the state before the first step. ValueError on a bad setting."""
    if not 0 <= seed < 2**32:  # jax.random.key takes its lower half, and says nothing
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}")
    schedule = dict(schedule)
    warmup_steps = round(schedule.pop("warmup_epochs") * steps)
    rate = make_schedule(**schedule, warmup_steps=warmup_steps, total_steps=epochs * steps)
    transformation = make_optimizer(**optimizer, schedule=rate)
    base_lr = schedule["learning_rate"]

    @functools.cache
    def train_step(loss):
        return make_train_step(loss=loss, optimizer=transformation, ema_decay=ema_decay, mesh=mesh)

    loss_at = task.loss_at or (lambda epoch: task.loss)
    program = Program(
        train_step=train_step(task.loss),
        train_step_at=lambda epoch: train_step(loss_at(epoch)),
        eval_step=make_eval_step(task.evaluate, mesh),
        epoch_end=make_epoch_end(
            plateau=_bind(plateau_lib, plateau, base_lr=base_lr),
            early_stop=_bind(early_stop_lib, early_stop),
            mesh=mesh,
        ),
        learning_rate=rate,
    )
    key = jax.random.key(seed, impl=prng)
    variables = jax.jit(task.init)(jax.random.fold_in(key, 2**31 - 1))  # no step has this number
    batch = {
        name: jax.ShapeDtypeStruct((batch_size, *array.shape[1:]), array.dtype)
        for name, array in (task.train | {"mask": np.zeros(1, np.float32)}).items()
    }
    metrics = jax.eval_shape(
        task.loss, variables["params"], variables.get("batch_stats", {}), batch, key
    )[1][0]
    state = state_lib.create(
        variables=variables,
        optimizer=transformation,
        plateau=plateau_lib.init(mode=plateau["mode"]),
        early_stop=early_stop_lib.init(mode=early_stop["mode"]),
        metrics=jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), metrics),
        ema_decay=ema_decay,
        key=key,
    )
    return program, state


def _bind(module, settings, **more):
    """`module.update` with its settings, checked; None if they say enabled=False."""
    settings = dict(settings) | more
    enabled, _ = settings.pop("enabled"), settings.pop("monitor")
    module.validate(**settings)
    return functools.partial(module.update, **settings) if enabled else None
