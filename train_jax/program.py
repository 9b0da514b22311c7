"""The compiled functions of a run and the state that they begin with."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train_jax import early_stop, plateau
from train_jax import state as state_lib
from train_jax.optim import make_optimizer, make_schedule
from train_jax.settings import Settings
from train_jax.step import make_epoch_end, make_eval_step, make_train_step
from train_jax.task import Task


class Program(NamedTuple):
    """The compiled functions of a run."""

    train_step_at: Callable  # epoch -> the step with its loss
    eval_step: Callable
    epoch_end: Callable
    learning_rate: Callable  # of a step, before the plateau scales it


def build(task: Task, mesh, settings: Settings, *, steps: int):
    """The compiled functions and the state before the first step. ValueError on a bad setting.

    `steps`: of every epoch.
    """
    schedule = settings.schedule
    rate = make_schedule(
        name=schedule.name, learning_rate=schedule.learning_rate, decay=schedule.decay,
        final_fraction=schedule.final_fraction, total_steps=settings.epochs * steps,
        warmup_steps=round(schedule.warmup_epochs * steps),
    )  # fmt: skip
    transformation = make_optimizer(**dataclasses.asdict(settings.optimizer), schedule=rate)

    @functools.cache
    def train_step(loss):
        return make_train_step(
            loss=loss, optimizer=transformation, ema_decay=settings.ema_decay, mesh=mesh,
            scale=lambda state: plateau.scale_at(
                state.plateau, rate(state.step), settings.plateau
            ),
        )  # fmt: skip

    loss_at = task.loss_at or (lambda epoch: task.loss)
    program = Program(
        train_step_at=lambda epoch: train_step(loss_at(epoch)),
        eval_step=make_eval_step(task.evaluate, mesh),
        epoch_end=make_epoch_end(
            plateau=settings.plateau, early_stop=settings.early_stop, mesh=mesh
        ),
        learning_rate=rate,
    )
    key = jax.random.key(settings.seed, impl=settings.prng)
    variables = jax.jit(task.init)(jax.random.fold_in(key, 2**31 - 1))  # no step has this number
    batch = {
        name: jax.ShapeDtypeStruct((settings.batch_size, *array.shape[1:]), array.dtype)
        for name, array in (task.train | {"mask": np.zeros(1, np.float32)}).items()
    }
    metrics = jax.eval_shape(
        task.loss, variables["params"], variables.get("batch_stats", {}), batch, key
    )[1][0]
    state = state_lib.create(
        variables=variables,
        optimizer=transformation,
        plateau=plateau.init(settings.plateau),
        early_stop=early_stop.init(settings.early_stop),
        metrics=jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), metrics),
        ema_decay=settings.ema_decay,
        key=key,
    )
    return program, state
