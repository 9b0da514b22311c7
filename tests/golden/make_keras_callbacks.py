"""Records what the real Keras callbacks do, into keras_callbacks.json next to this file.

    pip install keras==3.15.0 torch==2.13.0
    KERAS_BACKEND=torch python tests/golden/make_keras_callbacks.py

Run once; the tests read the record and need no Keras. The callbacks are driven on a real compiled
model, one call of on_epoch_end per value. Which epoch's weights EarlyStopping restores is read off
the model: before each call its one weight is set to the number of the epoch.
"""

import json
import math
import pathlib

import keras
import numpy as np

EPOCHS = 24
NAN, INF = math.nan, math.inf
HAND_PICKED = {
    "falling": [1.0 - i / 32 for i in range(EPOCHS)],
    "flat": [0.5] * EPOCHS,
    "rising": [0.5 + i / 32 for i in range(EPOCHS)],
    "steps of 1/64": [2.0 - i / 64 for i in range(EPOCHS)],
    "nan first": [NAN] + [1.0 - i / 32 for i in range(EPOCHS - 1)],
    "nan always": [NAN] * EPOCHS,
    "nan later": [0.5, NAN, 0.25, NAN, NAN, NAN, 0.125, 0.75] * 3,
    "inf first": [INF, INF, INF, 0.5, 0.5, 0.25, 0.25, 0.25] * 3,
    "-inf first": [-INF, -INF, -INF, 0.5, 0.5, 0.75, 0.75, 0.75] * 3,
    "one good in the middle": [0.5] * 9 + [0.25] + [0.5] * 14,
}


def random_series(rng):
    """Values on a grid of 1/64, where ties are frequent and exact, or of 1/10000; a few NaN."""
    trend = rng.uniform(-1.5, 1.5) * np.linspace(0, 1, EPOCHS)
    values = 2 + trend + rng.normal(0, 0.3, EPOCHS)
    grid = 64 if rng.random() < 0.5 else 10000
    values = [float(v) for v in np.round(values * grid) / grid]
    if rng.random() < 0.3:
        values[rng.integers(EPOCHS)] = NAN
    return values


def random_min_delta(rng):
    """0, an exact multiple of 1/64, or one that no difference of two values can equal."""
    return float(rng.choice([0.0, 1 / 64, 1 / 8, 0.02503, 0.10007]))


def cases(rng, settings, count):
    """Every hand-picked series and `count` random ones, each with its own settings, both modes."""
    for name, values in HAND_PICKED.items():
        for mode in ("min", "max"):
            yield name, values, {"mode": mode, **settings(rng)}
    for i in range(count):
        mode = "min" if i % 2 else "max"
        yield f"random {i}", random_series(rng), {"mode": mode, **settings(rng)}


def plateau_settings(rng):
    return {
        "base_lr": float(rng.choice([0.5, 1e-3, 0.01])),
        "factor": float(rng.choice([0.5, 0.1, 0.75])),
        "patience": int(rng.integers(0, 5)),
        "min_delta": random_min_delta(rng),
        "cooldown": int(rng.integers(0, 4)),
        "min_lr": float(rng.choice([0.0, 0.0, 0.0003, 0.125])),
    }


def early_stop_settings(rng):
    return {
        "patience": int(rng.integers(0, 6)),
        "min_delta": random_min_delta(rng),
        "baseline": [None, None, 0.375, 1.5, 2.25][rng.integers(5)],
        "start_from_epoch": int(rng.choice([0, 0, 1, 4])),
    }


def tiny_model(learning_rate):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(learning_rate), loss="mse")
    return model


def run_plateau(values, base_lr, **settings):
    model = tiny_model(base_lr)
    callback = keras.callbacks.ReduceLROnPlateau("val_loss", **settings)
    callback.set_model(model)
    callback.on_train_begin()
    lr, wait, cooldown = [], [], []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value})
        lr.append(float(f"{float(model.optimizer.learning_rate):.9g}"))
        wait.append(callback.wait)
        cooldown.append(callback.cooldown_counter)
    return {"lr": lr, "wait": wait, "cooldown": cooldown}


def run_early_stop(values, **settings):
    model = tiny_model(0.1)
    callback = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True, **settings)
    callback.set_model(model)
    callback.on_train_begin()
    wait, stop_epoch = [], None
    for epoch, value in enumerate(values):
        model.set_weights([np.full((1, 1), epoch, np.float32)])
        callback.on_epoch_end(epoch, {"val_loss": value})
        wait.append(callback.wait)
        if model.stop_training:
            stop_epoch = epoch
            break
    callback.on_train_end()
    restored = int(model.get_weights()[0].item())
    assert restored == callback.best_epoch
    return {"wait": wait, "stop_epoch": stop_epoch, "best_epoch": restored}


def plain(value):
    """JSON has no NaN or infinity: their names instead."""
    return value if math.isfinite(value) else str(value)


def record(run, settings, seed):
    rng = np.random.default_rng(seed)
    return [
        {"name": name, "values": [plain(v) for v in values], "settings": chosen}
        | {"keras": run(values, **chosen)}
        for name, values, chosen in cases(rng, settings, count=40)
    ]


if __name__ == "__main__":
    result = {
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "plateau": record(run_plateau, plateau_settings, seed=1),
        "early_stop": record(run_early_stop, early_stop_settings, seed=2),
    }
    path = pathlib.Path(__file__).with_name("keras_callbacks.json")
    text = json.dumps(result, allow_nan=False, separators=(",", ":"))
    path.write_text(text.replace('{"name"', '\n{"name"') + "\n")
    print(f"{path}: {len(text)} bytes")
