"""epoch.py: the order of the examples, the calls of an epoch, and evaluation over a split."""

import collections
import math

import jax.numpy as jnp
import numpy as np
import pytest

from train_jax import metrics
from train_jax.epoch import (
    batches,
    default_steps_per_call,
    epoch_order,
    evaluate,
    size_of,
    steps_of,
    train_epoch,
)

SIZES = [(22, 4), (20, 4), (1, 1), (7, 32), (5, 5), (6, 5)]  # (n, batch size)


@pytest.mark.parametrize("n,size", SIZES)
def test_an_epoch_is_a_permutation_under_its_mask(n, size):
    index, mask = epoch_order(n, size, seed=3, epoch=1)
    assert index.shape == mask.shape == (math.ceil(n / size), size)
    assert index.dtype == np.int32 and mask.dtype == np.float32
    real = index[mask == 1]
    assert sorted(real.tolist()) == list(range(n))
    assert set(np.unique(mask)) <= {0.0, 1.0}
    fillers = index[mask == 0]  # real rows from the front of the permutation, at the end
    assert fillers.tolist() == np.resize(real, len(fillers)).tolist()
    assert (np.diff(mask.ravel()) <= 0).all()


def test_the_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch, size=4):
        return epoch_order(40, size, seed=seed, epoch=epoch)[0].ravel().tolist()

    np.random.seed(0)
    first = order(1, 2)
    np.random.seed(1)
    assert order(1, 2) == first == order(1, 2, size=8)
    others = [order(1, 3), order(2, 2), order(2, 1), first]
    assert len({tuple(o) for o in others}) == 4
    assert first != sorted(first)


@pytest.mark.parametrize("n,size", SIZES)
def test_batches_cover_every_row_once_in_order_under_the_mask(n, size):
    found = list(batches(n, size))
    assert all(i.shape == m.shape == (size,) for i, m in found)
    assert all(i.dtype == np.int32 and m.dtype == np.float32 for i, m in found)
    index = np.concatenate([i for i, _ in found])
    mask = np.concatenate([m for _, m in found])
    assert index[mask == 1].tolist() == list(range(n))
    assert 0 <= index.min() and index.max() < n
    assert len(found) == math.ceil(n / size)


@pytest.mark.parametrize("n,size", SIZES)
def test_evaluation_of_a_ragged_split_equals_direct_computation(n, size):
    rng = np.random.default_rng(n)
    data = {"x": rng.normal(size=n).astype(np.float32), "y": rng.integers(0, 2, n)}
    calls = []

    def eval_step(variables, data, index, mask):
        x = jnp.asarray(data["x"][index] * variables["w"])
        hits = jnp.asarray((data["x"][index] > 0) == data["y"][index], jnp.float32)
        return {
            "loss": metrics.masked_total(x, jnp.asarray(mask)),
            "accuracy": metrics.masked_total(hits, jnp.asarray(mask)),
        }

    sums = evaluate(eval_step, {"w": 2.0}, data, n, size, after_call=calls.append)
    found = metrics.compute(sums)
    assert found["loss"] == pytest.approx(2 * data["x"].mean(dtype=np.float64), abs=1e-6)
    assert found["accuracy"] == pytest.approx(((data["x"] > 0) == data["y"]).mean(), abs=1e-6)
    assert float(sums["loss"].count) == n
    assert len(calls) == math.ceil(n / size)


class Recorder:
    """Stands for the compiled step: the state is the number of real rows seen."""

    def __init__(self, bad_call=None):
        self.rows, self.shapes, self.bad_call = [], [], bad_call

    def __call__(self, state, data, index, mask):
        self.shapes.append((index.shape, mask.shape, index.dtype, mask.dtype))
        self.rows += index[mask == 1].tolist()
        bad = self.bad_call is not None and len(self.shapes) > self.bad_call
        return state + int(mask.sum()), np.int32(17 if bad else -1)


@pytest.mark.parametrize("steps_per_call", [1, 2, 4, 6, 50])
@pytest.mark.parametrize("done_calls", [0, 1])
def test_an_epoch_is_done_in_calls_from_where_it_was_left(steps_per_call, done_calls):
    index, mask = epoch_order(22, 4, seed=0, epoch=0)
    done, seen, step = min(done_calls * steps_per_call, 6), [], Recorder()
    state = train_epoch(
        step, 0, {}, index, mask, done=done, steps_per_call=steps_per_call,
        after_call=lambda state, steps: seen.append((state, steps)),
    )  # fmt: skip
    assert step.rows == index[done:][mask[done:] == 1].tolist()
    lengths = [min(steps_per_call, 6 - first) for first in range(done, 6, steps_per_call)]
    kinds = np.dtype(np.int32), np.dtype(np.float32)
    assert step.shapes == [((n, 4), (n, 4), *kinds) for n in lengths]
    assert [s for _, s in seen] == [
        min(s + steps_per_call, 6) for s in range(done, 6, steps_per_call)
    ]
    assert [c for c, _ in seen] == [int(mask[done:s].sum()) for _, s in seen]
    assert state == int(mask[done:].sum())


@pytest.mark.parametrize("bad_call", [0, 2, 5])
def test_a_bad_loss_ends_the_epoch_at_most_one_call_later(bad_call):
    index, mask = epoch_order(24, 4, seed=0, epoch=0)
    seen, step = [], Recorder(bad_call)
    train_epoch(
        step, 0, {}, index, mask, done=0, steps_per_call=1,
        after_call=lambda state, steps: seen.append(steps),
    )  # fmt: skip
    assert len(step.shapes) == min(bad_call + 2, 6)
    assert seen == list(range(1, bad_call + 2))


@pytest.mark.parametrize(
    "steps, platform, calls",
    [
        (404, "cuda", [404]),
        (512, "tpu", [512]),
        (513, "cuda", [257, 256]),
        (2000, "cuda", [500] * 4),
        (1, "cuda", [1]),
        (5, "cpu", [5]),
        (20, "cpu", [8, 8, 4]),
    ],
)
def test_a_call_is_an_epoch_or_a_large_part_of_it_but_on_a_cpu(steps, platform, calls):
    k = default_steps_per_call(steps, platform=platform, on_cpu=8)
    assert [min(k, steps - first) for first in range(0, steps, k)] == calls


def test_size_is_that_of_the_first_axis():
    data = collections.OrderedDict(image=np.zeros((9, 2, 2)), label=np.zeros(9))
    assert size_of(data) == 9


# batches by length

LENGTH = np.random.default_rng(5).choice([8, 12, 16], 50, p=[0.5, 0.3, 0.2]).astype(np.int32)


@pytest.mark.parametrize("together", [1, 3])
def test_each_batch_has_one_length_and_each_example_comes_once(together):
    index, mask = epoch_order(50, 4, seed=0, epoch=2, length=LENGTH, steps_per_call=together)
    assert len(index) == len(mask) == steps_of(50, 4, LENGTH)
    assert steps_of(50, 4) == 13
    assert all(len(set(LENGTH[rows])) == 1 for rows in index)
    assert sorted(index[mask == 1].tolist()) == list(range(50))
    again, _ = epoch_order(50, 4, seed=0, epoch=2, length=LENGTH, steps_per_call=together)
    other, _ = epoch_order(50, 4, seed=0, epoch=3, length=LENGTH, steps_per_call=together)
    assert (index == again).all() and index.tolist() != other.tolist()


def test_lengths_are_mixed_over_an_epoch_and_calls_hold_one():
    index, _ = epoch_order(50, 4, seed=0, epoch=0, length=LENGTH)
    columns = LENGTH[index[:, 0]]
    assert (np.diff(columns) != 0).sum() > 4
    index, mask = epoch_order(50, 4, seed=0, epoch=0, length=LENGTH, steps_per_call=3)
    seen, done = [], []

    def step(state, data, index, mask, columns):
        assert set(LENGTH[index].ravel()) == {columns} and len(index) <= 3
        seen.extend(index[mask == 1].tolist())
        return state, np.int32(-1)

    train_epoch(
        step, 0, {}, index, mask, done=0, steps_per_call=3, length=LENGTH,
        after_call=lambda state, steps: done.append(steps),
    )  # fmt: skip
    assert sorted(seen) == list(range(50)) and done[-1] == len(index)
    for left in done[:-1]:  # and from each place where it can have been left
        first, seen[:] = list(index[:left][mask[:left] == 1]), []
        train_epoch(
            step, 0, {}, index, mask, done=left, steps_per_call=3, length=LENGTH,
            after_call=lambda state, steps: None,
        )  # fmt: skip
        assert sorted(first + seen) == list(range(50))


def test_evaluation_by_length_counts_each_example_once():
    data = {"x": np.arange(50, dtype=np.float32), "length": LENGTH}
    shapes = []

    def eval_step(variables, data, index, mask, columns):
        shapes.append((index.shape, columns))
        assert set(LENGTH[index]) == {columns}
        return {"loss": metrics.masked_total(jnp.asarray(data["x"][index]), jnp.asarray(mask))}

    sums = evaluate(eval_step, {}, data, 50, 8, length=LENGTH)
    assert metrics.compute(sums)["loss"] == pytest.approx(24.5)
    assert {shape for shape, _ in shapes} == {(8,)} and {c for _, c in shapes} == {8, 12, 16}
