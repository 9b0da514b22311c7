"""Which faces a run gets, and how they are divided."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_jax import data
from fer_jax.data import CLASSES, Faces
from train_jax.run.errors import UserError

ROOT = Path(__file__).parents[2]


def random_faces(counts, seed=0):
    """Faces with counts[label] distinct random images of each class, shuffled."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    return Faces(rng.integers(0, 256, (len(labels), 48, 48), dtype=np.uint8), labels)


def write_csv(path, faces, usages):
    rows = ["emotion,pixels,Usage"]
    for image, label, usage in zip(*faces[:2], usages, strict=True):
        rows.append(f"{label},{' '.join(map(str, image.ravel()))},{usage}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty data/raw/fer2013 and an empty cache, and a stand-in for the drawn faces."""
    monkeypatch.setattr(data, "RAW", tmp_path / "raw")
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    drawn = {"train": random_faces([3] * 7), "test": random_faces([1] * 7, seed=1)}
    monkeypatch.setattr("fer_jax.drawn_faces.load", lambda: {k: v[:2] for k, v in drawn.items()})
    return tmp_path


def counts(faces):
    return np.bincount(faces.labels, minlength=7).tolist()


def rows_of(faces):
    return sorted(
        zip(faces.labels.tolist(), (image.tobytes() for image in faces.images), strict=True)
    )


# near twins


def test_closest_is_the_largest_correlation_of_pixels():
    rng = np.random.default_rng(0)
    others = random_faces([3] * 7)._replace(images=rng.integers(0, 200, (5000, 48, 48), np.uint8))
    images = rng.integers(0, 256, (4, 48, 48), dtype=np.uint8)
    images[1] = others.images[4321] // 2 + 90  # darker, and less contrast
    images[2] = 255 - others.images[7]  # a negative is no twin
    images[3] = 50  # one grey
    faces = Faces(images, np.zeros(4, np.int32))
    r, index = data.closest(faces, others)
    expected = np.corrcoef(images[:3].reshape(3, -1), others.images.reshape(5000, -1))[:3, 3:]
    np.testing.assert_allclose(r[:3], expected.max(1), atol=1e-5)
    assert index[1] == 4321 and index[0] == expected[0].argmax()
    assert r[3] == 0
    assert data.has_near_twin(faces, others).tolist() == [False, True, False, False]


# load


def test_class_order_is_that_of_the_csv():
    assert CLASSES == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_a_path_is_loaded(places):
    faces = random_faces([2, 1, 1, 1, 1, 1, 2])
    path = write_csv(places / "mine.csv", faces, ["Training"] * 5 + ["PrivateTest"] * 4)
    dataset = data.load(str(path))
    assert (dataset.name, dataset.source) == ("own_data", str(path))
    assert dataset.notice == f"{path}: no image to train on of 'angry', 'neutral'."
    assert list(dataset.splits) == ["train", "PrivateTest"]
    train = dataset.splits["train"]
    assert train.images.dtype == np.uint8 and train.labels.dtype == np.int32
    assert rows_of(train) == rows_of(Faces(faces.images[:5], faces.labels[:5]))
    assert len(dataset.sha256) == 64


def test_an_empty_path_takes_what_lies_in_raw(places):
    path = write_csv(places / "raw" / "fer2013.csv", random_faces([1] * 7), ["Training"] * 7)
    dataset = data.load("")
    assert (dataset.name, dataset.source) == ("own_data", str(path))


def test_drawn_faces_only_when_nothing_is_there(places):
    dataset = data.load("")
    assert (dataset.name, dataset.source) == ("drawn_faces", "embedded")
    assert counts(dataset.splits["train"]) == [3] * 7 and counts(dataset.splits["test"]) == [1] * 7
    assert len(dataset.sha256) == 64
    (places / "raw").mkdir()
    (places / "raw" / ".gitkeep").write_text("")
    assert data.load("").name == "drawn_faces"


def test_drawn_faces_can_be_asked_for(places):
    (places / "raw").mkdir()
    (places / "raw" / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    dataset = data.load("drawn")
    assert dataset.name == "drawn_faces"
    assert "no FER-2013 was found" not in dataset.notice
    assert "say nothing about people" in dataset.notice


def test_the_notice_is_three_lines_that_say_how_to_get_the_real_faces(places):
    notice = data.load("").notice
    assert len(notice.splitlines()) == 3
    for part in (
        "drawn",
        "say nothing about people",
        "https://www.kaggle.com/",
        "archive.zip",
        "python launch.py --config=configs/fer_best.py",
        "--config.data.path=",
    ):
        assert part in notice


def test_a_wrong_path_or_raw_folder_is_never_replaced(places):
    with pytest.raises(UserError, match="No such file"):
        data.load(str(places / "nowhere"))
    (places / "raw").mkdir()
    (places / "raw" / "pictures").mkdir()
    with pytest.raises(UserError, match=r"wrong layout.*'pictures'"):
        data.load("")


def test_importing_it_does_not_import_tfds():
    code = 'import sys, fer_jax.data; print(*{"tensorflow_datasets", "jax"} & set(sys.modules))'
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.strip() == b""


# split_validation


def test_validation_is_stratified_to_the_image_and_loses_nothing():
    faces = random_faces([40, 4, 41, 72, 48, 32, 49])
    train, valid = data.split_validation(faces, fraction=0.1, seed=0)
    assert counts(valid) == [4, 0, 4, 7, 5, 3, 5]
    assert rows_of(Faces(*map(np.concatenate, zip(train[:2], valid[:2], strict=True)))) == rows_of(
        faces
    )


def test_validation_depends_on_the_seed_alone():
    faces = random_faces([20] * 7)
    first, again, other = (data.split_validation(faces, fraction=0.2, seed=s) for s in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
    assert rows_of(first[1]) != rows_of(other[1])


@pytest.mark.parametrize("seed", range(5))
def test_twins_stay_on_one_side_even_with_other_labels(seed):
    faces = random_faces([60] * 7)
    images = faces.images.copy()
    for group in np.random.default_rng(seed).permutation(420)[:240].reshape(-1, 3):
        images[group] = images[group[0]]  # 80 groups of three, mostly with mixed labels
    faces = Faces(images, faces.labels)
    train, valid = data.split_validation(faces, fraction=0.25, seed=seed)
    assert not data.has_twin(valid, train).any()
    assert counts(valid) == [15] * 7
    # Twins are neither drawn to validation nor kept from it: 240 of 420 images have one.
    twins = sum(len(group) == 3 for group in data._twin_groups(valid.images)) * 3
    assert 30 <= twins <= 90


def test_a_validation_fraction_of_0_leaves_all_to_training():
    faces = random_faces([5] * 7)
    train, valid = data.split_validation(faces, fraction=0.0, seed=0)
    assert train is faces and valid.images.shape == (0, 48, 48) and len(valid.labels) == 0


@pytest.mark.parametrize("fraction", [1.0, -0.1, 1.5, float("nan")])
def test_validation_fraction_must_lie_within_0_and_1(fraction):
    with pytest.raises(UserError, match=r"must be in \[0, 1\), got"):
        data.split_validation(random_faces([5] * 7), fraction=fraction, seed=0)


def test_an_empty_side_is_refused():
    same = Faces(np.zeros((10, 48, 48), np.uint8), np.zeros(10, np.int32))  # one group
    told = "10 images, 1 of them different, leaves 0 for {} and 10 for training"
    for part in ("validation", "test"):
        with pytest.raises(UserError, match=f"A {part} fraction.*{told.format(part)}"):
            data.split_validation(same, fraction=0.5, seed=0, part=part)
    with pytest.raises(UserError, match="leaves 7 for validation and 0 for training"):
        data.split_validation(random_faces([1] * 7), fraction=0.9, seed=0)


# take_fraction, has_twin


def test_a_fraction_is_stratified_with_at_least_one_of_each_class_present():
    faces = random_faces([40, 2, 0, 80, 8, 4, 1])
    part = data.take_fraction(faces, fraction=0.25, seed=0)
    assert counts(part) == [10, 1, 0, 20, 2, 1, 1]
    assert set(rows_of(part)) <= set(rows_of(faces))
    assert rows_of(part) == rows_of(data.take_fraction(faces, fraction=0.25, seed=0))
    assert rows_of(part) != rows_of(data.take_fraction(faces, fraction=0.25, seed=1))
    larger = data.take_fraction(faces, fraction=0.5, seed=0)
    assert set(rows_of(part)) <= set(rows_of(larger))


def test_the_whole_fraction_changes_nothing():
    faces = random_faces([5] * 7)
    whole = data.take_fraction(faces, fraction=1.0, seed=0)
    np.testing.assert_array_equal(whole.images, faces.images)
    np.testing.assert_array_equal(whole.labels, faces.labels)


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.01, float("nan")])
def test_training_fraction_must_lie_within_0_and_1(fraction):
    with pytest.raises(UserError, match=r"must be in \(0, 1\], got"):
        data.take_fraction(random_faces([5] * 7), fraction=fraction, seed=0)


def test_has_twin_compares_pixels_not_labels():
    train = random_faces([5] * 7)
    images = train.images[[3, 3, 8]].copy()
    images[1, 0, 0] ^= 1
    others = Faces(images, (train.labels[[3, 3, 8]] + 1) % 7)
    twins = data.has_twin(others, train)
    assert twins.dtype == bool and twins.tolist() == [True, False, True]


def test_the_cache_can_be_put_elsewhere(tmp_path):
    code = "from fer_jax import data; print(data.CACHE)"
    for folder, expected in ((str(tmp_path), tmp_path), ("", ROOT / "data" / "cache")):
        environment = os.environ | {"FER_SEQ_CACHE": folder}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == str(expected / "fer2013")
