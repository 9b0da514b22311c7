"""step.py: the compiled training step, evaluation step and end of an epoch."""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train_jax import early_stop, metrics, parallel, plateau
from train_jax import state as state_lib
from train_jax.step import make_epoch_end, make_eval_step, make_train_step, take

MESH = parallel.make_mesh(1)
N, FEATURES, CLASSES, BATCH, STEPS = 22, 5, 3, 4, 6  # the last batch has 2 real rows
PLATEAU = plateau.Settings(
    base_lr=0.1, mode="min", factor=0.5, patience=1, min_delta=0.0, cooldown=0, min_lr=0.0
)
EARLY_STOP = early_stop.Settings(
    mode="max", patience=2, min_delta=0.0, baseline=None, start_from_epoch=0
)


class MLP(nn.Module):
    norm: bool

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.Dense(6)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.8)(x)
        x = nn.Dropout(0.3, deterministic=not train)(nn.relu(x))
        return nn.Dense(CLASSES)(x)


def make_loss(model):
    def loss(params, batch_stats, batch, key):
        logits, new = model.apply(
            {"params": params, "batch_stats": batch_stats}, batch["x"], train=True,
            rngs={"dropout": key}, mutable=["batch_stats"],
        )  # fmt: skip
        sums = scores(logits, batch)
        return metrics.safe_divide(sums["loss"]), (sums, new.get("batch_stats", {}))

    return loss


def scores(logits, batch):
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
    hits = (logits.argmax(-1) == batch["y"]).astype(jnp.float32)
    return {
        "loss": metrics.masked_total(entropy, batch["mask"]),
        "accuracy": metrics.masked_total(hits, batch["mask"]),
    }


def adam(rate):
    """optax 0.2.8 adds an int to a float in Adam's bias correction, which strict mode refuses."""
    transformation = optax.adam(rate)

    def update(gradients, state, params):
        with jax.numpy_dtype_promotion("standard"):
            return transformation.update(gradients, state, params)

    return optax.GradientTransformation(transformation.init, update)


def zeros():
    return metrics.TotalAndCount(jnp.float32(0), jnp.float32(0))


@functools.partial(jax.jit, static_argnums=0)
def init(model, key):
    return model.init(key, jnp.zeros((1, FEATURES)), train=False)


def make_state(model, *, optimizer, ema_decay=0.0, scale=1.0):
    return state_lib.create(
        variables=init(model, jax.random.key(0)),
        optimizer=optimizer,
        plateau=plateau.init(PLATEAU)._replace(scale=jnp.float32(scale)),
        early_stop=early_stop.init(EARLY_STOP),
        metrics={"loss": zeros(), "accuracy": zeros()},
        ema_decay=ema_decay,
        key=jax.random.key(7),
    )


@functools.cache
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, FEATURES)).astype(np.float32)
    y = (x @ rng.normal(size=(FEATURES, CLASSES)) + rng.normal(size=(N, CLASSES))).argmax(1)
    return jax.device_put({"x": x, "y": y.astype(np.int32)})


def rows(seed):
    """index i32[STEPS, BATCH], mask f32[STEPS, BATCH] of an epoch with a ragged last batch."""
    order = np.random.default_rng(seed).permutation(N)
    index = np.concatenate([order, order[: STEPS * BATCH - N]]).astype(np.int32)
    mask = (np.arange(STEPS * BATCH) < N).astype(np.float32)
    return index.reshape(STEPS, BATCH), mask.reshape(STEPS, BATCH)


class Compiled(NamedTuple):
    model: MLP
    optimizer: optax.GradientTransformation
    step: object


@functools.cache
def compiled(norm=True, ema_decay=0.0, rate=0.1):
    model, optimizer = MLP(norm), adam(rate)
    step = make_train_step(
        loss=make_loss(model), optimizer=optimizer, ema_decay=ema_decay, mesh=MESH
    )
    return Compiled(model, optimizer, step)


def run(step, state, index, mask, steps_per_call):
    """Steps in calls of `steps_per_call`; the last call has what is left."""
    for i in range(0, len(index), steps_per_call):
        call = slice(i, i + steps_per_call)
        state, token = step(state, data(), index[call], mask[call])
    assert int(token) == int(state.bad_step)
    return state


def host(state):
    """Every leaf as numpy, the key as its bits."""
    state = state.replace(key=jax.random.key_data(state.key))
    return jax.tree.map(np.array, jax.device_get(state))


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, host(a), host(b))


def test_rows_with_mask_0_change_neither_parameters_nor_metrics():
    """Without batch norm: its statistics see every row, which is why fillers are real rows."""
    model, optimizer, step = compiled(norm=False)
    (index, mask), states = rows(0), []
    assert (mask == 0).sum() == 2
    for filler in (3, 11):
        other = np.where(mask == 1, index, filler)
        states.append(run(step, make_state(model, optimizer=optimizer), other, mask, 1))
    assert_equal(*states)
    assert float(states[0].metrics["loss"].count) == N


def test_the_metrics_are_the_sums_over_the_unmasked_rows():
    model, optimizer, step = compiled()
    index, mask = rows(1)
    expected, state = {"loss": 0.0, "accuracy": 0.0}, make_state(model, optimizer=optimizer)

    @jax.jit
    def logits_of(state, x):
        key = jax.random.fold_in(jax.random.key(7), state.step)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        return model.apply(
            variables, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )[0]

    for i, m in zip(index, mask, strict=True):
        logits = np.asarray(logits_of(state, data()["x"][i]), np.float64)
        labels = np.asarray(data()["y"])[i]
        for row, label in zip(logits[m == 1], labels[m == 1], strict=True):
            expected["loss"] += np.log(np.exp(row).sum()) - row[label]
            expected["accuracy"] += row.argmax() == label
        state = run(step, state, i[None], m[None], 1)
    for name, total in expected.items():
        # 1e-4: float32 logits, compiled and not
        assert float(state.metrics[name].total) == pytest.approx(total, rel=1e-4), name
        assert float(state.metrics[name].count) == N


def test_four_steps_in_one_call_equal_four_calls_also_in_the_shorter_last_one():
    model, optimizer, step = compiled(ema_decay=0.9)
    index, mask = rows(2)
    make = functools.partial(make_state, model, optimizer=optimizer, ema_decay=0.9)
    start = host(make())
    one = host(run(step, make(), index, mask, 1))
    four = host(run(step, make(), index, mask, 4))
    assert one.step == four.step == STEPS
    assert one.opt_state[0].count == four.opt_state[0].count == STEPS
    # float32 rounding of differently fused code, 6 steps of Adam at 0.1
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), one, four)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.params, one.params)
    assert min(jax.tree.leaves(moved)) > 0.01


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_no_step_waits_for_a_condition(platform):
    """Each conditional would be one wait of the host for the device, and would end a CUDA graph."""
    model, optimizer, step = compiled(ema_decay=0.9)
    state = make_state(model, optimizer=optimizer, ema_decay=0.9)
    text = step.trace(state, data(), *rows(3)).lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.while" in text  # the steps
    assert "stablehlo.if" not in text and "stablehlo.case" not in text


def test_plateau_scale_scales_the_update_exactly():
    """Half the scale is half the learning rate, bit for bit, since 0.5 is a power of two."""
    (index, mask), states = rows(4), []
    for rate, scale in ((0.1, 0.5), (0.05, 1.0)):
        model, optimizer, step = compiled(rate=rate)
        state = run(step, make_state(model, optimizer=optimizer, scale=scale), index, mask, 1)
        states.append(state.replace(plateau=plateau.init(PLATEAU)))
    assert_equal(*states)


def test_plateau_scale_0_stops_the_parameters_but_not_the_optimizer():
    model, optimizer, step = compiled()
    index, mask = rows(4)
    first = make_state(model, optimizer=optimizer, scale=0.0)
    before = host(first)
    after = host(run(step, first, index[:1], mask[:1], 1))
    jax.tree.map(np.testing.assert_array_equal, before.params, after.params)
    assert all(np.any(m != 0) for m in jax.tree.leaves(after.opt_state[0].mu["Dense_1"]))


def test_moving_average_equals_numpy():
    """decay_t = min(d, (1 + t) / (10 + t)); parameters and batch statistics; 4 steps reach d."""
    decay = 0.3
    model, optimizer, step = compiled(ema_decay=decay)
    index, mask = rows(5)
    state = make_state(model, optimizer=optimizer, ema_decay=decay)
    average = jax.tree.map(lambda a: a.astype(np.float64), host(state).ema)
    for t in range(STEPS):
        state = run(step, state, index[t : t + 1], mask[t : t + 1], 1)
        d = min(decay, (1 + t) / (10 + t))
        now = host(state)
        average = jax.tree.map(
            lambda a, new, d=d: d * a + (1 - d) * new, average, (now.params, now.batch_stats)
        )
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), now.ema, average
        )
    assert state.eval_variables()["params"] is state.ema[0]
    assert state.eval_variables()["batch_stats"] is state.ema[1]


def test_without_moving_average_there_is_none():
    model, optimizer, step = compiled()
    index, mask = rows(5)
    state = run(step, make_state(model, optimizer=optimizer), index[:1], mask[:1], 1)
    assert state.ema is None
    assert state.eval_variables()["params"] is state.params


def probe_step(*, rate=0.0):
    """A step of one parameter w whose loss is sum(w * x) and whose noise is a metric."""

    def loss(params, batch_stats, batch, key):
        value = (params["w"] * batch["x"] * batch["mask"]).sum()
        noise = metrics.TotalAndCount(jax.random.uniform(key), jnp.float32(1))
        return value, ({"noise": noise}, batch_stats)

    optimizer = optax.sgd(rate)
    state = state_lib.create(
        variables={"params": {"w": jnp.float32(1)}},
        optimizer=optimizer,
        plateau=plateau.init(PLATEAU),
        early_stop=early_stop.init(EARLY_STOP),
        metrics={"noise": zeros()},
        ema_decay=0,
        key=jax.random.key(3, impl="rbg"),
    )
    return make_train_step(loss=loss, optimizer=optimizer, ema_decay=0, mesh=MESH), state


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_the_first_loss_that_is_not_finite_is_kept_with_its_step(steps_per_call):
    step, state = probe_step(rate=0.1)
    x = np.ones(8, np.float32)
    x[5], x[6] = np.inf, np.nan
    for first in range(0, 8, steps_per_call):
        index = np.arange(first, first + steps_per_call, dtype=np.int32)[:, None]
        before = state.bad_step
        state, token = step(state, {"x": x}, index, np.ones(index.shape, np.float32))
        assert before.is_deleted()  # donated, ...
        assert int(token) == (5 if first + steps_per_call > 5 else -1)  # ... hence the token
    assert int(state.bad_step) == 5 and float(state.bad_loss) == np.inf
    assert int(state.step) == 8


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_the_noise_of_step_t_is_drawn_from_fold_in_of_the_key(steps_per_call):
    step, state = probe_step()
    key, total = jax.random.key(3, impl="rbg"), 0.0
    for t in range(0, 8, steps_per_call):
        index = np.zeros((steps_per_call, 2), np.int32)
        state, _ = step(state, {"x": np.ones(4, np.float32)}, index, np.ones_like(index, "f4"))
        for s in range(t, t + steps_per_call):
            total += float(jax.random.uniform(jax.random.fold_in(key, s)))
        assert float(state.metrics["noise"].total) == pytest.approx(total, rel=1e-6)
    np.testing.assert_array_equal(jax.random.key_data(state.key), jax.random.key_data(key))


def test_restarted_steps_equal_continued_ones_bit_for_bit():
    model, optimizer, step = compiled()
    index, mask = rows(6)
    whole = run(step, make_state(model, optimizer=optimizer), index, mask, 1)
    half = run(step, make_state(model, optimizer=optimizer), index[:3], mask[:3], 1)
    saved = host(half)
    again = jax.tree.map(jnp.asarray, saved).replace(key=jax.random.wrap_key_data(saved.key))
    assert_equal(whole, run(step, again, index[3:], mask[3:], 1))


def test_another_key_is_other_dropout():
    model, optimizer, step = compiled()
    index, mask = rows(6)
    one, two = (make_state(model, optimizer=optimizer) for _ in range(2))
    two = two.replace(key=jax.random.key(8))
    one, two = (run(step, s, index[:1], mask[:1], 1) for s in (one, two))
    assert np.any(np.asarray(one.params["Dense_1"]["kernel"] != two.params["Dense_1"]["kernel"]))


def evaluate(variables, batch):
    return scores(MLP(True).apply(variables, batch["x"], train=False), batch)


@pytest.mark.parametrize("steps_per_call, shapes", [(1, 1), (3, 1), (4, 2), (50, 1)])
def test_one_compilation_a_shape_over_ragged_epochs_and_plateau_cuts(steps_per_call, shapes):
    model, optimizer = MLP(True), adam(0.1)
    step = make_train_step(loss=make_loss(model), optimizer=optimizer, ema_decay=0.9, mesh=MESH)
    eval_step = make_eval_step(evaluate, MESH)
    epoch_end = make_epoch_end(plateau=PLATEAU, early_stop=EARLY_STOP, mesh=MESH)
    state = make_state(model, optimizer=optimizer, ema_decay=0.9)
    state, scales = parallel.replicate(state, MESH), []
    for epoch in range(3):
        state = run(step, state, *rows(epoch), steps_per_call)
        for index, mask in zip(*rows(9), strict=True):
            eval_step(state.eval_variables(), data(), index, mask)
        state = epoch_end(state, jnp.float32(1), jnp.float32(1), jnp.int32(epoch))
        scales.append(float(state.plateau.scale))
    assert scales == [1, 0.5, 0.25]
    assert [f._cache_size() for f in (step, eval_step, epoch_end)] == [shapes, 1, 1]


def test_eval_step_masks_rows_and_uses_running_statistics():
    model, optimizer, step = compiled()
    state = run(step, make_state(model, optimizer=optimizer), *rows(7), 1)
    index, mask = np.array([3, 8, 9, 3], np.int32), np.array([1, 1, 1, 0], np.float32)
    found = make_eval_step(evaluate, MESH)(state.eval_variables(), data(), index, mask)
    logits = model.apply(state.eval_variables(), data()["x"][index[:3]], train=False)
    logits, total = np.asarray(logits, np.float64), 0.0
    for row, label in zip(logits, np.asarray(data()["y"])[index[:3]], strict=True):
        total += np.log(np.exp(row).sum()) - row[label]
    assert float(found["loss"].total) == pytest.approx(total, rel=1e-5)
    assert float(found["loss"].count) == 3


def test_take_gathers_every_array_and_adds_the_mask():
    arrays = {"a": jnp.arange(10.0), "b": jnp.arange(20).reshape(10, 2)}
    found = take(arrays, np.array([4, 0, 4]), np.array([1.0, 1.0, 0.0]), MESH)
    assert set(found) == {"a", "b", "mask"}
    np.testing.assert_array_equal(found["a"], [4, 0, 4])
    np.testing.assert_array_equal(found["b"], [[8, 9], [0, 1], [8, 9]])
    np.testing.assert_array_equal(found["mask"], [1, 1, 0])


def worn_state():
    """A state in the middle of an epoch."""
    state = make_state(MLP(False), optimizer=optax.sgd(0.1))
    return state.replace(
        step=jnp.int32(9),
        metrics=jax.tree.map(lambda a: a + 5, state.metrics),
        plateau=plateau.update(state.plateau, jnp.float32(0.5), PLATEAU),
    )


def test_epoch_end_feeds_each_machine_its_own_value_and_clears_the_sums():
    epoch_end = make_epoch_end(plateau=PLATEAU, early_stop=EARLY_STOP, mesh=MESH)
    before = host(worn_state())
    after = host(epoch_end(worn_state(), jnp.float32(0.7), jnp.float32(0.2), jnp.int32(4)))
    assert after.plateau.scale == 0.5 and after.plateau.best == np.float32(0.5)
    assert after.early_stop.best == np.float32(0.2) and after.early_stop.best_epoch == 4
    assert all(leaf == 0 for leaf in jax.tree.leaves(after.metrics))
    same = before.replace(plateau=after.plateau, early_stop=after.early_stop, metrics=after.metrics)
    jax.tree.map(np.testing.assert_array_equal, same, after)


def test_epoch_end_leaves_a_machine_alone_that_is_off():
    off = (dataclasses.replace(settings, enabled=False) for settings in (PLATEAU, EARLY_STOP))
    epoch_end = make_epoch_end(**dict(zip(("plateau", "early_stop"), off, strict=True)), mesh=MESH)
    before = host(worn_state())
    after = host(epoch_end(worn_state(), jnp.float32(9), jnp.float32(9), jnp.int32(4)))
    assert all(leaf == 0 for leaf in jax.tree.leaves(after.metrics))
    jax.tree.map(np.testing.assert_array_equal, before.replace(metrics=after.metrics), after)
