"""One pass over a split: the order of the examples, the steps of training, the sums of evaluation.

S = steps of an epoch, B = batch size, N = examples.

Where a split has an array 'length' i32[N], it says how many columns of each example are in use.
Then a batch holds examples of one length only, and the compiled step cuts the other arrays to it,
so that short sentences do not pay for the longest. Each different length is compiled once: keep
them few.
"""

import functools
import math

import numpy as np

from train_jax import metrics as metrics_lib

MAX_STEPS_PER_CALL = 512


def train_epoch(
    train_step, state, data, index, mask, *, done, steps_per_call, after_call, length=None
):
    """Runs the steps `done`, done + 1, ... of one epoch. Returns the state.

    Args:
      train_step: from `make_train_step`.
      state: TrainState after `done` steps of this epoch; donated.
      data: the train split on the devices.
      index, mask: i32[steps, B], f32[steps, B], from `epoch_order`.
      done: steps of this epoch that are behind us, as `after_call` was told.
      steps_per_call: of each call but the last, which has what is left.
      after_call: (state, steps done) -> None, after each call.
      length: i32[N] of the split on the host, or None. A call ends where the length changes.
    """
    steps, before = len(index), None
    while done < steps:
        call = slice(done, min(done + steps_per_call, steps))
        step = train_step
        if length is not None:
            columns = length[index[call, 0]]
            call = slice(done, done + int((columns == columns[0]).cumprod().sum()))
            step = functools.partial(train_step, columns=int(columns[0]))
        state, bad_step = step(state, data, index[call], mask[call])
        done = call.stop
        # One call runs while the next is prepared, not more: Ctrl-C is heard within a step, and
        # a loss that is not finite stops the epoch.
        if before is not None and int(before) >= 0:
            break
        before = bad_step
        after_call(state, done)
    return state


def default_steps_per_call(steps, *, platform, on_cpu) -> int:
    """Training steps of one compiled call, where the config leaves it open.

    Elsewhere than on a CPU the host should not be waited for: the whole epoch of `steps` is one
    call, or a long one equal calls of at most 512, so that a signal is heard within seconds. On a
    CPU `on_cpu`, the task's own number.
    """
    if platform == "cpu":
        return min(on_cpu, steps)
    return math.ceil(steps / math.ceil(steps / MAX_STEPS_PER_CALL))


def evaluate(
    eval_step, variables, data, n, batch_size, *, length=None, after_call=lambda done: None
) -> dict:
    """The summed metrics of the `n` rows of `data`, {} without any; `compute` divides them.

    `length`: i32[N] of the split on the host, or None. `after_call` is told (batches, all batches).
    """
    found, all_of_them = [], steps_of(n, batch_size, length)
    for columns, rows in by_length(n, length):
        step = eval_step if columns is None else functools.partial(eval_step, columns=columns)
        for index, mask in batches(len(rows), batch_size):
            found.append(step(variables, data, rows[index], mask))
            after_call((len(found), all_of_them))
    return metrics_lib.total(found) if found else {}


def epoch_order(n, batch_size, *, seed, epoch, length=None, steps_per_call=1):
    """The rows of each step of an epoch: (index i32[S, B], mask f32[S, B]).

    A permutation that depends on (seed, epoch) only. The last batch is filled up with rows from the
    front of the permutation, masked out. With `length` i32[N] this is done for the examples of each
    length, and the calls of `steps_per_call` steps of one length come in a random order.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n)
    if length is None:
        return _batched(order, batch_size)
    calls = []
    for columns in np.unique(length):
        index, mask = _batched(order[length[order] == columns], batch_size)
        starts = range(0, len(index), steps_per_call)
        calls += [(index[i : i + steps_per_call], mask[i : i + steps_per_call]) for i in starts]
    calls = [calls[i] for i in rng.permutation(len(calls))]
    return tuple(np.concatenate(arrays) for arrays in zip(*calls, strict=True))


def steps_of(n, batch_size, length=None) -> int:
    """S, the steps of every epoch."""
    return sum(math.ceil(len(rows) / batch_size) for _, rows in by_length(n, length))


def by_length(n, length=None):
    """[(columns, rows i32[...])]: the rows of each length in order; (None, all) without lengths."""
    rows = np.arange(n, dtype=np.int32)
    if length is None:
        return [(None, rows)]
    return [(int(columns), rows[length == columns]) for columns in np.unique(length)]


def _batched(order, batch_size):
    """The rows `order` as (index i32[S, B], mask f32[S, B]), filled up from the front."""
    steps = math.ceil(len(order) / batch_size)
    index = np.resize(order, steps * batch_size).astype(np.int32)
    mask = (np.arange(steps * batch_size) < len(order)).astype(np.float32)
    return index.reshape(steps, batch_size), mask.reshape(steps, batch_size)


def batches(n, batch_size):
    """Yields (index i32[B], mask f32[B]) that go through rows 0 .. n-1 in order."""
    for first in range(0, n, batch_size):
        rows = np.arange(first, first + batch_size)
        yield (rows % n).astype(np.int32), (rows < n).astype(np.float32)


def size_of(data) -> int:
    """The number of examples of a dict of arrays."""
    return len(next(iter(data.values())))
