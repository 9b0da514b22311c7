"""A classifier is loaded only where its answers mean what this program takes them for."""

import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import fer_best
from fer_jax import data, task, weights
from fer_jax.data import CLASSES, Faces
from fer_jax.inference import make_predict, predict_split
from fer_jax.report import card as model_card
from train_jax.metrics import classification_scores
from train_jax.run import weights as weights_lib
from train_jax.run.errors import UserError
from train_jax.run.files import write_manifest

ROOT = Path(__file__).parents[2]


def make_config():
    c = fer_best.get_config()
    c.model.features = ((2,), (3, 3))
    return c.to_dict()


def make_scores(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(70) % 7
    scores = classification_scores(rng.standard_normal((70, 7)), labels, CLASSES)
    coverage = [{"threshold": 0.5, "kept": 0.25, "accuracy": 0.75}]
    calibrated = {"nll": 1.5, "ece": 0.0123}
    return scores | {"majority": 0.25, "calibrated": calibrated, "coverage": coverage}


def init(model):
    return jax.jit(functools.partial(task.init_model, model))(jax.random.key(0))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "original"
    config = make_config()
    model, _ = task.model_of(config["model"], "test")
    faces = Faces(np.zeros((9, 48, 48), np.uint8), np.array([0, 3, 3, 3, 4, 4, 5, 6, 1]))
    weights.export(
        folder,
        init(model),
        config=config,
        identity={"data": "fer2013", "train_valid_sha256": "cd" * 32, "classes": [*CLASSES]},
        splits={"train": faces},
        temperature={"none": 1.25, "flip": 0.75},
        result={
            "sha256": "ab" * 32,
            "epoch": 12,
            "tta": "none",
            "splits": {n: make_scores(i) for i, n in enumerate(("train", "valid", "PublicTest"))},
            "clean": {"valid": make_scores(3), "PublicTest": make_scores(4) | {"n": 60}},
            "no_near_twins": {"PublicTest": make_scores(5) | {"n": 50}},
        },
        origin={"command": "launch.py --x", "git_commit": "0123abc", "versions": {"jax": "1"}},
    )
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def change(folder, path, value):
    """Sets one field of model.json, 'a.b' or 'a'; None deletes it."""
    file = folder / "model.json"
    card = json.loads(file.read_text())
    *parents, last = path.split(".")
    part = card
    for name in parents:
        part = part[name]
    part[last] = value
    if value is None:
        del part[last]
    file.write_text(json.dumps(card))
    write_manifest(folder)


def test_round_trip(original):
    classifier = weights.load(original)
    model, like = task.model_of(make_config()["model"] | {"bfloat16": False}, "test")
    assert classifier.model == model
    assert classifier.temperature == {"none": 1.25, "flip": 0.75}
    assert jax.tree.map(jnp.shape, classifier.variables) == jax.tree.map(jnp.shape, like)
    images = np.random.default_rng(0).random((2, 48, 48, 1), np.float32)
    apply = jax.jit(functools.partial(model.apply, train=False))
    np.testing.assert_array_equal(apply(init(model), images), apply(classifier.variables, images))


ALPHABETICAL = sorted(CLASSES)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("classes", ALPHABETICAL, "classes is ['angry', 'disgust', 'fear', 'happy', 'neutral'"),
        ("classes", [*CLASSES, "contempt"], "contempt"),
        ("classes", None, "classes is missing"),
        ("classes", ["happy"] * 7, "must be different names"),
        ("classes", ["happy"], "must be different names"),
        ("classes", 7, "classes is 7"),
        ("config.data.classes", ["happy", "sad"], "this program has ['happy', 'sad']"),
        ("preprocessing", "grey 48x48 uint8 / 127.5 - 1", "127.5"),
        ("preprocessing", None, "preprocessing is missing"),
        ("input", {"shape": [64, 64], "dtype": "uint8"}, "64"),
        ("task", "seq", "task is 'seq', expected 'fer'. Give --weights of a run of that task"),
        ("model", None, "model is missing"),
        ("model.name", "resnet", "resnet"),
        ("model.name", "lobo", "model"),
        ("model.features", [[2], [4, 4]], "BatchNorm_1/mean is float32(3,)"),
        ("model.features", [[2], [3, 3, 3]], "absent"),
        ("model.features", "many", "model"),
        ("model.bfloat16", None, "bfloat16"),
        ("temperature", None, "temperature is missing"),
        ("temperature.none", None, "temperature.none is missing"),
        ("temperature.flip", 0.0, "temperature.flip"),
        ("temperature.none", "hot", "temperature.none is 'hot'"),
        ("trained_on.counts", {}, "trained_on.counts.angry is missing"),
        ("config.data", None, "config.data is missing"),
        ("epoch", "last", "epoch is 'last'"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, path, value, words):
    change(folder, path, value)
    with pytest.raises(UserError) as caught:
        weights.load(folder)
    assert words in str(caught.value) and str(folder) in str(caught.value)


def test_a_huge_model_is_refused_without_making_it(folder):
    change(folder, "model.features", [[10**6], [10**6]])
    with pytest.raises(UserError, match="1000000"):
        weights.load(folder)


def test_preprocessing_is_what_it_is_called():
    """Weights are refused by this name: a change of `preprocess` has to change it."""
    assert task.PREPROCESSING == "grey 48x48 uint8 / 255, as float32[B, 48, 48, 1]"
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48), dtype=np.uint8)
    done = task.preprocess(jnp.asarray(images))
    assert done.dtype == jnp.float32
    np.testing.assert_allclose(done, images[..., None] / 255.0, rtol=2e-7)


def test_choose(tmp_path):
    assert weights.choose("some/folder", tmp_path) == Path("some/folder")
    assert weights.choose(None, tmp_path / "new") == ROOT / "weights" / "fer_best"
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="without export/.*--mode=train"):
        weights.choose(None, tmp_path)
    (tmp_path / "export").mkdir()
    assert weights.choose(None, tmp_path) == tmp_path / "export"


def test_the_model_card(original):
    text = (original / "README.md").read_text()
    card = json.loads((original / "model.json").read_text())
    test = card["scores"]["splits"]["PublicTest"]
    low, high = test["ci95"]
    assert f"| PublicTest | 70 | {test['accuracy']:.4f} [{low:.4f}, {high:.4f}] |" in text
    assert "| PublicTest, clean | 60 |" in text
    assert "| PublicTest, without near twins | 50 |" in text
    assert "valid, clean" not in text  # it would say the same again
    assert "| 0.50 | 25.0% | 75.0% |" in text
    assert "angry, disgust, fear, happy, sad, surprise, neutral" in text
    assert "9 images trained on" in text and f"{card['parameters']:,} parameters" in text
    assert "An expression is not an emotion" in text and "For research" in text
    assert "DRAWN" not in text.upper()
    confusion = np.array(test["confusion"])
    np.fill_diagonal(confusion, 0)
    true, wrong = np.unravel_index(confusion.argmax(), confusion.shape)
    first = text.split("the most frequent: ")[1].split(";")[0]
    assert first == f"{CLASSES[true]} taken for {CLASSES[wrong]} ({confusion.max() / 10:.0%})"


def test_the_model_card_of_drawn_faces_warns(original):
    card = json.loads((original / "model.json").read_text())
    card["trained_on"]["name"] = "drawn_faces"
    assert "its answers about people mean nothing" in model_card.text("x", card)


@pytest.mark.slow
def test_the_shipped_weights_are_as_good_as_their_card_says():
    """On the real data: a wrong class order or preprocessing would show."""
    archive = ROOT.parent / "shared" / "data" / "fer2013" / "archive.zip"
    if not archive.exists():
        pytest.skip("needs ../shared/data")
    classifier = weights.load(weights.SHIPPED)
    test = data.load(str(archive)).splits["PublicTest"]
    logits = predict_split(
        make_predict(classifier.model), classifier.variables, test.images,
        batch_size=256, tta="none",
    )  # fmt: skip
    right = int((logits.argmax(1) == test.labels).sum())
    card = classifier.card["scores"]["splits"]["PublicTest"]
    assert abs(right - card["accuracy"] * card["n"]) <= 3  # ties of rounding on another machine


def test_the_shipped_weights():
    classifier = weights.load(weights.SHIPPED)
    assert sum(p.stat().st_size for p in weights.SHIPPED.iterdir()) <= 8e6
    assert classifier.card["trained_on"]["name"] == "fer2013"
    assert {"valid", "PublicTest"} <= set(classifier.card["scores"]["splits"])
    made = model_card.text("fer_best", weights_lib.load(weights.SHIPPED).card)
    assert (weights.SHIPPED / "README.md").read_text() == made
