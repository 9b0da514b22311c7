"""plateau.py against traces written by hand and against a record of Keras itself."""

import dataclasses
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train_jax import plateau

NAN, INF = math.nan, math.inf
SETTINGS = {
    "base_lr": 1.0,
    "mode": "min",
    "factor": 0.5,
    "patience": 2,
    "min_delta": 0.0,
    "cooldown": 0,
    "min_lr": 0.0,
}

# Each row is one epoch: value -> scale, wait, cooldown after it.
TRACES = {
    "patience counts bad epochs in a row; a good one starts again": (
        {},
        [
            (1.0, 1.0, 0, 0),
            (1.5, 1.0, 1, 0),
            (0.9, 1.0, 0, 0),
            (0.9, 1.0, 1, 0),  # equal is not better
            (1.0, 0.5, 0, 0),
            (1.0, 0.5, 1, 0),
            (0.95, 0.25, 0, 0),  # better than the epoch before, not than the best
        ],
    ),
    "patience 1 and 0 reduce at once": (
        {"patience": 0},
        [(1.0, 1.0, 0, 0), (1.0, 0.5, 0, 0), (1.0, 0.25, 0, 0), (0.5, 0.25, 0, 0)],
    ),
    "a cooldown of 3 has 2 quiet epochs; the third counts": (
        {"patience": 1, "cooldown": 3},
        [
            (1.0, 1.0, 0, 0),
            (1.0, 0.5, 0, 3),
            (1.0, 0.5, 0, 2),
            (1.0, 0.5, 0, 1),
            (1.0, 0.25, 0, 3),
            (0.5, 0.25, 0, 2),  # an improvement in the cooldown is remembered
            (0.8, 0.25, 0, 1),
            (0.8, 0.125, 0, 3),
        ],
    ),
    "a cooldown of 1 is none": (
        {"patience": 1, "cooldown": 1},
        [(1.0, 1.0, 0, 0), (1.0, 0.5, 0, 1), (1.0, 0.25, 0, 1), (1.0, 0.125, 0, 1)],
    ),
    "after the cooldown patience starts at the epoch that ends it": (
        {"patience": 2, "cooldown": 2},
        [
            (1.0, 1.0, 0, 0),
            (1.0, 1.0, 1, 0),
            (1.0, 0.5, 0, 2),
            (1.0, 0.5, 0, 1),
            (1.0, 0.5, 1, 0),
            (1.0, 0.25, 0, 2),
        ],
    ),
    "min_delta is absolute, and must be exceeded": (
        {"min_delta": 0.25},
        [
            (1.0, 1.0, 0, 0),
            (0.75, 1.0, 1, 0),  # better by exactly min_delta
            (0.5, 1.0, 0, 0),
            (0.375, 1.0, 1, 0),
            (0.3125, 0.5, 0, 0),
            (0.125, 0.5, 0, 0),
        ],
    ),
    "mode max": (
        {"mode": "max", "min_delta": 0.25},
        [
            (0.25, 1.0, 0, 0),
            (0.75, 1.0, 0, 0),
            (1.0, 1.0, 1, 0),
            (0.0, 0.5, 0, 0),
            (1.25, 0.5, 0, 0),
        ],
    ),
    "at min_lr nothing is reduced, no cooldown starts and wait goes on": (
        {"base_lr": 0.5, "patience": 1, "min_lr": 0.1, "factor": 0.25, "cooldown": 2},
        [
            (1.0, 1.0, 0, 0),
            (1.0, 0.25, 0, 2),
            (1.0, 0.25, 0, 1),
            (1.0, 0.2, 0, 2),  # the floor: 0.1 / 0.5, not 0.0625
            (1.0, 0.2, 0, 1),
            (1.0, 0.2, 1, 0),
            (1.0, 0.2, 2, 0),
            (0.5, 0.2, 0, 0),
        ],
    ),
    "a learning rate below min_lr is left alone": (
        {"base_lr": 0.5, "patience": 1, "min_lr": 0.75},
        [(1.0, 1.0, 0, 0), (1.0, 1.0, 1, 0), (1.0, 1.0, 2, 0)],
    ),
    "NaN later is a bad epoch": (
        {},
        [(1.0, 1.0, 0, 0), (NAN, 1.0, 1, 0), (NAN, 0.5, 0, 0), (0.5, 0.5, 0, 0)],
    ),
    "on a NaN first nothing improves": (
        {},
        [(NAN, 1.0, 0, 0), (1.0, 1.0, 1, 0), (0.5, 0.5, 0, 0), (0.25, 0.5, 1, 0)],
    ),
    "an infinite first value counts once": (
        {},
        [(INF, 1.0, 0, 0), (INF, 1.0, 1, 0), (INF, 0.5, 0, 0), (9.0, 0.5, 0, 0)],
    ),
}


def run(values, settings):
    """The states after each epoch, by one compiled update."""
    settings = plateau.Settings(**settings)
    step = jax.jit(lambda state, value: plateau.update(state, value, settings))
    state, states = plateau.init(settings), []
    for value in values:
        state = step(state, jnp.float32(value))
        states.append(state)
    assert step._cache_size() == 1, "update was traced again"
    return states


def run_together(cases):
    """For each case the states after each epoch; one program, as 60 compilations take 7 s."""

    def step(states, values):
        states = [
            plateau.update(state, value, one)
            for state, value, one in zip(states, values, settings, strict=True)
        ]
        return states, states

    settings = [plateau.Settings(**case["settings"]) for case in cases]
    start = [plateau.init(one) for one in settings]
    values = [jnp.array([float(v) for v in case["values"]], jnp.float32) for case in cases]
    _, states = jax.jit(lambda: jax.lax.scan(step, start, values))()
    return jax.device_get(states)


@pytest.mark.parametrize("name", TRACES)
def test_trace(name):
    changed, rows = TRACES[name]
    states = run([row[0] for row in rows], SETTINGS | changed)
    ours = [(float(s.scale), int(s.wait), int(s.cooldown)) for s in states]
    assert ours == [(float(np.float32(scale)), w, c) for _, scale, w, c in rows]


@pytest.mark.equivalence(
    "plateau.update", "Keras 3.15 ReduceLROnPlateau, recorded", "the same epochs; rate 3e-6"
)
def test_same_as_keras():
    path = pathlib.Path(__file__).parents[1] / "golden" / "keras_callbacks.json"
    cases = json.loads(path.read_text())["plateau"]
    assert len(cases) >= 30
    reductions = 0
    for case, states in zip(cases, run_together(cases), strict=True):
        keras, label = case["keras"], f"{case['name']}: {case['settings']}"
        # Keras rounds the product to float32 at each of up to 23 reductions, ours the factor.
        lr = case["settings"]["base_lr"] * states.scale
        np.testing.assert_allclose(lr, keras["lr"], rtol=23 * 2**-23, err_msg=label)
        assert states.wait.tolist() == keras["wait"], label
        assert states.cooldown.tolist() == keras["cooldown"], label
        reductions += len(set(keras["lr"])) - 1
    assert reductions > 100


def test_state_keeps_its_types_and_starts_at_full_rate():
    settings = plateau.Settings(**SETTINGS | {"mode": "max"})
    state = plateau.init(settings)
    after = plateau.update(state, 0.5, settings)
    types = [("float32", ()), ("float32", ()), ("int32", ()), ("int32", ()), ("bool", ())]
    for s in (state, after):
        assert [(str(x.dtype), x.shape) for x in s] == types
        assert not any(x.weak_type for x in s)
    assert float(state.scale) == 1 and float(state.best) == -INF and float(after.best) == 0.5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("base_lr", 0.0),
        ("base_lr", NAN),
        ("mode", "auto"),
        ("factor", 1.0),
        ("factor", 0.0),
        ("patience", -1),
        ("patience", 1.5),
        ("min_delta", -0.1),
        ("min_delta", NAN),
        ("cooldown", -2),
        ("min_lr", -1e-5),
    ],
)
def test_errors_name_the_setting_and_the_value(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}.*got '?{value}"):
        plateau.Settings(**(SETTINGS | {setting: value}))


@pytest.mark.parametrize(
    "scale, rate, min_lr, expected",
    [
        (1.0, 0.1, 0.01, 0.1),  # not cut
        (0.2, 0.1, 0.01, 0.02),  # cut, and above min_lr
        (0.2, 0.02, 0.01, 0.01),  # the cut would go below it
        (0.2, 0.005, 0.01, 0.005),  # the schedule alone is below it: it is left alone
        (0.2, 0.0, 0.01, 0.0),  # at the start of a warm-up
        (0.2, 0.02, 0.0, 0.004),  # no bound
    ],
)
def test_min_lr_bounds_the_learning_rate_under_a_schedule(scale, rate, min_lr, expected):
    settings = plateau.Settings(**(SETTINGS | {"base_lr": 0.1, "min_lr": min_lr}))
    state = plateau.init(settings)._replace(scale=jnp.float32(scale))
    found = rate * float(plateau.scale_at(state, rate, settings))
    assert found == pytest.approx(expected)
    off = dataclasses.replace(settings, enabled=False)
    assert float(plateau.scale_at(state, rate, off)) == pytest.approx(scale)
