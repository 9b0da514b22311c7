"""The test split has no way into training; a run's words and classes are those it was trained on.

That weights with other classes or another preprocessing are refused: tests/fer_jax/test_weights.py.
That a vocabulary of another run is: tests/seq_jax/test_modes.py.
"""

import inspect

import jax
import numpy as np
import pytest

from configs import fer_base, seq_base
from fer_jax import data as fer_data
from fer_jax import task as fer_task
from fer_jax.data import Dataset, Faces
from fer_jax.fer2013 import CLASSES
from seq_jax import data as seq_data
from seq_jax import task as seq_task
from seq_jax.filter import Pairs
from train_jax import loop
from train_jax.run.checkpoint import Checkpoints
from train_jax.run.errors import UserError
from train_jax.task import Task

pytestmark = pytest.mark.usefixtures("optax_types")


def fer_config():
    c = fer_base.get_config()
    c.data.valid_fraction = 0.25
    c.model.features = (2, 2)
    c.model.dense = 4
    c.train.epochs = 3
    c.train.batch_size = 8
    c.train.eval_batch_size = 8
    c.train.seed = 1  # the last epoch is not the best one
    c.plateau.patience = 0
    c.early_stop.patience = 1
    return c


def fer_faces(n, seed):
    rng = np.random.default_rng(seed)
    return Faces(
        rng.integers(0, 256, (n, 48, 48), dtype=np.uint8), rng.permutation(n).astype(np.int32) % 7
    )


def fer_task_of(config, tests):
    """(Dataset, Task) of 56 training images and of test splits."""
    splits = {"train": fer_faces(56, 0), **tests}
    dataset = Dataset("fer2013", splits, "a.zip", "ab" * 32, notice="")
    divided = fer_task.divide(splits, config.data)
    return dataset, fer_task.make_task(config, fer_task.build_model(config), dataset, divided)


def train_fer(config, tests, workdir):
    """{checkpoint: bytes of its parameters}, the last and the best; metrics without times."""
    dataset, task = fer_task_of(config, tests)
    rows = loop.fit(task, fer_task.settings_of(config, dataset), workdir=workdir)
    checkpoints = Checkpoints(workdir / "checkpoints", mode="min")
    saved = {}
    for each in checkpoints.whole():
        variables = checkpoints.load_variables(each, task.init, ema=False)
        saved[each.label] = b"".join(a.tobytes() for a in jax.tree.leaves(variables))
    times = ("seconds", "images/s")
    return saved, [{k: v for k, v in row.items() if k not in times} for row in rows]


def test_the_task_of_faces_holds_train_and_valid_alone():
    tests = {"PublicTest": fer_faces(9, 1), "PrivateTest": fer_faces(11, 2)}
    task = fer_task_of(fer_config(), tests)[1]
    assert set(Task._fields) == {
        "init", "loss", "loss_at", "evaluate", "scores", "train", "valid", "identity", "unit",
        "steps_per_call_on_cpu", "train_at",
    }  # fmt: skip
    assert len(task.train["label"]) == 42 and len(task.valid["label"]) == 14
    seen = np.concatenate([task.train["image"], task.valid["image"]])
    assert sorted(i.tobytes() for i in seen) == sorted(i.tobytes() for i in fer_faces(56, 0).images)


def test_the_task_of_sentences_holds_train_and_valid_alone():
    config = seq_base.get_config()
    pairs = Pairs(
        tuple(f"a b c d e{i}" for i in range(40)), tuple(f"ಕ ಗ ಚ{'ಜ' * i}" for i in range(40))
    )
    dataset = seq_data.Dataset("corpus", pairs, None, "x", "ab", "")
    splits = seq_data.split(pairs, valid_fraction=0.2, test_fraction=0.3, folds=0, fold=0, seed=0)
    assert len(splits["test"].source) == 12
    vocabularies = seq_task.build_vocabularies(config, splits["train"])
    model = seq_task.build_model(config, vocabularies)
    task = seq_task.make_task(config, model, dataset, splits, vocabularies)
    for name in ("train", "valid"):
        expected = seq_task.arrays(splits[name], vocabularies, 7)
        np.testing.assert_array_equal(getattr(task, name)["source"], expected["source"])
    held_out = {word for s in splits["test"].source for word in s.split()} - set("abcd")
    assert not held_out & set(vocabularies.source.words)


def test_other_test_splits_change_no_bit_of_the_training(tmp_path):
    """Plateau, early stopping and the choice of the best epoch are all at work."""
    one = {"PublicTest": fer_faces(9, 1), "PrivateTest": fer_faces(11, 2)}
    other = {name: Faces(f.images[::-1], (f.labels + 1) % 7) for name, f in one.items()}
    saved, rows = train_fer(fer_config(), one, tmp_path / "one")
    assert len(saved) == 2 and len(set(saved.values())) == 2 and len(rows) == 3
    saved_again, rows_again = train_fer(fer_config(), other, tmp_path / "other")
    assert rows_again == rows and saved_again == saved
    for tests in (other, {}):
        identities = [fer_task_of(fer_config(), t)[1].identity for t in (one, tests)]
        assert identities[0] == identities[1]


@pytest.mark.parametrize("section", ["plateau", "early_stop", "checkpoint"])
@pytest.mark.parametrize("monitor", ["test_loss", "PublicTest_accuracy", "PrivateTest_loss"])
def test_nothing_can_monitor_a_test_split(section, monitor, tmp_path):
    config = fer_config()
    config[section].monitor = monitor
    with pytest.raises(UserError, match=rf"monitor must be one of \[.*val_loss.*got '{monitor}'"):
        train_fer(config, {"PublicTest": fer_faces(9, 1)}, tmp_path)
    assert not list(tmp_path.rglob("manifest.json"))


def test_what_may_be_monitored_comes_from_train_and_valid():
    source = inspect.getsource(loop)
    for name in ("PublicTest", "PrivateTest", '"test"', "splits"):
        assert name not in source


def test_the_classes_of_the_data_are_those_of_the_weights():
    """Without other classes in the data, they are FER-2013's, in one order everywhere."""
    assert fer_data.CLASSES is CLASSES and Dataset("x", {}, "", "", "").classes is CLASSES
