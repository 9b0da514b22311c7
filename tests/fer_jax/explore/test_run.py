"""--mode=explore: what the tables and files say about faces that are known."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_jax import data as fer_data
from fer_jax import modes
from fer_jax.data import CLASSES, Dataset, Faces
from fer_jax.explore import run as lib
from fer_jax.explore import tables
from train_jax.run.errors import UserError

REAL = Path(__file__).parents[4] / "shared/data/fer2013/archive.zip"


def faces(rng, n, labels):
    images = rng.integers(0, 256, (n, 48, 48)).astype(np.uint8)
    return Faces(images, np.asarray(labels, np.int32))


@pytest.fixture
def config():
    c = importlib.import_module("configs.fer_simple").get_config()
    c.explore.bootstrap = 20
    c.explore.resampling = "box"  # each of 3x3 pixels is the mean of 16x16, and of no others
    return c


@pytest.fixture
def known(monkeypatch):
    """A data set of 70 + 14 faces, in which surprise (5) is brighter at the top left than angry."""
    rng = np.random.default_rng(0)
    train = faces(rng, 70, np.arange(70) % 7)
    train.images[train.labels == 5, :16, :16] = 250
    train.images[train.labels == 0, :16, :16] = 5
    dataset = Dataset("fer2013", {"train": train, "PublicTest": faces(rng, 14, np.arange(14) % 7)},
                      "faces.zip", "ab" * 32, notice="")  # fmt: skip
    monkeypatch.setattr(fer_data, "load", lambda path, *_: dataset)
    return dataset


def test_explore_leaves_tables_numbers_and_pictures(config, known, tmp_path, capsys):
    modes.explore(config, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "explore.json").read_text())
    assert written["sha256"] == "ab" * 32
    assert written["counts"]["train"] == dict.fromkeys(CLASSES, 10)
    areas = np.array(written["auc"]["auc"])
    assert areas.shape == (3, 3) and areas[0, 0] == 1 and (areas.ravel()[1:] < 1).all()
    low, high = np.array(written["auc"]["ci95"])
    assert (low <= areas).all() and (areas <= high).all()
    assert written["auc"]["n"] == [10, 10]
    for name in ("class_counts", "samples", "auc", "mean_faces"):
        with Image.open(tmp_path / "run" / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("L").getcolors()) > 10, f"{name} is blank"
    out = capsys.readouterr().out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("top_left")]
    assert row == ["top_left", "1.000", "1.000-1.000", "0.581", "+0.4190"]
    assert "lanczos" in out and "nearest" in out


def test_other_pairs_and_grids_are_not_compared_with_the_original(config, known, tmp_path, capsys):
    config.explore.classes = ("happy", "sad")
    config.explore.bootstrap = 0
    config.explore.grid = 5
    modes.explore(config, tmp_path)
    out = capsys.readouterr().out
    assert "original" not in out and "95 %" not in out and "row 5, column 5" in out
    written = json.loads((tmp_path / "explore.json").read_text())["auc"]
    assert written["ci95"] is None and np.shape(written["auc"]) == (5, 5)
    config.explore.grid = 24
    modes.explore(config, tmp_path)
    assert "farthest from 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("classes", ("angry", "angry"), ["explore.classes", "'angry', 'angry'"]),
        ("classes", ("angry", "joy"), ["'joy'", "happy"]),
        ("classes", ("angry",), ["two"]),
        ("grid", 0, ["explore.grid", "48", "0"]),
        ("grid", 49, ["49"]),
        ("resampling", "cubic", ["'cubic'", "bicubic"]),
        ("split", "valid", ["'valid'", "train, PublicTest", "faces.zip"]),
        ("bootstrap", -1, ["explore.bootstrap", "-1"]),
        ("samples", 0, ["explore.samples", "0"]),
        ("seed", -3, ["explore.seed", "-3"]),
    ],
)
def test_a_wrong_setting_is_named(config, known, tmp_path, field, value, words):
    config.explore[field] = value
    with pytest.raises(UserError) as error:
        modes.explore(config, tmp_path)
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "explore.json").exists()


def test_a_class_without_images_is_named(config, known, tmp_path):
    train = known.splits["train"]
    known.splits["train"] = Faces(train.images[train.labels != 5], train.labels[train.labels != 5])
    with pytest.raises(UserError, match="train has no image of class 'surprise'"):
        modes.explore(config, tmp_path)


def test_duplicates_and_conflicting_labels():
    rng = np.random.default_rng(1)
    a, b, c, d = rng.integers(0, 256, (4, 48, 48)).astype(np.uint8)
    train = Faces(np.stack([a, a, a, b, c]), np.array([0, 0, 4, 3, 1]))
    test = Faces(np.stack([a, b, d, d]), np.array([6, 3, 2, 2]))
    found = lib.find_duplicates({"train": train, "PublicTest": test}, CLASSES)
    assert found["splits"] == {
        "train": {"images": 5, "copies": 2, "with_twin": 3},
        "PublicTest": {"images": 4, "copies": 1, "with_twin": 2},
    }
    assert found["shared"] == {"train, PublicTest": 2}
    assert found["groups"] == 3  # a, b, d
    assert found["conflicting_groups"] == 1 and found["conflicting_images"] == 4  # a: 0, 0, 4, 6
    assert found["conflicting_labels"] == {
        "angry, sad": 1,
        "angry, neutral": 1,
        "sad, neutral": 1,
    }
    text = tables.duplicates(found)
    assert "train: 3 of 5 equal another one; 2 are copies" in text
    assert "PublicTest: 2 have a twin in train" in text
    assert "the labels differ in 1 of them (4 images)" in text


def test_near_twins_are_counted_and_drawn(config, known, tmp_path, capsys):
    train, test = known.splits["train"], known.splits["PublicTest"]
    test.images[0] = train.images[5] // 2 + 20  # lit otherwise
    test.images[1] = train.images[6]
    modes.explore(config, tmp_path)
    written = json.loads((tmp_path / "explore.json").read_text())
    assert written["near_twins"] == {
        "least_correlation": 0.9,
        "shared": {"train, PublicTest": 2},
    }
    assert written["duplicates"]["shared"] == {"train, PublicTest": 1}
    assert "PublicTest: 2 (14.3%) have one in train" in capsys.readouterr().out
    with Image.open(tmp_path / "figures" / "near_twins_train_PublicTest.png") as picture:
        assert min(picture.size) > 100 and len(picture.convert("L").getcolors()) > 10


def test_samples_belong_to_their_class_and_are_not_repeated():
    rng = np.random.default_rng(2)
    split = faces(rng, 40, [0] * 3 + [1] * 20 + [4] * 17)
    drawn = lib.sample(split, 7, per_class=5, seed=0)
    assert [len(images) for images in drawn] == [3, 5, 0, 0, 5, 0, 0]
    for label, images in enumerate(drawn):
        members = {image.tobytes() for image in split.images[split.labels == label]}
        assert len({image.tobytes() for image in images} & members) == len(images)
    other = lib.sample(split, 7, per_class=5, seed=1)
    assert not np.array_equal(drawn[1], other[1])


def test_mean_faces():
    images = np.zeros((3, 48, 48), np.uint8)
    images[0], images[1], images[2, 7, 9] = 10, 21, 200
    means = lib.mean_faces(Faces(images, np.array([2, 2, 6])), 7)
    assert (means[2] == 15.5).all()
    assert means[6, 7, 9] == 200 and means[6].sum() == 200
    assert np.isnan(means[[0, 1, 3, 4, 5]]).all()


def test_counts_are_a_table_with_shares():
    rng = np.random.default_rng(3)
    counts = lib.class_counts(
        {"train": faces(rng, 4, [0, 0, 0, 6]), "test": faces(rng, 1, [6])}, CLASSES
    )
    first, *rows = tables.counts(counts).splitlines()
    assert first.split() == ["class", "train", "test"]
    assert rows[0].split() == ["angry", "3", "75.0%", "0", "0.0%"]
    assert rows[6].split() == ["neutral", "1", "25.0%", "1", "100.0%"]
    assert rows[7].split() == ["all", "4", "1"]


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/fer2013")
def test_the_original_map_to_three_digits():
    """Lanczos on train, surprise positive: all nine of the original's numbers."""
    train = fer_data.load(str(REAL)).splits["train"]
    small = [
        lib.shrink(train.images[train.labels == k], grid=3, resampling="lanczos") for k in (0, 5)
    ]
    areas = lib.auc_map(*small, resamples=0, seed=0).auc
    np.testing.assert_allclose(areas, lib.ORIGINAL_AUC, atol=0.00051)
