"""The contract between a task (faces, sentences) and the training loop."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

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
    # ({'params', 'batch_stats'}, batch) -> metrics, a dict of train_jax.metrics.TotalAndCount
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
    # epoch, from 0 -> `train` as it is in that epoch, with the same shapes and the same 'length'. A
    # function of nothing else, so that a resumed epoch goes on with the same. None: `train`
    train_at: Callable[[int], dict[str, np.ndarray]] | None = None
    # training steps in one compiled call on a CPU, whose backend runs a convolution 35 times slower
    # inside a loop over steps
    steps_per_call_on_cpu: int = 1
    # {name: variables -> float}: scores of the valid split that cannot be summed over batches, once
    # an epoch, on the host; 'val_NAME' in the row of the epoch
    scores: Mapping[str, Callable[[dict], float]] = types.MappingProxyType({})
