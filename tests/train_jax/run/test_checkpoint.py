"""checkpoint.py: round trips, which checkpoints are kept, and every kind of damage."""

import errno
import gc
import json
import math
import os
import resource
import shutil
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train_jax import early_stop, plateau
from train_jax import state as state_lib
from train_jax.metrics import TotalAndCount
from train_jax.run import checkpoint as checkpoint_lib
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.run.files import MANIFEST, check_manifest, write_manifest

# orbax leaves the threads of a save that failed behind
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
)

RECORD = {"history": [{"epoch": 1, "loss": 0.1 + 0.2}], "elapsed": 1.5}


PLATEAU = plateau.Settings(
    base_lr=0.1, mode="min", factor=0.5, patience=1, min_delta=0.0, cooldown=0, min_lr=0.0
)
EARLY_STOP = early_stop.Settings(
    mode="max", patience=2, min_delta=0.0, baseline=None, start_from_epoch=0
)


def make_state(seed, *, impl="rbg", ema=True, width=7):
    """A TrainState with random numbers in every field."""
    rng = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    variables = {
        "params": {"Dense_0": {"kernel": array(5, width), "bias": array(width)}},
        "batch_stats": {"mean": array(width)},
    }
    optimizer = optax.adam(0.1)
    state = state_lib.create(
        variables=variables,
        optimizer=optimizer,
        plateau=plateau.init(PLATEAU),
        early_stop=early_stop.init(EARLY_STOP),
        metrics={"loss": TotalAndCount(array(), array())},
        ema_decay=0.9 if ema else 0.0,
        key=jax.random.key(seed, impl=impl),
    )

    def noisy(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) or leaf.dtype == jnp.bool:
            return leaf
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jnp.asarray(rng.integers(-1000, 1000, leaf.shape), leaf.dtype)
        return array(*leaf.shape)

    return jax.tree.map(noisy, state)


def bits(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(leaf)), bits(jax.random.key_data(leaf))
    return leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert bits(x) == bits(y)


@pytest.fixture
def opened():
    return lambda folder, mode="min": Checkpoints(folder, mode=mode)


@pytest.mark.parametrize("impl", ["rbg", "threefry2x32"])
@pytest.mark.parametrize("ema", [True, False])
def test_the_whole_state_comes_back_bit_for_bit(tmp_path, opened, impl, ema):
    """NaN, infinity, -0.0 and a denormal included."""
    state = make_state(1, impl=impl, ema=ema)
    odd = jnp.array([jnp.nan, jnp.inf, -jnp.inf, -0.0, 1e-42, 1.0, 2.0], jnp.float32)
    state = state.replace(batch_stats={"mean": odd})
    opened(tmp_path / "c").save(12, state, record=RECORD, metric=0.5)
    checkpoints = opened(tmp_path / "c")
    (saved,) = checkpoints.whole()
    assert saved == (12, 0.5, RECORD)
    loaded = checkpoints.load(saved, like=make_state(2, impl=impl, ema=ema))
    assert_same(loaded, state)
    assert (loaded.ema is None) == (not ema)
    other = jax.random.key_data(jax.random.fold_in(state.key, 3))
    assert (other == jax.random.key_data(jax.random.fold_in(loaded.key, 3))).all()


def test_a_part_of_the_state_can_be_loaded(tmp_path, opened):
    state = make_state(1)
    checkpoints = opened(tmp_path / "c")
    checkpoints.save(1, state, record={}, metric=0.5)
    like = {"params": make_state(2).params, "ema": make_state(2).ema}
    part = checkpoints.load_part(checkpoints.best(), like=like)
    assert_same(part, {"params": state.params, "ema": state.ema})


def save_all(checkpoints, metrics):
    """Saves under the labels 1, 2, ...; a metric of None is a save in the middle of an epoch."""
    for label, metric in enumerate(metrics, 1):
        checkpoints.save(label, make_state(label), record={"n": label}, metric=metric)


@pytest.mark.parametrize("metrics", [[0.1, 0.3, 0.2], [0.1, math.nan, None]])
def test_the_last_finished_epoch_may_be_the_best(tmp_path, metrics):
    checkpoints = Checkpoints(tmp_path / "c", mode="min", select="last")
    save_all(checkpoints, metrics)
    last = 2 if metrics[-1] is None else 3
    assert checkpoints.best().label == last
    assert checkpoints.labels() == list(range(last, 4))


def test_an_unknown_selection_is_refused(tmp_path):
    with pytest.raises(ValueError, match="select must be 'best' or 'last', got 'newest'"):
        Checkpoints(tmp_path / "c", mode="min", select="newest")


@pytest.mark.parametrize(
    "mode,metrics,kept,best",
    [
        ("min", [0.5, 0.3, 0.4, 0.6], [2, 4], 2),
        ("max", [0.5, 0.7, 0.4, 0.6], [2, 4], 2),
        ("min", [0.5, 0.3], [2], 2),
        ("max", [-3.0, -5.0, -4.0], [1, 3], 1),
        ("min", [0.5, None, 0.7, None], [1, 4], 1),  # in mid-epoch: newest, but never the best
        ("max", [0.5, None], [1, 2], 1),
        ("max", [None, 0.0, None], [2, 3], 2),
        ("min", [0.0, 0.1, None], [1, 3], 1),
    ],
)
def test_newest_and_best_are_kept_and_the_others_deleted(
    tmp_path, opened, mode, metrics, kept, best
):
    writing = opened(tmp_path / "c", mode)
    save_all(writing, metrics)
    for checkpoints in (writing, opened(tmp_path / "c", mode)):
        assert [s.label for s in checkpoints.whole()] == kept
        assert sorted(int(p.name) for p in (tmp_path / "c").iterdir()) == kept
        assert checkpoints.best() == (best, metrics[best - 1], {"n": best})
    assert_same(checkpoints.load(checkpoints.best(), like=make_state(0)), make_state(best))


@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_equal_epochs_the_one_with_the_least_loss_is_the_best(tmp_path, opened, mode):
    checkpoints = opened(tmp_path / "c", mode=mode)
    for label, loss in enumerate((0.7, 0.5, 0.6), start=1):
        record = {"history": [{"val_loss": 9.0}, {"val_loss": loss}]}
        checkpoints.save(label, make_state(label), record=record, metric=0.5)
    assert checkpoints.best().label == 2 and checkpoints.labels() == [2, 3]
    assert not checkpoints.improves(checkpoints.rank(0.5, record), checkpoints.best_rank())
    better = {"history": [{"val_loss": 0.4}]}
    assert checkpoints.improves(checkpoints.rank(0.5, better), checkpoints.best_rank())
    worse = 0.6 if mode == "min" else 0.4
    assert not checkpoints.improves(checkpoints.rank(worse, better), checkpoints.best_rank())


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_first_of_two_equal_epochs_is_the_best(tmp_path, opened, mode):
    """As in EarlyStopping, whose `best_epoch` moves on an improvement only."""
    checkpoints = opened(tmp_path / "c", mode)
    save_all(checkpoints, [0.5, 0.5, 0.5])
    assert checkpoints.best().label == 1


def test_without_a_checkpoint_there_is_no_best(tmp_path, opened):
    checkpoints = opened(tmp_path / "c")
    assert checkpoints.whole() == []
    with pytest.raises(UserError, match="no whole checkpoint .*train first"):
        checkpoints.best()


def test_a_checkpoint_of_mid_epoch_alone_is_no_best(tmp_path, opened):
    checkpoints = opened(tmp_path / "c")
    save_all(checkpoints, [None])
    assert [s.metric for s in checkpoints.whole()] == [None]
    with pytest.raises(UserError, match="no whole checkpoint of a finished epoch"):
        checkpoints.best()


@pytest.mark.parametrize("mode", ["maximum", None])
def test_an_unknown_mode_names_the_value(tmp_path, mode):
    with pytest.raises((UserError, ValueError), match=f"mode .*{mode}"):
        Checkpoints(tmp_path / "c", mode=mode)


@pytest.mark.parametrize(
    "like",
    [
        lambda: make_state(1, width=6),
        lambda: make_state(1, ema=False),
        lambda: make_state(1).replace(batch_stats={}),
        lambda: make_state(1).replace(batch_stats={"other": jnp.zeros(7)}),
        lambda: make_state(1).replace(opt_state=optax.sgd(0.1).init({})),
        lambda: make_state(1, impl="threefry2x32"),
    ],
    ids=["width", "no ema", "no batch_stats", "other name", "other optimizer", "other prng"],
)
def test_a_state_that_does_not_fit_is_a_user_error(tmp_path, opened, like):
    checkpoints = opened(tmp_path / "c")
    save_all(checkpoints, [0.5])
    with pytest.raises(UserError, match="does not fit this model"):
        checkpoints.load(checkpoints.best(), like=like())


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory):
    """A folder with the checkpoints 1, the best, and 2, the newest. For copying."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    checkpoints = Checkpoints(folder, mode="min")
    save_all(checkpoints, [0.3, 0.5])
    return folder


def flip_a_bit(path, at=0.5):
    """In an empty file, which has no bit, a byte appears."""
    data = bytearray(path.read_bytes()) or bytearray(1)
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def truncate(path):
    """An empty file grows by a byte instead."""
    path.write_bytes(path.read_bytes()[:-1] or b"x")


def delete(path):
    path.unlink()


def empty(path):
    """An empty file is filled instead."""
    path.write_bytes(b"" if path.stat().st_size else b"x")


DAMAGES = [flip_a_bit, truncate, delete, empty]


def files_of(folder):
    """The files of a checkpoint; names of data files differ from run to run, their order not."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


FILES = 12  # of one checkpoint, the manifest included


def assert_fallback(root, opened, capsys):
    """Checkpoint 2 is recognised as damaged and moved; 1 is used."""
    checkpoints = opened(root / "checkpoints")
    assert [s.label for s in checkpoints.whole()] == [1]
    assert (root / "damaged" / "2").is_dir() and not (root / "checkpoints" / "2").exists()
    said = capsys.readouterr().out
    assert str(root / "checkpoints" / "2") in said and str(root / "damaged" / "2") in said
    assert_same(checkpoints.load(checkpoints.best(), like=make_state(0)), make_state(1))
    return checkpoints


def test_the_number_of_files_is_known(two_saved):
    assert len(files_of(two_saved / "2")) == FILES


@pytest.mark.parametrize("which", range(FILES))
def test_every_damage_to_every_file_is_noticed_by_the_manifest(two_saved, tmp_path, which):
    for damage in DAMAGES:
        folder = tmp_path / damage.__name__
        shutil.copytree(two_saved / "2", folder)
        assert check_manifest(folder) == []
        path = files_of(folder)[which]
        damage(path)
        problems = check_manifest(folder)
        assert problems, (damage.__name__, path)
        if path.name != MANIFEST:
            name = path.relative_to(folder)
            assert f"{name}" in problems[0]
            alone = not any(path.parent.iterdir())  # then an empty folder is left
            assert len(problems) == 1 + alone
            assert not alone or f"{name.parent} was added" in problems[1]


@pytest.mark.parametrize("damage", [flip_a_bit, delete, empty])
@pytest.mark.parametrize("which", range(FILES))
def test_a_damaged_newest_checkpoint_is_moved_and_the_one_before_used(
    two_saved, tmp_path, opened, capsys, which, damage
):
    shutil.copytree(two_saved, tmp_path / "checkpoints")
    damage(files_of(tmp_path / "checkpoints" / "2")[which])
    assert_fallback(tmp_path, opened, capsys)


def test_after_the_fallback_the_same_label_can_be_saved_again(two_saved, tmp_path, opened, capsys):
    shutil.copytree(two_saved, tmp_path / "checkpoints")
    for attempt in range(2):
        for path in files_of(tmp_path / "checkpoints" / "2")[-3:]:
            flip_a_bit(path)
        checkpoints = opened(tmp_path / "checkpoints")
        assert [s.label for s in checkpoints.whole()] == [1]
        checkpoints.save(2, make_state(5 + attempt), record={}, metric=0.1)
        assert [s.label for s in checkpoints.whole()] == [2]
        shutil.copytree(two_saved / "1", tmp_path / "checkpoints" / "1")
    assert sorted(p.name for p in (tmp_path / "damaged").iterdir()) == ["2", "2_"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"sha256": 3}', '{"sha256": null}', '{"sha256": []}',
     '{"sha256": {}}', '{"sha256": "text"}', "\udcff"],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_damage(two_saved, tmp_path, opened, capsys, text):
    shutil.copytree(two_saved, tmp_path / "checkpoints")
    manifest = tmp_path / "checkpoints" / "2" / MANIFEST
    manifest.write_bytes(text.encode(errors="surrogateescape"))
    assert_fallback(tmp_path, opened, capsys)


@pytest.mark.parametrize("name", ["extra", "state/d/extra", "state/manifest.json"])
def test_an_added_file_is_damage(two_saved, tmp_path, opened, capsys, name):
    shutil.copytree(two_saved, tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "2" / name).write_text("x")
    assert_fallback(tmp_path, opened, capsys)


def test_when_all_are_damaged_there_is_no_best(two_saved, tmp_path, opened):
    shutil.copytree(two_saved, tmp_path / "checkpoints")
    for label in "12":
        flip_a_bit(files_of(tmp_path / "checkpoints" / label)[-1])
    checkpoints = opened(tmp_path / "checkpoints")
    with pytest.raises(UserError, match="no whole checkpoint"):
        checkpoints.best()
    assert sorted(p.name for p in (tmp_path / "damaged").iterdir()) == ["1", "2"]


def test_the_leftovers_of_a_kill_in_mid_save_are_no_checkpoint(two_saved, tmp_path, opened):
    shutil.copytree(two_saved, tmp_path / "checkpoints")
    shutil.copytree(two_saved / "2", tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp")
    assert [s.label for s in opened(tmp_path / "checkpoints").whole()] == [1, 2]
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize("metric", [0.1, 0.9, None])
def test_a_kill_between_save_and_manifest_does_not_lose_what_was_whole_before(
    tmp_path, opened, monkeypatch, metric
):
    """The new one is not whole until its manifest is there; the old ones must live until then."""
    save_all(opened(tmp_path / "c"), [0.3, 0.5])

    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_lib, "write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "c").save(3, make_state(3), record={}, metric=metric)
    monkeypatch.undo()
    assert [s.label for s in opened(tmp_path / "c").whole()] == [1, 2]


def test_the_manifest_names_every_file_with_its_sha256(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "sub" / "b").write_bytes(b"")
    write_manifest(tmp_path)
    assert json.loads((tmp_path / MANIFEST).read_text()) == {
        "sha256": {  # of the standard's test vectors
            "a": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sub/b": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        }
    }
    assert check_manifest(tmp_path) == []


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint_lib.write_atomically(path, "old")

    def full(fd):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="file cannot be written: No space left on device. .*room"):
        checkpoint_lib.write_atomically(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: (folder / "more").mkdir(), "more was added"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe was added"),
        (lambda folder: (folder / "link").symlink_to("nowhere"), "link was added"),
        (lambda folder: (folder / "link").symlink_to(folder), "link was added"),
        (lambda folder: (folder / f"{MANIFEST}.tmp").touch(), f"{MANIFEST}.tmp was added"),
        (lambda folder: retype(folder, end="\n"), f"{MANIFEST} has changed"),
        (lambda folder: retype(folder, indent=2), f"{MANIFEST} has changed"),
        (lambda folder: retype(folder, more=1), f"{MANIFEST} has changed"),
    ],
)
def test_what_is_no_file_and_each_byte_of_the_manifest_count(tmp_path, make, words):
    (tmp_path / "a").write_bytes(b"abc")
    write_manifest(tmp_path)
    make(tmp_path)
    (problem,) = check_manifest(tmp_path)
    assert words in problem


def retype(folder, indent=1, end="", **more):
    """Writes the manifest again with the same meaning."""
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(content | more, indent=indent) + end)


def test_a_file_that_the_disk_does_not_give_back_is_damage(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    write_manifest(tmp_path)

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", broken)
    (problem,) = check_manifest(tmp_path)
    assert problem.startswith("a has changed") and "Input/output error" in problem


def test_what_a_kill_leaves_of_a_manifest_is_not_in_the_next_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / f"{MANIFEST}.tmp").write_text("{")
    write_manifest(tmp_path)
    assert check_manifest(tmp_path) == []


def test_all_is_on_the_disk_before_the_manifest_names_it(tmp_path, opened, monkeypatch):
    """Else a loss of power leaves a manifest without its data, and the older one is deleted."""
    synced, fsync, replace = set(), os.fsync, os.replace

    def note(number):
        fsync(number)
        synced.add(os.fstat(number).st_ino)

    def check(source, target):
        if target.name == MANIFEST:
            folder = target.parent
            late = {p for p in (folder.parent, folder, *folder.rglob("*"))
                    if p.stat().st_ino not in synced}  # fmt: skip
            assert not late
            synced.add("all")
        replace(source, target)

    monkeypatch.setattr("os.fsync", note)
    monkeypatch.setattr("os.replace", check)
    opened(tmp_path / "c").save(1, make_state(1), record={}, metric=0.5)
    assert "all" in synced


def wait_until_quiet(folder):
    """Returns when nothing has changed below `folder` for a second.

    After a save that failed tensorstore's threads finish what they had begun, and make orbax's
    temporary folder again: the program ends there, and the next process sweeps; a second save of
    the same process would find that folder in its way.
    """
    before = None
    while (now := sorted(folder.rglob("*"))) != before:
        before = now
        time.sleep(1)


LIMITS = [0, 50, 1000, 3000]  # bytes per file: data, metadata or the record do not go into it


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("limit", LIMITS)
def test_a_disk_that_is_full_in_mid_save(two_saved, tmp_path, opened, monkeypatch, limit):
    """One line that names the checkpoint; the older ones stay, and nothing is in their way."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # `save` leaves its own there
    shutil.copytree(two_saved, tmp_path / "c")
    checkpoints = opened(tmp_path / "c")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(UserError) as error:
            checkpoints.save(3, make_state(3), record={"n": "x" * 3000}, metric=0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path / "c" / "3") in str(error.value) and "\n" not in str(error.value)
    assert "File too large" in str(error.value) and "same command again" in str(error.value)
    # a thread of orbax may write into the unfinished folder once more after it was removed
    left = sorted(p.name for p in (tmp_path / "c").iterdir() if "checkpoint-tmp" not in p.name)
    assert left == ["1", "2"]
    assert [s.label for s in checkpoints.whole()] == [1, 2]
    wait_until_quiet(tmp_path / "c")
    checkpoints.save(3, make_state(3), record={}, metric=0.1)
    assert [s.label for s in checkpoints.whole()] == [3]
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["3"]
    gc.collect()  # coroutines of orbax that were never awaited are warned of here, not in any test


def test_what_a_kill_leaves_of_a_deletion_is_no_damage(two_saved, tmp_path, opened, monkeypatch):
    def killed(path):
        (path / "record.json").unlink()
        raise KeyboardInterrupt

    shutil.copytree(two_saved, tmp_path / "c")
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "c").save(3, make_state(3), record={}, metric=0.9)
    monkeypatch.undo()
    checkpoints = opened(tmp_path / "c")
    assert [s.label for s in checkpoints.whole()] == [1, 3]
    assert not (tmp_path / "damaged").exists()
    checkpoints.save(4, make_state(4), record={}, metric=0.9)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["1", "4"]


def test_other_names_are_no_labels(two_saved, tmp_path, opened):
    shutil.copytree(two_saved, tmp_path / "c")
    for name in ("007", "೩", "3 (copy)"):
        (tmp_path / "c" / name).mkdir()
    assert [s.label for s in opened(tmp_path / "c").whole()] == [1, 2]
