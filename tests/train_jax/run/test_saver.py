"""saver.py: what is saved when, what a slow disk leaves out, and where errors come up."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train_jax.run import saver as saver_lib
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.saver import Saver, copy


class Disk:
    """Stands for Checkpoints, whose writes wait for `gate`."""

    folder = "checkpoints"

    def __init__(self, *, sign=1, last=False):
        self.saved, self.gate = [], threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self._sign, self._last = sign, last
        self.error = None

    improves, rank = Checkpoints.improves, Checkpoints.rank

    def best_rank(self):
        return None

    def labels(self):
        return [label for label, _ in self.saved]

    def save(self, label, state, *, record, metric=None):
        self.started.release()
        assert self.gate.wait(20)
        if self.error:
            raise self.error
        self.saved.append((label, float(state)))


def offer(saver, label, metric, last=False):
    saver.epoch(label, jnp.float32(label), metric=metric, record={}, last=last)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only the test moves."""
    now = [100.0]
    monkeypatch.setattr(saver_lib.time, "monotonic", lambda: now[0])
    return now


def test_the_best_and_the_last_are_saved_and_others_when_it_is_time(clock):
    disk = Disk()
    saver = Saver(disk, min_seconds=60)
    for label, metric, seconds in [
        (1, 5.0, 1),  # the first is the best
        (2, 6.0, 1),
        (3, 4.0, 1),  # better
        (4, 4.0, 59),  # of equals the first is best
        (5, 9.0, 1),  # 60 s after the last
        (6, 9.0, 1),
        (7, 9.0, 1),
    ]:
        clock[0] += seconds
        offer(saver, label, metric, last=label == 7)
        saver.wait()
    assert disk.labels() == [1, 3, 5, 7]


@pytest.mark.parametrize("last, labels", [(False, [1, 2]), (True, [3])])
def test_where_the_last_is_selected_no_other_is_the_best(clock, last, labels):
    disk = Disk(sign=-1, last=last)
    saver = Saver(disk, min_seconds=60)
    for label, metric in [(1, 0.1), (2, 0.2), (3, 0.1)]:
        offer(saver, label, metric, last=last and label == 3)
        saver.wait()
    assert disk.labels() == labels


def test_a_slow_disk_holds_nothing_up_and_the_best_is_never_left_out(clock):
    disk = Disk()
    disk.gate.clear()
    saver = Saver(disk, min_seconds=0)
    offer(saver, 1, 5.0)
    assert disk.started.acquire(timeout=20)  # 1 is being written, and the rest has to wait
    offer(saver, 2, 6.0)
    offer(saver, 3, 4.0)  # the best so far: 2 is no longer the newest, nor needed
    offer(saver, 4, 7.0)
    offer(saver, 5, 8.0)  # takes the place of 4, not of 3
    assert disk.saved == []
    disk.gate.set()
    saver.wait()
    assert disk.saved == [(1, 1.0), (3, 3.0), (5, 5.0)]  # each with its own state
    offer(saver, 6, 1.0)  # and on it goes
    saver.wait()
    assert disk.labels() == [1, 3, 5, 6]


def test_a_state_that_the_next_step_overwrites_is_saved_as_it_was():
    disk = Disk()
    disk.gate.clear()
    saver = Saver(disk, min_seconds=0)
    state = jnp.float32(3)
    saver.epoch(3, state, metric=1.0, record={}, last=False)
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    step(state).block_until_ready()
    disk.gate.set()
    saver.wait()
    assert disk.saved == [(3, 3.0)]


def test_a_copy_shares_no_memory_and_keeps_every_kind_of_leaf():
    state = {"a": jnp.arange(3.0), "n": jnp.int32(4), "key": jax.random.key(3, impl="rbg")}
    copied = copy(state)
    pointers = lambda tree: {  # noqa: E731
        jax.random.key_data(a).unsafe_buffer_pointer()
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
        else a.unsafe_buffer_pointer()
        for a in jax.tree.leaves(tree)
    }
    assert not pointers(state) & pointers(copied)
    assert jax.random.key_impl(copied["key"]) == "rbg"
    np.testing.assert_array_equal(copied["a"], state["a"])
    np.testing.assert_array_equal(*(jax.random.key_data(t["key"]) for t in (copied, state)))


def test_a_state_in_mid_epoch_waits_for_what_comes_before_it():
    disk = Disk()
    saver = Saver(disk, min_seconds=0)
    offer(saver, 3, 1.0)
    saver.now(5, jnp.float32(5), record={})
    saver.now(5, jnp.float32(6), record={})  # is there already
    assert disk.saved == [(3, 3.0), (5, 5.0)]


def test_what_a_save_raises_comes_up_at_the_next_call():
    disk = Disk()
    disk.error = UserError("the disk is full")
    saver = Saver(disk, min_seconds=0)
    offer(saver, 1, 1.0)
    with pytest.raises(UserError, match="full"):
        saver.wait()
    disk.error = None
    offer(saver, 2, 0.5)  # there is room again
    saver.wait()
    assert disk.labels() == [2]
    disk.error = UserError("the disk is full")
    offer(saver, 3, 0.2)
    saver.close()  # is silent: for where something else was raised
