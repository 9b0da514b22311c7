"""loop.fit: resuming, stopping, and what a run leaves behind."""

import contextlib
import functools
import math
import re
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from orbax.checkpoint import v1 as ocp

from train_jax import loop, metrics, program
from train_jax.epoch import epoch_order
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.files import check_manifest
from train_jax.run.interrupt import Interrupted
from train_jax.run.log import read_csv
from train_jax.settings import Settings, of_config
from train_jax.task import Task

pytestmark = [
    # saved_states loads without a template, on purpose
    pytest.mark.filterwarnings("ignore:Sharding info not provided:UserWarning"),
    # orbax leaves the threads of a load that failed behind
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
    ),
]

N, VALID, FEATURES, CLASSES = 22, 13, 6, 3
STEPS = 6  # of an epoch, at batch size 4; the last has 2 rows
CALLS = 2 + 3  # of after_call in an epoch: 4 steps + 2 steps, then 3 batches of validation
TIMES = ("seconds", "rows/s")


class MLP(nn.Module):
    norm: bool

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.Dense(8)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.8)(x)
            x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
        return nn.Dense(CLASSES)(x)


def split(seed, n):
    """A label that is linear in x, with so much noise that a net overfits."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, FEATURES)).astype(np.float32)
    w = np.random.default_rng(0).normal(size=(FEATURES, CLASSES))
    y = (x @ w + 2 * rng.normal(size=(n, CLASSES))).argmax(1)
    return {"x": x, "y": y.astype(np.int32)}


def make_task(*, norm=True, train=None, valid=None) -> Task:
    model = MLP(norm)

    def scores(logits, batch):
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
        hits = (logits.argmax(-1) == batch["y"]).astype(jnp.float32)
        return {
            "loss": metrics.masked_total(entropy, batch["mask"]),
            "accuracy": metrics.masked_total(hits, batch["mask"]),
        }

    def loss(params, batch_stats, batch, key):
        logits, new = model.apply(
            {"params": params, "batch_stats": batch_stats}, batch["x"], train=True,
            rngs={"dropout": key}, mutable=["batch_stats"],
        )  # fmt: skip
        sums = scores(logits, batch)
        return metrics.safe_divide(sums["loss"]), (sums, new.get("batch_stats", {}))

    return Task(
        init=lambda key: model.init(key, jnp.zeros((1, FEATURES)), train=False),
        loss=loss,
        evaluate=lambda variables, batch: scores(
            model.apply(variables, batch["x"], train=False), batch
        ),
        train=split(1, N) if train is None else train,
        valid=split(2, VALID) if valid is None else valid,
        identity={},
        unit="rows",
    )


SETTINGS = {
    "seed": 3,
    "prng": "rbg",
    "epochs": 6,
    "batch_size": 4,
    "eval_batch_size": 5,
    "steps_per_call": 4,
    "ema_decay": 0.9,
    "optimizer": {"name": "adamw", "weight_decay": 0.01, "momentum": 0.9, "clip_norm": 1.0},
    "schedule": {
        "name": "inverse_time", "learning_rate": 0.05, "warmup_epochs": 0.5, "decay": 0.01,
        "final_fraction": 0.0,
    },
    "plateau": {
        "enabled": True, "monitor": "val_loss", "mode": "min", "factor": 0.5, "patience": 1,
        "min_delta": 0.02, "cooldown": 0, "min_lr": 0.0,
    },
    "early_stop": {
        "enabled": True, "monitor": "val_accuracy", "mode": "max", "patience": 50,
        "min_delta": 0.0, "baseline": None, "start_from_epoch": 0,
    },
    "checkpoint": {
        "select": "best", "monitor": "val_loss", "mode": "min", "min_seconds": 0.0,
    },
    "devices": 1,
}  # fmt: skip

# The plainest of tasks: none of what SETTINGS turns on.
PLAIN = {
    "prng": "threefry2x32",
    "epochs": 4,
    "steps_per_call": 1,
    "ema_decay": 0.0,
    "optimizer": {"name": "sgd", "weight_decay": 0.0, "momentum": 0.9, "clip_norm": 0.0},
    "schedule": SETTINGS["schedule"] | {"name": "constant", "warmup_epochs": 0.0},
    "plateau": SETTINGS["plateau"] | {"enabled": False},
    "early_stop": SETTINGS["early_stop"] | {"enabled": False},
}


def lenient(function):
    @functools.wraps(function)
    def call(*arguments):
        with jax.numpy_dtype_promotion("standard"):
            return function(*arguments)

    return call


@pytest.fixture(autouse=True, scope="module")
def lenient_optax():
    """optax 0.2.8's Adam and cosine mix int and float, which strict mode refuses."""
    make_schedule, make_optimizer = program.make_schedule, program.make_optimizer

    def optimizer(**settings):
        transformation = make_optimizer(**settings)
        return optax.GradientTransformation(transformation.init, lenient(transformation.update))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "make_schedule", lambda **s: lenient(make_schedule(**s)))
        patch.setattr(program, "make_optimizer", optimizer)
        yield


@pytest.fixture(autouse=True, scope="module")
def compile_once():
    """The same task with the same settings is compiled once; each fit gets a state of its own."""
    build, built = loop.build, {}

    def cached(task, mesh, settings, *, steps):
        key = id(task), repr(settings), steps
        if key not in built:
            built[key] = build(task, mesh, settings, steps=steps)
        program, state = built[key]
        return program, jax.tree.map(jnp.copy, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build", cached)
        yield


@pytest.fixture(scope="module")
def task():
    return make_task()


@pytest.fixture(scope="module")
def plain_task():
    return make_task(norm=False)


def fit(task, workdir, **changed):
    """fit with SETTINGS; `group={...}` changes single fields of a group."""
    settings = dict(SETTINGS)
    for name, value in changed.items():
        settings[name] = settings[name] | value if isinstance(value, dict) else value
    return loop.fit(task, as_settings(settings), workdir=str(workdir))  # a path, as text too


def as_settings(values) -> Settings:
    """Those of the config that these values make."""
    sections = {name: value for name, value in values.items() if isinstance(value, dict)}
    rest = {name: value for name, value in values.items() if name not in sections | {"devices": 1}}
    return of_config(
        ConfigDict({"train": rest, "distributed": {"devices": values["devices"]}, **sections})
    )


def fit_plain(task, workdir, **changed):
    return fit(task, workdir, **PLAIN | changed)


def saved_states(workdir):
    """{label: every array of the checkpoint as bytes}, without a template, so nothing is missed."""
    found = {}
    for folder in (Path(workdir) / "checkpoints").iterdir():
        assert check_manifest(folder) == []
        state = ocp.load_checkpointables(folder)["state"]
        leaves, _ = jax.tree_util.tree_flatten_with_path(state)
        found[int(folder.name)] = {jax.tree_util.keystr(k): bits(v) for k, v in leaves}
    return found


def bits(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(leaf)), bits(jax.random.key_data(leaf))
    leaf = np.asarray(leaf)
    return str(leaf.dtype), leaf.shape, leaf.tobytes()


def whole(workdir, mode="min"):
    checkpoints = Checkpoints(Path(workdir) / "checkpoints", mode=mode)
    saved, best = checkpoints.whole(), checkpoints.best()
    return saved, best


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def assert_same_run(one, two):
    """Checkpoints, their labels and records, and metrics.csv agree in all but the times."""
    a, b = saved_states(one), saved_states(two)
    assert a.keys() == b.keys()
    for label in a:
        assert a[label].keys() == b[label].keys()
        assert [k for k in a[label] if a[label][k] != b[label][k]] == []
    (saved, best), (saved_two, best_two) = whole(one), whole(two)
    assert best.label == best_two.label
    for x, y in zip(saved, saved_two, strict=True):
        assert x[:2] == y[:2]
        histories = x.record["history"], y.record["history"]
        assert without_times(histories[0]) == without_times(histories[1])
    lines = [(Path(w) / "metrics.csv").read_text().splitlines() for w in (one, two)]
    assert lines[0][0] == lines[1][0]
    rows = [read_csv(Path(w) / "metrics.csv") for w in (one, two)]
    assert without_times(rows[0]) == without_times(rows[1])


class Run(NamedTuple):
    workdir: Path
    rows: list
    compilations: list  # of the training step, the evaluation step and the end of an epoch


@contextlib.contextmanager
def spied_programs():
    """Within the block, a list that gets the compiled functions of each fit."""
    programs, build = [], loop.build

    def spy(*arguments, **settings):
        program, state = build(*arguments, **settings)
        programs.append(program)
        return program, state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build", spy)
        yield programs


def compilations(program):
    functions = (program.train_step_at(0), program.eval_step, program.epoch_end)
    return [f._cache_size() for f in functions]


@pytest.fixture(scope="module")
def six(tmp_path_factory, task):
    """The reference: 6 epochs without a stop."""
    workdir = tmp_path_factory.mktemp("six")
    with spied_programs() as programs:
        rows = fit(task, workdir)
    return Run(workdir, rows, compilations(programs[0]))


def test_the_reference_run_is_worth_comparing_with(six):
    """The rate is cut, the best epoch is neither the first nor the last, the net learns."""
    rates = [row["lr"] for row in six.rows]
    saved, best = whole(six.workdir)
    best_row = min(six.rows, key=lambda r: r["val_loss"])
    assert 1 < best_row["epoch"] < 6
    assert len(saved) == 2 and best.label == best_row["epoch"] * (STEPS + 1)
    assert saved[-1].label == 6 * (STEPS + 1)
    assert rates[-1] < 0.6 * 0.05
    assert six.rows[-1]["loss"] < six.rows[0]["loss"]


def test_one_compilation_over_all_epochs_and_plateau_cuts(six):
    assert six.compilations == [2, 1, 1]  # of 4 steps and of 2, the last call of each epoch


@pytest.fixture(scope="module")
def staged_task(task):
    """Epochs 0, 1 with a loss three times as large, then the plain one."""

    def tripled(*arguments):
        loss, rest = task.loss(*arguments)
        return 3 * loss, rest

    return task._replace(loss_at=lambda epoch: tripled if epoch < 2 else task.loss)


@pytest.mark.parametrize("stop", [3, CALLS + 2, 2 * CALLS + 1])
def test_a_loss_that_changes_with_the_epoch_resumes_exactly(
    staged_task, task, tmp_path, monkeypatch, stop
):
    one, two = tmp_path / "one", tmp_path / "two"
    changes = {"epochs": 4, "optimizer": {"name": "sgd", "clip_norm": 0.0}}
    rows = fit(staged_task, one, **changes)
    monkeypatch.setattr(loop.Log, "progress", SignalAt(stop, signal.SIGINT))
    with pytest.raises(Interrupted):
        fit(staged_task, two, **changes)
    monkeypatch.undo()
    fit(staged_task, two, **changes)
    assert_same_run(one, two)
    plain = fit(task, tmp_path / "plain", **changes)
    assert rows[0]["val_loss"] != plain[0]["val_loss"]
    with spied_programs() as programs:
        fit(staged_task, tmp_path / "spied", **changes)
    steps = [programs[0].train_step_at(epoch) for epoch in range(4)]
    assert steps[0] is steps[1] and steps[2] is steps[3] is not steps[0]
    assert [s._cache_size() for s in steps[1:3]] == [2, 2]  # of 4 steps, of 2


def test_the_last_epoch_may_be_selected(task, tmp_path, six):
    fit(task, tmp_path, checkpoint={"select": "last"})
    checkpoints = Checkpoints(tmp_path / "checkpoints", mode="min", select="last")
    assert checkpoints.best().label == 6 * (STEPS + 1) != whole(six.workdir)[1].label
    assert checkpoints.labels() == [6 * (STEPS + 1)]  # the best by the metric is not kept


def test_training_without_validation(tmp_path):
    nothing = {name: array[:0] for name, array in split(2, VALID).items()}
    task = make_task(norm=False, valid=nothing)
    rows = fit_plain(task, tmp_path, checkpoint={"select": "last"}, epochs=2)
    assert [list(row) for row in rows] == [
        ["epoch", "loss", "accuracy", "lr", "seconds", "rows/s"]
    ] * 2
    trained = fit_plain(make_task(norm=False), tmp_path / "valid", epochs=2)
    assert [row["loss"] for row in rows] == [row["loss"] for row in trained]
    again = fit_plain(task, tmp_path, checkpoint={"select": "last"}, epochs=3)
    assert [row["epoch"] for row in again] == [1, 2, 3]
    for group in ("checkpoint", "plateau", "early_stop"):
        used = {"checkpoint": {"select": "last"}} | {
            group: {"monitor": "val_loss"}
            | ({"select": "best"} if group == "checkpoint" else {"enabled": True})
        }
        plain = {name: PLAIN.get(name, {}) | value for name, value in used.items()}
        with pytest.raises(UserError, match="no validation data.*got 'val_loss'"):
            fit_plain(task, tmp_path / group, **plain)


def test_one_compilation_in_a_resumed_run(plain_task, tmp_path):
    """Arrays from a checkpoint are committed to a device, those of a new state are not."""
    with spied_programs() as programs:
        fit_plain(plain_task, tmp_path, epochs=1, seed=5)
        fit_plain(plain_task, tmp_path, epochs=3, seed=5)
    assert programs[0] is not programs[1]
    assert [compilations(p) for p in programs] == [[1, 1, 1]] * 2


def test_rows_have_the_columns_in_order(six):
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds", "rows/s"]
    assert [list(row) for row in six.rows] == [columns] * 6
    assert read_csv(six.workdir / "metrics.csv") == six.rows
    assert [row["epoch"] for row in six.rows] == [1, 2, 3, 4, 5, 6]


def test_validation_is_that_of_the_moving_average(six, task):
    """Recomputed for the last epoch from its checkpoint, without batches."""
    state = ocp.load_checkpointables(six.workdir / "checkpoints" / "42")["state"]
    params, batch_stats = state["ema"]
    x, y = task.valid["x"], task.valid["y"]
    logits = MLP(True).apply({"params": params, "batch_stats": batch_stats}, x, train=False)
    accuracy = float((np.asarray(logits).argmax(1) == y).mean())
    assert six.rows[-1]["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_the_lr_column_is_that_of_the_last_step_of_the_epoch(six):
    """Warm-up of 3 steps, inverse_time, times the plateau, by Keras's rule on val_loss."""
    scale, best, wait = 1.0, math.inf, 0
    for row in six.rows:
        t = row["epoch"] * STEPS - 1 - 3
        assert row["lr"] == pytest.approx(scale * 0.05 / (1 + 0.01 * t), rel=1e-5)
        if row["val_loss"] < best - 0.02:
            best, wait = row["val_loss"], 0
        else:
            wait += 1
            if wait >= 1:
                scale, wait = scale * 0.5, 0
    assert scale < 1


def test_three_epochs_and_three_more_equal_six(six, task, tmp_path):
    fit(task, tmp_path, epochs=3)
    rows = fit(task, tmp_path)
    assert_same_run(six.workdir, tmp_path)
    assert without_times(rows) == without_times(six.rows)


def test_a_kill_after_the_checkpoint_and_before_the_csv_loses_nothing(
    six, task, tmp_path, monkeypatch
):
    write = loop.Log.epoch

    def killed(self, row):
        if row["epoch"] == 3:
            raise MemoryError("kill -9")
        write(self, row)

    monkeypatch.setattr(loop.Log, "epoch", killed)
    with pytest.raises(MemoryError):
        fit(task, tmp_path)
    assert len(read_csv(tmp_path / "metrics.csv")) == 2
    monkeypatch.undo()
    fit(task, tmp_path)
    assert_same_run(six.workdir, tmp_path)


class SignalAt:
    """In place of Writer.progress, which is called after each call of a compiled step."""

    def __init__(self, call, signum):
        self.calls, self.call, self.signum = 0, call, signum

    def __call__(self, *_):
        self.calls += 1
        if self.calls == self.call:
            signal.raise_signal(self.signum)


@pytest.mark.parametrize(
    "call,signum,step",
    [
        (1, signal.SIGTERM, 4),  # the first call of the run: nothing else is saved yet
        (3 * CALLS + 1, signal.SIGINT, 3 * STEPS + 4),  # in the middle of epoch 4
        (3 * CALLS + 2, signal.SIGTERM, 4 * STEPS),  # after its last step
        (3 * CALLS + 4, signal.SIGINT, 4 * STEPS),  # during its validation
    ],
)
def test_a_signal_and_resuming_equal_a_run_without(
    six, task, tmp_path, monkeypatch, call, signum, step
):
    before = signal.getsignal(signum)
    monkeypatch.setattr(loop.Log, "progress", SignalAt(call, signum))
    with pytest.raises(Interrupted) as error:
        fit(task, tmp_path)
    assert error.value.exit_code == 128 + signum
    epoch = (call - 1) // CALLS + 1
    for words in (f"in epoch {epoch}, after step {step}", str(tmp_path), "same command"):
        assert words in str(error.value)
    assert signal.getsignal(signum) == before
    if epoch > 1:
        saved, _ = whole(tmp_path)
        assert (saved[-1].label, saved[-1].metric) == (step + epoch - 1, None)
    monkeypatch.undo()
    fit(task, tmp_path)
    assert_same_run(six.workdir, tmp_path)


def test_two_signals_in_the_same_validation_save_once_and_resume(six, task, tmp_path, monkeypatch):
    """The second run is stopped where the first was: its checkpoint is there already."""
    monkeypatch.setattr(loop.Log, "progress", SignalAt(3, signal.SIGINT))
    with pytest.raises(Interrupted):
        fit(task, tmp_path)
    monkeypatch.setattr(loop.Log, "progress", SignalAt(1, signal.SIGTERM))
    with pytest.raises(Interrupted, match=f"epoch 1, after step {STEPS};"):
        fit(task, tmp_path)
    monkeypatch.undo()
    fit(task, tmp_path)
    assert_same_run(six.workdir, tmp_path)


def test_a_second_ctrl_c_ends_at_once_and_what_was_saved_stays(task, tmp_path, monkeypatch):
    def twice(self, *_):
        if len(self.rows) == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.Log, "progress", twice)
    # a shell starts what it puts in the background with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(task, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [s.label for s in whole(tmp_path)[0]] == [STEPS + 1]


def snapshot(workdir):
    files = [p for p in Path(workdir).rglob("*") if p.is_file() and "tb" not in p.parts]
    return {p: (p.read_bytes(), p.stat().st_ino if "checkpoints" in p.parts else 0) for p in files}


def test_a_finished_run_run_again_changes_nothing(six, task, monkeypatch):
    before = snapshot(six.workdir)
    train = SignalAt(1, signal.SIGINT)
    monkeypatch.setattr(loop.Log, "progress", train)
    rows = fit(task, six.workdir)
    assert rows == six.rows and train.calls == 0
    assert snapshot(six.workdir) == before


def test_early_stopping_stops_and_stays_stopped(plain_task, tmp_path, monkeypatch):
    """min_delta 10 is never reached, so with patience 2 epoch 3 is the last one, as in Keras."""
    settings = {
        "epochs": 9,
        "early_stop": SETTINGS["early_stop"] | {"patience": 2, "min_delta": 10.0},
    }
    rows = fit_plain(plain_task, tmp_path, **settings)
    assert len(rows) == 3
    before = snapshot(tmp_path)
    train = SignalAt(1, signal.SIGINT)
    monkeypatch.setattr(loop.Log, "progress", train)
    assert fit_plain(plain_task, tmp_path, **settings) == rows
    assert train.calls == 0 and snapshot(tmp_path) == before


def test_early_stopping_watches_its_own_monitor(plain_task, tmp_path):
    """Mode max on a loss that falls: bad from the second epoch on."""
    early_stop = SETTINGS["early_stop"] | {"patience": 1, "monitor": "loss"}
    assert len(fit_plain(plain_task, tmp_path, early_stop=early_stop)) == 2


def test_the_plateau_cuts_the_rate_down_to_min_lr(plain_task, tmp_path):
    plateau = SETTINGS["plateau"] | {"factor": 0.1, "min_delta": 10.0, "min_lr": 2e-3}
    rows = fit_plain(plain_task, tmp_path, plateau=plateau)
    assert [row["lr"] for row in rows] == pytest.approx([0.05, 0.05, 0.005, 0.002])


def test_the_plateau_leaves_min_lr_under_a_schedule_too(plain_task, tmp_path):
    """The schedule alone goes below it; with the plateau's cut, never further."""
    schedule = SETTINGS["schedule"] | {"name": "inverse_time", "decay": 0.5}
    plateau = SETTINGS["plateau"] | {"factor": 0.01, "min_delta": 10.0, "min_lr": 5e-3}
    plain = fit_plain(plain_task, tmp_path / "a", schedule=schedule)
    rows = fit_plain(plain_task, tmp_path / "b", schedule=schedule, plateau=plateau)
    alone = [row["lr"] for row in plain]
    cut = [False, False, True, True]
    expected = [min(lr, 5e-3) if c else lr for lr, c in zip(alone, cut, strict=True)]
    assert [row["lr"] for row in rows] == pytest.approx(expected)
    assert rows[2]["loss"] != plain[2]["loss"] or rows[3]["loss"] != plain[3]["loss"]


def test_the_plainest_task_trains_and_resumes(plain_task, tmp_path, monkeypatch):
    """SGD, no batch norm, no moving average, one step per call, plateau and early stopping off."""
    rows = fit_plain(plain_task, tmp_path / "one")
    assert [row["lr"] for row in rows] == pytest.approx([0.05] * 4)
    assert rows[-1]["loss"] < rows[0]["loss"]
    monkeypatch.setattr(loop.Log, "progress", SignalAt(9 + 3, signal.SIGINT))  # 6 + 3 per epoch
    with pytest.raises(Interrupted, match="in epoch 2, after step 9;"):
        fit_plain(plain_task, tmp_path / "two")
    monkeypatch.undo()
    fit_plain(plain_task, tmp_path / "two")
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_the_sgd_of_one_epoch_equals_numpy(plain_task, tmp_path):
    """Order, masks, gradients of a linear two-layer net, Nesterov: all of it once more."""
    rows = fit_plain(plain_task, tmp_path, epochs=1)
    start = plain_task.init(jax.random.fold_in(jax.random.key(3), 2**31 - 1))["params"]
    p = {k + n: np.asarray(v, np.float64) for k, d in start.items() for n, v in d.items()}
    velocity = {k: np.zeros_like(v) for k, v in p.items()}
    total = 0.0
    index, mask = epoch_order(N, 4, seed=3, epoch=0)
    for i, m in zip(index, mask, strict=True):
        x, y = plain_task.train["x"][i[m == 1]].astype(np.float64), plain_task.train["y"][i[m == 1]]
        hidden = x @ p["Dense_0kernel"] + p["Dense_0bias"]
        logits = hidden @ p["Dense_1kernel"] + p["Dense_1bias"]
        soft = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        total -= np.log(soft[np.arange(len(y)), y]).sum()
        d = (soft - np.eye(CLASSES)[y]) / len(y)
        back = d @ p["Dense_1kernel"].T
        gradient = {
            "Dense_1kernel": hidden.T @ d,
            "Dense_1bias": d.sum(0),
            "Dense_0kernel": x.T @ back,
            "Dense_0bias": back.sum(0),
        }
        for k, g in gradient.items():
            velocity[k] = 0.9 * velocity[k] - 0.05 * g
            p[k] = p[k] + 0.9 * velocity[k] - 0.05 * g
    assert rows[0]["loss"] == pytest.approx(total / N, rel=1e-4)  # float32, 6 steps
    state = ocp.load_checkpointables(tmp_path / "checkpoints" / "7")["state"]
    for k in p:
        found = state["params"][k[:7]][k[7:]]
        np.testing.assert_allclose(found, p[k], rtol=1e-4, atol=1e-5, err_msg=k)


@pytest.mark.parametrize("value,name", [(np.nan, "nan"), (np.inf, "(nan|inf)")])
def test_nan_or_infinity_in_the_data_names_epoch_step_and_the_last_good_checkpoint(
    plain_task, tmp_path, value, name
):
    fit_plain(plain_task, tmp_path, epochs=2)
    before = snapshot(tmp_path)
    train = {k: v.copy() for k, v in plain_task.train.items()}
    train["x"][11, 2] = value
    index, _ = epoch_order(N, 4, seed=3, epoch=2)
    row = np.argwhere(index == 11)[0][0]
    with pytest.raises(UserError) as error:
        fit_plain(plain_task._replace(train=train), tmp_path)
    assert re.search(f"loss is {name} in epoch 3, step {row + 1} of 6", str(error.value))
    assert f"The last good checkpoint is {tmp_path / 'checkpoints' / '14'};" in str(error.value)
    assert "learning_rate" in str(error.value)
    assert snapshot(tmp_path) == before
    fit_plain(plain_task, tmp_path)  # and fixed data continue


def test_a_signal_does_not_save_a_state_that_is_nan(plain_task, tmp_path, monkeypatch):
    train = {k: v.copy() for k, v in plain_task.train.items()}
    train["x"][:] = np.nan
    monkeypatch.setattr(loop.Log, "progress", SignalAt(1, signal.SIGINT))
    with pytest.raises(
        UserError, match="loss is nan in epoch 1, step 1 of 6. Nothing is saved yet"
    ):
        fit_plain(plain_task._replace(train=train), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_signal_does_not_save_parameters_that_the_last_step_made_infinite(
    plain_task, tmp_path, monkeypatch
):
    """The loss is computed before the step, so it is still finite."""
    train = {"x": 1e4 * plain_task.train["x"], "y": (plain_task.train["y"] + 1) % CLASSES}
    monkeypatch.setattr(loop.Log, "progress", SignalAt(1, signal.SIGINT))
    with pytest.raises(UserError, match="parameters are not finite in epoch 1, after step 1 of 6"):
        schedule = PLAIN["schedule"] | {"learning_rate": 3e38}
        fit_plain(plain_task._replace(train=train), tmp_path, schedule=schedule)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("steps_per_call", [0, 1, 3, 32])
def test_steps_per_call_decides_nothing_but_rounding(six, task, tmp_path, steps_per_call):
    """One epoch and the next: 12 steps with dropout, batch norm and the moving average."""
    rows = fit(task, tmp_path, epochs=2, steps_per_call=steps_per_call)
    for row, expected in zip(without_times(rows), without_times(six.rows), strict=False):
        assert row == pytest.approx(expected, rel=1e-4)  # float32 eps 1e-7, over 12 steps


def test_another_seed_is_another_run(six, task, tmp_path):
    rows = fit(task, tmp_path, epochs=1, seed=4)
    assert rows[0]["loss"] != six.rows[0]["loss"]


def test_nan_in_validation_only_names_the_epoch(plain_task, tmp_path):
    valid = {k: v.copy() for k, v in plain_task.valid.items()}
    valid["x"][0] = np.nan
    with pytest.raises(UserError, match="not finite after epoch 1: {'val_loss': nan}"):
        fit_plain(plain_task._replace(valid=valid), tmp_path)


@pytest.mark.parametrize("group", ["plateau", "early_stop", "checkpoint"])
def test_an_unknown_monitor_lists_the_choices(plain_task, tmp_path, group):
    with pytest.raises(UserError) as error:
        fit(plain_task, tmp_path, **{group: {"monitor": "val_acc"}})
    choices = ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(repr(c) in str(error.value) for c in choices)
    assert "'val_acc'" in str(error.value).replace("'val_accuracy'", "")


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"prng": "philox"}, "philox"),
        ({"optimizer": {"name": "rmsprop"}}, "rmsprop"),
        ({"schedule": {"name": "linear"}}, "linear"),
        ({"schedule": {"learning_rate": -1.0}}, "-1.0"),
        ({"plateau": {"factor": 1.5}}, "factor"),
        ({"plateau": {"enabled": False, "mode": "auto"}}, "auto"),
        ({"early_stop": {"patience": -1}}, "patience"),
        ({"checkpoint": {"mode": "auto"}}, "auto"),
        ({"checkpoint": {"min_seconds": -1.0}}, "checkpoint.min_seconds must be >= 0, got -1.0"),
        ({"batch_size": 0}, "batch_size"),
        ({"eval_batch_size": 0}, "eval_batch_size"),
        ({"steps_per_call": -1}, "steps_per_call"),
        ({"ema_decay": -0.5}, "ema_decay"),
        ({"epochs": -1}, "epochs"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_setting_that_makes_no_sense_is_a_user_error(plain_task, tmp_path, settings, words):
    with pytest.raises(UserError, match=words):
        fit(plain_task, tmp_path, **{"epochs": 1} | settings)


def test_a_damaged_newest_checkpoint_costs_epochs_but_not_the_result(six, task, tmp_path, capsys):
    """Fallback to the best one: from there, the same epochs once more, the same end."""
    shutil.copytree(six.workdir, tmp_path, dirs_exist_ok=True)
    saved, best = whole(tmp_path)
    newest = tmp_path / "checkpoints" / str(saved[-1].label)
    assert best.label < saved[-1].label
    data = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[:-1])
    rows = fit(task, tmp_path)
    said = capsys.readouterr().out
    assert f"{newest} is damaged" in said
    assert f"continuing after epoch {best.label // (STEPS + 1)}" in said
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert_same_run(six.workdir, tmp_path)
