"""early_stop.py against traces written by hand and against a record of Keras itself."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import pytest

from train_jax import early_stop

NAN, INF = math.nan, math.inf
SETTINGS = {
    "mode": "min",
    "patience": 2,
    "min_delta": 0.0,
    "baseline": None,
    "start_from_epoch": 0,
}

# Each row is one epoch, from 0: value -> best_epoch, wait, stop after it.
TRACES = {
    "patience 2 stops at the second bad epoch in a row": (
        {},
        [
            (1.0, 0, 0, False),
            (1.5, 0, 1, False),
            (0.9, 2, 0, False),
            (0.9, 2, 1, False),  # equal is not better
            (0.95, 2, 2, True),
        ],
    ),
    "patience 0 stops at the first bad epoch": (
        {"patience": 0},
        [(1.0, 0, 0, False), (0.5, 1, 0, False), (0.5, 1, 1, True)],
    ),
    "a stop stays, whatever comes": (
        {"patience": 1},
        [(1.0, 0, 0, False), (1.0, 0, 1, True), (0.5, 2, 0, True)],
    ),
    "min_delta is absolute, and must be exceeded": (
        {"min_delta": 0.25},
        [
            (1.0, 0, 0, False),
            (0.75, 0, 1, False),  # better by exactly min_delta
            (0.5, 2, 0, False),
            (0.375, 2, 1, False),
            (0.3125, 2, 2, True),
        ],
    ),
    "mode max": (
        {"mode": "max", "min_delta": 0.25},
        [
            (0.25, 0, 0, False),
            (0.75, 1, 0, False),
            (1.0, 1, 1, False),
            (0.0, 1, 2, True),
        ],
    ),
    "short of the baseline wait goes on, but the best epoch never stops": (
        {"baseline": 0.5, "patience": 2},
        [
            (1.0, 0, 1, False),
            (0.9, 1, 2, False),  # patience is over; yet this is the best so far
            (0.8, 2, 3, False),
            (0.4, 3, 0, False),
            (0.45, 3, 1, False),  # better than the baseline, not than the best
            (0.4, 3, 2, True),
        ],
    ),
    "never past the baseline: the best of the epochs seen": (
        {"baseline": 0.1, "patience": 2},
        [(1.0, 0, 1, False), (0.8, 1, 2, False), (0.9, 1, 3, True)],
    ),
    "min_delta counts at the baseline too": (
        {"baseline": 0.5, "patience": 3, "min_delta": 0.25},
        [(1.0, 0, 1, False), (0.25, 1, 2, False), (0.3, 1, 3, True)],
    ),
    "mode max with a baseline": (
        {"mode": "max", "baseline": 0.5},
        [(0.4, 0, 1, False), (0.6, 1, 0, False), (0.6, 1, 1, False), (0.5, 1, 2, True)],
    ),
    "epochs before start_from_epoch are ignored, good ones too": (
        {"start_from_epoch": 2},
        [
            (0.1, -1, 0, False),
            (NAN, -1, 0, False),
            (0.5, 2, 0, False),
            (0.5, 2, 1, False),
            (0.4, 4, 0, False),
            (0.4, 4, 1, False),
            (0.4, 4, 2, True),
        ],
    ),
    "on a NaN first nothing improves, and its epoch is the one to restore": (
        {"patience": 3, "start_from_epoch": 1},
        [
            (0.1, -1, 0, False),
            (NAN, 1, 0, False),
            (0.9, 1, 1, False),
            (0.8, 1, 2, False),
            (0.7, 1, 3, True),
        ],
    ),
    "NaN later is a bad epoch": (
        {},
        [
            (1.0, 0, 0, False),
            (NAN, 0, 1, False),
            (0.5, 2, 0, False),
            (NAN, 2, 1, False),
            (NAN, 2, 2, True),
        ],
    ),
    "an infinite first value counts once": (
        {},
        [(INF, 0, 0, False), (INF, 0, 1, False), (INF, 0, 2, True)],
    ),
}


def run(values, settings):
    """The states after each epoch, by one compiled update."""
    settings = early_stop.Settings(**settings)
    step = jax.jit(lambda state, value, epoch: early_stop.update(state, value, epoch, settings))
    state, states = early_stop.init(settings), []
    for epoch, value in enumerate(values):
        state = step(state, jnp.float32(value), jnp.int32(epoch))
        states.append(state)
    assert step._cache_size() == 1, "update was traced again"
    return states


def run_together(cases):
    """For each case the states after each epoch; one program, as 60 compilations take 5 s."""

    def step(carry, values):
        epoch, states = carry
        states = [
            early_stop.update(state, value, epoch, one)
            for state, value, one in zip(states, values, settings, strict=True)
        ]
        return (epoch + 1, states), states

    settings = [early_stop.Settings(**case["settings"]) for case in cases]
    start = [early_stop.init(one) for one in settings]
    values = [jnp.array([float(v) for v in case["values"]], jnp.float32) for case in cases]
    _, states = jax.jit(lambda: jax.lax.scan(step, (jnp.int32(0), start), values))()
    return jax.device_get(states)


@pytest.mark.parametrize("name", TRACES)
def test_trace(name):
    changed, rows = TRACES[name]
    states = run([row[0] for row in rows], SETTINGS | changed)
    assert [(int(s.best_epoch), int(s.wait), bool(s.stop)) for s in states] == [
        row[1:] for row in rows
    ]


@pytest.mark.equivalence(
    "early_stop.update", "Keras 3.15 EarlyStopping, recorded", "the same epochs"
)
def test_same_as_keras():
    path = pathlib.Path(__file__).parents[1] / "golden" / "keras_callbacks.json"
    cases = json.loads(path.read_text())["early_stop"]
    assert len(cases) >= 30
    for case, states in zip(cases, run_together(cases), strict=True):
        keras, label = case["keras"], f"{case['name']}: {case['settings']}"
        stopped = states.stop.nonzero()[0].tolist()
        assert (stopped[0] if stopped else None) == keras["stop_epoch"], label
        ran = len(keras["wait"])  # Keras was driven until it stopped
        assert states.wait[:ran].tolist() == keras["wait"], label
        assert states.best_epoch[ran - 1] == keras["best_epoch"], label
    stops = [case["keras"]["stop_epoch"] for case in cases]
    assert None in stops and len(set(stops)) > 5


def test_state_keeps_its_types():
    settings = early_stop.Settings(**SETTINGS)
    state = early_stop.init(settings)
    after = early_stop.update(state, 0.5, 0, settings)
    types = [("float32", ()), ("int32", ()), ("int32", ()), ("bool", ())]
    for s in (state, after):
        assert [(str(x.dtype), x.shape) for x in s] == types
        assert not any(x.weak_type for x in s)
    assert float(state.best) == INF and float(after.best) == 0.5


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("mode", "auto"),
        ("patience", -1),
        ("min_delta", -0.1),
        ("min_delta", NAN),
        ("baseline", NAN),
        ("baseline", "low"),
        ("baseline", True),
        ("start_from_epoch", -1),
        ("start_from_epoch", 0.5),
    ],
)
def test_errors_name_the_setting_and_the_value(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}.*got '?{value}"):
        early_stop.Settings(**(SETTINGS | {setting: value}))
