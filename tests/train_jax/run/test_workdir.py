"""workdir.py, log.py: config.json, the lock, metrics.csv, TensorBoard events."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from train_jax.run.errors import UserError
from train_jax.run.log import Log, duration, read_csv
from train_jax.run.workdir import (
    ABSENT,
    differences,
    git_commit,
    lock_workdir,
    read_config,
    write_config,
)

ROOT = Path(__file__).parents[3]
CONFIG = {
    "data": {"path": "a.zip", "fraction": 1.0},
    "model": {"features": (32, 64), "dropout": None},
    "seed": 0,
}
IDENTITY = {"sha256": "12ab", "classes": ["anger", "joy"]}


def changed(**fields):
    return CONFIG | fields


def row(epoch, **fields):
    return {
        "epoch": epoch, "loss": 1 / 3 / epoch, "accuracy": 0.25, "val_loss": 0.1 + epoch,
        "val_accuracy": 0.5, "lr": 1e-3, "seconds": 2.0, "images/s": 100.0,
    } | fields  # fmt: skip


def open_writer(workdir, history=(), epochs=4):
    return Log(workdir, history=history, epochs=epochs, unit="images")


@pytest.fixture
def trained(tmp_path):
    """A workdir with a checkpoint: from then on its config counts."""
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    return tmp_path


def test_without_a_checkpoint_the_config_may_change(tmp_path):
    """A run that failed on a setting, say, must not stand in the way of the corrected one."""
    write_config(tmp_path, CONFIG, IDENTITY)
    (tmp_path / "checkpoints").mkdir()
    write_config(tmp_path, changed(seed=1), IDENTITY)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["seed"] == 1


def test_config_json_holds_what_the_run_was(tmp_path):
    write_config(tmp_path, CONFIG, IDENTITY)
    found = json.loads((tmp_path / "config.json").read_text())
    assert found["config"]["model"] == {"features": [32, 64], "dropout": None}
    assert found["identity"] == IDENTITY
    assert found["git_commit"] == git_commit()
    assert {"jax", "flax", "optax", "numpy", "python"} <= found["versions"].keys()
    assert all(found[k] for k in ("command", "machine", "started"))


def test_the_same_config_is_accepted_and_the_file_is_left_alone(trained):
    write_config(trained, CONFIG, IDENTITY)
    before = (trained / "config.json").read_bytes()
    write_config(trained, CONFIG, IDENTITY)
    assert (trained / "config.json").read_bytes() == before


def test_the_data_path_may_change_but_not_its_neighbours(trained):
    write_config(trained, CONFIG, IDENTITY)
    write_config(trained, changed(data={"path": "elsewhere.zip", "fraction": 1.0}), IDENTITY)
    with pytest.raises(UserError) as error:
        write_config(trained, changed(data={"path": "b.zip", "fraction": 0.5}), IDENTITY)
    assert "config.data.fraction: 1.0 -> 0.5" in str(error.value)
    assert "config.data.path" not in str(error.value)


def test_settings_of_evaluation_may_change(trained):
    write_config(trained, changed(eval={"tta": "none"}), IDENTITY)
    write_config(trained, changed(eval={"tta": "flip"}), IDENTITY)
    with pytest.raises(UserError, match="config.evaluate: .absent. -> 'b'"):
        write_config(trained, changed(evaluate="b"), IDENTITY)
    write_config(trained, changed(explore={"grid": 3}, explain={"size": 8}), IDENTITY)
    write_config(trained, CONFIG, IDENTITY)  # of a version without these modes
    with pytest.raises(UserError, match="config.explorer"):
        write_config(trained, changed(explorer=1), IDENTITY)


def test_the_kernels_of_a_gpu_may_change_but_not_their_neighbours(trained):
    """Nothing but rounding; runs of before the field lack it."""
    write_config(trained, changed(train={"batch_size": 2}), IDENTITY)
    write_config(trained, changed(train={"batch_size": 2, "deterministic": True}), IDENTITY)
    with pytest.raises(UserError, match="config.train.batch_size: 2 -> 3"):
        write_config(trained, changed(train={"batch_size": 3, "deterministic": True}), IDENTITY)


@pytest.mark.parametrize(
    "config,identity,line",
    [
        (changed(seed=1), IDENTITY, "config.seed: 0 -> 1"),
        (
            changed(model={"features": (32,), "dropout": None}),
            IDENTITY,
            "config.model.features: [32, 64] -> [32]",
        ),
        (changed(extra=1), IDENTITY, "config.extra: (absent) -> 1"),
        ({k: CONFIG[k] for k in ("data", "model")}, IDENTITY, "config.seed: 0 -> (absent)"),
        (CONFIG, IDENTITY | {"sha256": "99"}, "identity.sha256: '12ab' -> '99'"),
    ],
)
def test_another_config_or_other_data_is_refused_with_the_difference(
    trained, config, identity, line
):
    write_config(trained, CONFIG, IDENTITY)
    with pytest.raises(UserError) as error:
        write_config(trained, config, identity)
    lines = str(error.value).splitlines()
    assert lines[1:-1] == ["  " + line]
    assert str(trained) in lines[0] and "--workdir" in lines[-1]


def test_every_difference_is_named():
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    new = {"a": {"b": 1, "c": 4}, "d": {"e": 5}}
    assert differences(old, new) == [("a.c", 2, 4), ("d", 3, {"e": 5})]
    assert [str(d) for d in differences(old, new)] == ["a.c: 2 -> 4", "d: 3 -> {'e': 5}"]
    assert differences({"a": (1, 2)}, {"a": [1, 2]}) == []
    assert differences({"a": {"b": None}}, {"a": {}}) == [("a.b", None, ABSENT)]
    assert differences(old, old) == []


LONG = CONFIG | {
    "train": {"epochs": 5},
    "early_stop": {"patience": 3},
    "schedule": {"name": "constant"},
}


def test_a_field_that_an_older_run_lacks_counts_as_the_default_of_the_base(trained):
    base = changed(train={"new": 0.5, "list": (1, 2)})
    write_config(trained, CONFIG, IDENTITY, base=CONFIG)
    write_config(trained, base, IDENTITY, base=base)
    for other in ({"new": 0.6, "list": (1, 2)}, {"new": 0.5, "list": (1,)}):
        with pytest.raises(UserError, match="config.train.*: .absent. ->"):
            write_config(trained, changed(train=other), IDENTITY, base=base)
    with pytest.raises(UserError, match="config.train.list: .absent. ->"):
        write_config(trained, base, IDENTITY)


def test_more_epochs_and_more_patience_continue_the_run_and_are_said(trained, capsys):
    write_config(trained, LONG, IDENTITY)
    longer = LONG | {"train": {"epochs": 7}, "early_stop": {"patience": 4}}
    write_config(trained, longer, IDENTITY)
    said = capsys.readouterr().out
    assert said == (
        "continuing with config.early_stop.patience: 3 -> 4; config.train.epochs: 5 -> 7\n"
    )
    assert read_config(trained)["config"]["train"] == {"epochs": 7}
    with pytest.raises(UserError, match="epochs: 7 -> 5"):
        write_config(trained, LONG, IDENTITY)


@pytest.mark.parametrize(
    "other", [{"schedule": {"name": "cosine"}}, {"augment": {"sizes": [[24, 0.5]]}}]
)
def test_more_epochs_are_another_run_where_the_schedule_depends_on_them(trained, other):
    write_config(trained, LONG | other, IDENTITY)
    with pytest.raises(UserError, match="epochs: 5 -> 7"):
        write_config(trained, LONG | other | {"train": {"epochs": 7}}, IDENTITY)


def test_what_differs_from_the_base_is_kept(tmp_path):
    base = {"seed": 0, "model": {"a": (1, 2), "gone": None}, "newer": {"x": 1}}
    write_config(tmp_path, {"seed": 0, "model": {"a": [1, 3], "new": "b"}}, {}, base=base)
    assert read_config(tmp_path)["differs"] == [
        {"field": "model.a", "old": [1, 2], "new": [1, 3]},
        {"field": "model.gone", "old": None},
        {"field": "model.new", "new": "b"},
    ]


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"config": {}}', "3"])
def test_a_config_json_that_no_run_wrote_is_a_user_error(trained, text):
    (trained / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json is not a config"):
        write_config(trained, CONFIG, IDENTITY)


# Takes the lock, says so, and holds it until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from train_jax.run.workdir import lock_workdir
lock = lock_workdir(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(600)
"""


# The file that a refused lock leaves open has a test of its own.
ignore_open_file = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@ignore_open_file
def test_the_lock_refuses_a_second_process_until_the_first_is_killed(tmp_path):
    workdir = tmp_path / "runs" / "new"
    command = [sys.executable, "-c", HOLDER, str(workdir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        try:
            assert holder.stdout.readline() == "locked\n"
            with pytest.raises(UserError, match=f"{workdir} is in use"):
                lock_workdir(workdir)
        finally:
            holder.kill()
    with lock_workdir(workdir):
        pass


@ignore_open_file
def test_the_lock_is_free_again_after_the_block(tmp_path):
    with lock_workdir(tmp_path):
        with pytest.raises(UserError):
            lock_workdir(tmp_path)
    with lock_workdir(tmp_path):
        pass


def test_a_refused_lock_leaves_no_file_open(tmp_path):
    with lock_workdir(tmp_path):
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(UserError) as error:  # holds the frame of lock_workdir, so its file
            lock_workdir(tmp_path)
        assert len(os.listdir("/proc/self/fd")) == before, error.value


def test_csv_has_the_columns_in_order_and_every_digit(tmp_path):
    writer = open_writer(tmp_path)
    rows = [row(1), row(2)]
    for r in rows:
        writer.epoch(r)
    writer.close()
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy,lr,seconds,images/s"
    assert lines[1].startswith("1,0.3333333333333333,0.25,")
    assert read_csv(tmp_path / "metrics.csv") == rows


def test_csv_is_written_again_on_resume(tmp_path):
    writer = open_writer(tmp_path)
    for epoch in (1, 2, 3):
        writer.epoch(row(epoch))
    writer.close()
    writer = open_writer(tmp_path, history=[row(1), row(2)])
    assert read_csv(tmp_path / "metrics.csv") == [row(1), row(2)]
    writer.epoch(row(3, loss=9.0))
    writer.close()
    assert read_csv(tmp_path / "metrics.csv") == [row(1), row(2), row(3, loss=9.0)]


def test_csv_of_a_run_that_starts_from_nothing_is_not_left_behind(tmp_path):
    """Every checkpoint was damaged: the rows of the lost run are not those of this one."""
    writer = open_writer(tmp_path)
    writer.epoch(row(1))
    writer.close()
    open_writer(tmp_path, history=[]).close()
    path = tmp_path / "metrics.csv"
    assert not path.exists() or read_csv(path) == []


def test_the_history_that_was_given_is_not_changed(tmp_path):
    history = [row(1)]
    writer = open_writer(tmp_path, history=history)
    writer.epoch(row(2))
    writer.close()
    assert len(history) == 1 and [r["epoch"] for r in writer.rows] == [1, 2]


def test_the_line_of_an_epoch_says_its_numbers_and_the_time_left(tmp_path, capsys):
    writer = open_writer(tmp_path, epochs=41)
    writer.epoch(row(1, seconds=90.0))
    writer.close()
    head, line = capsys.readouterr().out.splitlines()
    assert head == "epoch  training/validation"
    assert line == (
        "  1/41  loss 0.333/1.100  accuracy 0.2500/0.5000  lr 1.0e-03  90 s  ETA 1 h 00 min"
    )


def test_a_score_of_validation_alone_is_on_the_line_too(tmp_path, capsys):
    writer = open_writer(tmp_path)
    writer.epoch({"epoch": 1, "loss": 1.0, "val_loss": 2.0, "val_chrf": 41.234, "lr": 0.1,
                  "seconds": 1.0, "pairs/s": 9.0})  # fmt: skip
    writer.close()
    assert "  1/4  loss 1.000/2.000  chrf 41.23  lr 1.0e-01" in capsys.readouterr().out


def test_progress_is_silent_where_there_is_no_terminal(tmp_path, capsys):
    writer = open_writer(tmp_path)
    capsys.readouterr()  # without tensorboardX, that
    writer.progress(1, 3, 10, 6.0, 32)
    writer.close()
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_one_line_a_second(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    writer = open_writer(tmp_path, epochs=5)
    writer.compiling()
    for now, done in ((100.0, 3), (100.5, 4), (102.0, 5)):  # noqa: B007, read by the clock
        writer.progress(2, done, 10, now - 90, 32)
    now = 104.0
    writer.progress(2, 10, 10, 14.0, 32, (3, 7))
    shown = capsys.readouterr().err.split("\r\033[K")[1:]
    assert shown == [
        "compiling",
        "  2/5  step 3/10",  # what came before took the compiler's time
        "  2/5  step 5/10  32 images/s  5 s left of it",
        "  2/5  validating 3/7",
    ]
    writer.close()


def test_a_disk_that_is_full_is_told_and_nobody_is_waited_for(tmp_path):
    """SummaryWriter's thread died of it, and the 11th event waited for ever."""
    pytest.importorskip("tensorboardX")
    writer = open_writer(tmp_path)
    writer.epoch(row(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with pytest.raises(UserError, match="metrics.csv cannot be written: File too large"):
            writer.epoch(row(2))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))  # the csv fits, events do not
        for epoch in range(2, 12):
            writer.rows.clear()
            with pytest.raises(OSError, match="File too large"):
                writer.epoch(row(epoch))
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_csv(tmp_path / "metrics.csv") == [row(11)]


def read_events(folder):
    """{tag: [(step, value)]} of all event files, oldest file first, and the purge steps."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    scalars, purges = {}, []
    for path in sorted(folder.glob("events*")):
        data, at = path.read_bytes(), 0
        while at < len(data):  # TFRecord: length u64, its crc u32, payload, crc u32
            length = int.from_bytes(data[at : at + 8], "little")
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.HasField("session_log"):
                purges.append(event.step)
            for value in event.summary.value:
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars, purges


def test_events_hold_every_column_by_epoch(tmp_path):
    writer = open_writer(tmp_path)
    writer.epoch(row(1))
    writer.epoch(row(2))
    writer.close()
    scalars, _ = read_events(tmp_path / "tb")
    assert scalars.keys() == row(1).keys() - {"epoch"}
    for name, values in scalars.items():
        assert values == [(e, pytest.approx(row(e)[name])) for e in (1, 2)]


def test_events_past_the_checkpoint_are_purged_on_resume(tmp_path):
    open_writer(tmp_path, history=[row(1), row(2)]).close()
    _, purges = read_events(tmp_path / "tb")
    assert purges == [3]


def test_without_tensorboardx_the_rest_is_written(tmp_path, monkeypatch, capsys):
    for name in ("tensorboardX", "tensorboardX.record_writer"):
        monkeypatch.setitem(sys.modules, name, None)
    writer = open_writer(tmp_path)
    writer.epoch(row(1))
    writer.close()
    assert read_csv(tmp_path / "metrics.csv") == [row(1)]
    assert not (tmp_path / "tb").exists()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "tensorboardX" in said


@pytest.mark.parametrize(
    "seconds,text",
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (725, "12 min 05 s"),
        (3599, "59 min 59 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (7 * 3600 + 59 * 60 + 59, "7 h 59 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_writing_a_file_starts_no_backend(tmp_path):
    """Else the main process would be decided, and a GPU taken, by whoever writes first."""
    program = (
        "import sys; from pathlib import Path; from jax._src import xla_bridge\n"
        "from train_jax.run.workdir import lock_workdir, write_config\n"
        "workdir = Path(sys.argv[1])\n"
        "with lock_workdir(workdir): write_config(workdir, {}, {})\n"
        "assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True)
    assert (tmp_path / "config.json").exists()


def test_a_workdir_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none"):
        with pytest.raises(UserError, match=f"{workdir} cannot be a folder .*--workdir"):
            lock_workdir(workdir)
