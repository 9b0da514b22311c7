"""fer_jax.load(): answers in Python are those of --mode=predict, and odd arrays are refused."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fer_jax
from configs import fer_best
from fer_jax import modes
from fer_jax.data import CLASSES
from fer_jax.predict.faces import has_cascades
from tests.fer_jax.predict.odd_inputs import wall
from train_jax.run.errors import UserError

ROOT = Path(__file__).parents[2]
needs_cascades = pytest.mark.skipif(not has_cascades(), reason="OpenCV 5 has no Haar cascades")


@pytest.fixture(scope="module")
def net():
    return fer_jax.load()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)


def test_every_form_of_the_same_pictures_gives_the_same_answers(net, images):
    expected = net.classify(images)
    assert expected.classes == net.classes == CLASSES
    assert expected.probabilities.shape == (5, 7)
    np.testing.assert_allclose(expected.probabilities.sum(1), 1, rtol=1e-6)
    best = expected.probabilities.argmax(1)
    assert expected.labels == [CLASSES[i] for i in best] and len(set(best)) > 0
    rgb = np.repeat(images[..., None], 3, -1)
    for form in (list(images), rgb, list(rgb)):
        np.testing.assert_allclose(
            net.classify(form).probabilities, expected.probabilities, atol=1e-6
        )
    one = net.classify(images[3])
    np.testing.assert_allclose(one.probabilities[0], expected.probabilities[3], atol=1e-5)
    assert net.classify(rgb[3]).labels == one.labels


def test_logits_are_those_of_the_model_at_its_temperature(net, images):
    c = net.classifier
    logits = c.model.apply(c.variables, images[..., None].astype(np.float32) / 255, train=False)
    scaled = np.asarray(logits, np.float64) / c.temperature["none"]
    expected = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    np.testing.assert_allclose(net.classify(images).probabilities, expected, atol=1e-4)
    flipped = fer_jax.load(tta="flip").classify(images).probabilities
    assert np.abs(flipped - expected).max() > 1e-3


def test_larger_pictures_are_shrunk_and_no_pictures_have_no_answers(net, images):
    large = np.kron(images[0], np.ones((4, 4), np.uint8))
    np.testing.assert_allclose(
        net.classify([large]).probabilities, net.classify(images[:1]).probabilities, atol=1e-6
    )
    assert net.classify([]).probabilities.shape == (0, 7)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 48, 48), np.float32), r"float32\[48, 48\]; of values in \[0, 1\] make"),
        (np.zeros((2, 48, 48), np.int32), r"int32\[48, 48\]$"),
        (np.zeros(48, np.uint8), "uint8"),
        (np.zeros((2, 48, 48, 4), np.uint8), r"uint8\[48, 48, 4\]"),
        (np.zeros((0, 0), np.uint8), r"uint8\[0, 0\]"),
        ([np.zeros((2, 2), np.uint8), "x"], "got <U1"),
    ],
)
def test_another_dtype_or_shape_is_named(net, images, words):
    with pytest.raises(ValueError, match=words):
        net.classify(images)


@needs_cascades
def test_faces_are_those_of_predict(net, tmp_path):
    wall(3).save(tmp_path / "wall.png")
    config = fer_best.get_config()
    modes.predict(config, tmp_path / "out", weights=None, inputs=str(tmp_path / "wall.png"))
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for photo in (tmp_path / "wall.png", str(tmp_path / "wall.png"), np.asarray(wall(3))):
        found = net.faces(photo)
        assert len(found) == len(rows) >= 1
        for face, row in zip(found, rows, strict=True):
            assert face.box == tuple(int(row[k]) for k in ("x", "y", "width", "height"))
            assert row["class"] in (face.label, "not sure")
            assert face.label == max(CLASSES, key=lambda name: float(row[name]))
            for name in CLASSES:
                assert abs(face.probabilities[name] - float(row[name])) < 1e-5
    assert net.faces(np.zeros((100, 100), np.uint8)) == []


def test_files_that_cannot_be_read_and_weights_that_are_not_there(net, tmp_path):
    with pytest.raises(UserError, match="none.jpg: no such file"):
        net.faces(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="min_face must be at least 24"):
        net.faces(np.zeros((100, 100), np.uint8), min_face=5)
    with pytest.raises(UserError, match="is not there"):
        fer_jax.load(tmp_path / "nowhere")


def test_importing_a_task_waits_for_nothing(tmp_path):
    code = "import sys, fer_jax, seq_jax; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0 and not {"jax", "cv2", "numpy"} & {*done.stdout.split()}
