"""The contract between a task (faces, sentences) and the training loop."""

import math
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from train_jax import early_stop, plateau
from train_jax.optim import make_optimizer, make_schedule
from train_jax.run.errors import naming

# A batch, or a whole split: arrays that share their first axis, N examples.
Batch = dict[str, Any]


class Task(NamedTuple):
    """What `train_jax.loop.fit` needs to know. Everything else about the task stays outside.

    In the functions, `batch` is a dict of arrays with one more entry: 'mask', f32[B], 0 for the
    rows that only fill up a ragged batch. Those rows repeat real examples, so that batch statistics
    see nothing but data; losses and metrics must weigh them 0.
    """

    # key -> {'params': ..., 'batch_stats': ...}
    init: Callable[[jax.Array], dict]
    # (params, batch_stats, batch, key) -> (loss f32[], (metrics, new batch_stats)), for training
    loss: Callable[..., tuple[jax.Array, tuple[dict, dict]]]
    # ({'params', 'batch_stats'}, batch) -> metrics, a dict of train_jax.metrics.Mean
    evaluate: Callable[[dict, Batch], dict]
    # arrays on the host; they are moved to the device once. 'length' i32[N], where it is there, has
    # a meaning: see epoch.py
    train: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    # JSON values that a checkpoint must agree on to be continued: data hash, class names ...
    identity: dict[str, Any]
    # the unit of the progress line, e.g. 'images'
    unit: str
    # epoch, from 0 -> its loss; equal ones for epochs that share a compiled step. None: `loss`
    loss_at: Callable[[int], Callable] | None = None
    # training steps in one compiled call on a CPU, whose backend runs a convolution 35 times slower
    # inside a loop over steps
    steps_per_call_on_cpu: int = 1
    # {name: variables -> float}: scores of the valid split that cannot be summed over batches, once
    # an epoch, on the host; 'val_NAME' in the row of the epoch
    scores: dict[str, Callable[[dict], float]] = types.MappingProxyType({})


def check_settings(config):
    """UserError, naming the field and its value, if a setting of the training cannot be: before the
    data is read."""
    c = config.to_dict()
    train = c["train"]
    with naming("train"):
        for name in ("epochs", "batch_size", "eval_batch_size"):
            if train[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {train[name]}")
        if train["steps_per_call"] < 0:
            raise ValueError(f"steps_per_call must be at least 0, got {train['steps_per_call']}")
        if not 0 <= train["seed"] < 2**32:  # jax.random.key takes its lower half, and says nothing
            raise ValueError(f"seed must be in [0, 2**32), got {train['seed']}")
        if not 0 <= train["ema_decay"] < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {train['ema_decay']}")
    with naming("schedule"):
        warmup = c["schedule"].pop("warmup_epochs")
        if not 0 <= warmup < math.inf:
            raise ValueError(f"warmup_epochs must be finite and >= 0, got {warmup}")
        schedule = make_schedule(**c["schedule"], warmup_steps=0, total_steps=1)
    with naming("optimizer"):
        make_optimizer(**c["optimizer"], schedule=schedule)
    for name, module in (("plateau", plateau), ("early_stop", early_stop)):
        settings = {k: v for k, v in c[name].items() if k not in ("enabled", "monitor")}
        more = {"base_lr": c["schedule"]["learning_rate"]} if name == "plateau" else {}
        with naming(name):
            module.validate(**settings, **more)


def fit_settings(config) -> dict:
    """The arguments of `train_jax.loop.fit` in a config, which may hold more in `train`."""
    settings = config.train.to_dict() | {"devices": config.distributed.devices}
    del settings["deterministic"], settings["matmul_precision"]  # launch.py has seen to them
    names = ("optimizer", "schedule", "plateau", "early_stop", "checkpoint")
    return settings | {name: config[name].to_dict() for name in names}
