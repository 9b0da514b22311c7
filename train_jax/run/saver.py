"""Saves the checkpoints of a run while it goes on.

A thread writes them one after the other, from copies on the device, since a step gives the memory
of its state away. A disk that is slower than the epochs does not hold them up: what still waits
when something newer comes is left out, unless it is the best so far. So whatever is on the disk,
the best epoch before it is too, and a run that is killed goes on from there to the same bits.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError


class Waiting(NamedTuple):
    """A checkpoint that is to be written."""

    label: int
    state: Any  # TrainState, a copy
    metric: float
    record: dict
    best: bool  # of the epochs up to it


class Saver:
    """The checkpoints of one run. Processes that train together save together, every epoch, and
    wait for it."""

    def __init__(self, checkpoints: Checkpoints, *, min_seconds: float):
        """`min_seconds` lie between a checkpoint and the next that is not the best so far."""
        if not min_seconds >= 0:
            raise UserError(f"config: checkpoint.min_seconds must be >= 0, got {min_seconds}")
        self.checkpoints = checkpoints
        self._min_seconds, self._last = min_seconds, time.monotonic()
        self._best = checkpoints.best_rank()
        self._waiting: list[Waiting] = []
        self._busy = False  # whether the thread will look at the list again
        self._lock = threading.Lock()  # of these two
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._done: Future | None = None

    def epoch(self, label: int, state, *, metric: float, record: dict, last: bool):
        """Saves the state after an epoch, now or soon, if it is the best or the last one or if it
        is time. UserError if an earlier one could not be written."""
        rank = self.checkpoints.rank(metric, record)
        best = self.checkpoints.improves(rank, self._best)
        self._best = rank if best else self._best
        together = jax.process_count() > 1
        now = time.monotonic()
        if not (best or last or together or now - self._last >= self._min_seconds):
            return
        self._last = now
        if together:
            self.checkpoints.save(label, state, metric=metric, record=record)
            return
        new = Waiting(label, copy(state), metric, record, best)
        with self._lock:
            self._waiting = [w for w in self._waiting if w.best and not best] + [new]
            if self._busy:
                return
            self._busy = True
        self.wait()  # for nothing: the thread has ended
        self._done = self._thread.submit(self._write)

    def now(self, label: int, state, *, record: dict):
        """Saves a state in the middle of an epoch; returns when it is on the disk."""
        self.wait()
        if label not in self.checkpoints.labels():
            self.checkpoints.save(label, state, record=record)

    def wait(self):
        """Returns when all is on the disk. UserError if something could not be written."""
        done, self._done = self._done, None
        if done:
            done.result()

    def close(self):
        """Ends the thread when all is on the disk. Raises nothing: for after an error."""
        self._thread.shutdown()

    def _write(self):
        try:
            while new := self._next():
                self.checkpoints.save(new.label, new.state, metric=new.metric, record=new.record)
        except BaseException:
            with self._lock:
                self._busy = False
            raise

    def _next(self) -> Waiting | None:
        with self._lock:
            self._busy = bool(self._waiting)
            return self._waiting.pop(0) if self._busy else None


@jax.jit
def copy(state):
    """The state in memory of its own. (A jitted function may hand on what it does not change.)"""

    def of(array):
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            data = jnp.copy(jax.random.key_data(array))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
        return jnp.copy(array)

    return jax.tree.map(of, state)
