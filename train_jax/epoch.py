"""One pass over a split: the order of the examples, the steps of training, the sums of evaluation.

S = steps of an epoch, B = batch size.
"""

import math

import numpy as np

from train_jax import metrics as metrics_lib

MAX_STEPS_A_CALL = 512


def train_epoch(train_step, state, data, index, mask, *, done, steps_per_call, after_call):
    """Runs the steps `done`, done + 1, ... of one epoch. Returns the state.

    Args:
      train_step: from `make_train_step`.
      state: TrainState after `done` steps of this epoch; donated.
      data: the train split on the devices.
      index, mask: i32[steps, B], f32[steps, B], from `epoch_order`.
      done: steps of this epoch that are behind us, a multiple of steps_per_call.
      steps_per_call: of each call but the last, which has what is left.
      after_call: (state, steps done) -> None, after each call.
    """
    steps, before = len(index), None
    for first in range(done, steps, steps_per_call):
        call = slice(first, first + steps_per_call)
        state, bad_step = train_step(state, data, index[call], mask[call])
        # One call runs while the next is prepared, not more: Ctrl-C is heard within a step, and
        # a loss that is not finite stops the epoch.
        if before is not None and int(before) >= 0:
            break
        before = bad_step
        after_call(state, min(first + steps_per_call, steps))
    return state


def steps_a_call(steps, *, platform, on_cpu) -> int:
    """Training steps of one compiled call, where the config leaves it open.

    Elsewhere than on a CPU the host should not be waited for: the whole epoch of `steps` is one
    call, or a long one equal calls of at most 512, so that a signal is heard within seconds. On a
    CPU `on_cpu`, the task's own number.
    """
    if platform == "cpu":
        return min(on_cpu, steps)
    return math.ceil(steps / math.ceil(steps / MAX_STEPS_A_CALL))


def evaluate(eval_step, variables, data, n, batch_size, *, after_call=lambda: None) -> dict:
    """The summed metrics of the `n` rows of `data` on the devices; `compute` divides them."""
    total = None
    for index, mask in batches(n, batch_size):
        metrics = eval_step(variables, data, index, mask)
        total = metrics if total is None else metrics_lib.add(total, metrics)
        after_call()
    return total


def epoch_order(n, batch_size, *, seed, epoch):
    """The rows of each step of an epoch: (index i32[S, B], mask f32[S, B]).

    A permutation that depends on (seed, epoch) only. The last batch is filled up with rows from the
    front of the permutation, masked out.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    steps = math.ceil(n / batch_size)
    index = np.resize(order, steps * batch_size).astype(np.int32)
    mask = (np.arange(steps * batch_size) < n).astype(np.float32)
    return index.reshape(steps, batch_size), mask.reshape(steps, batch_size)


def batches(n, batch_size):
    """Yields (index i32[B], mask f32[B]) that go through rows 0 .. n-1 in order."""
    for first in range(0, n, batch_size):
        rows = np.arange(first, first + batch_size)
        yield (rows % n).astype(np.int32), (rows < n).astype(np.float32)


def size_of(data) -> int:
    """The number of examples of a dict of arrays."""
    return len(next(iter(data.values())))
