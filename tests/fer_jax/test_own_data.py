"""Classes and pictures of the user's own: which classes, which splits, which size; and a run of
three classes of drawn RGB pictures from end to end."""

import io
import json

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

from configs import fer_base
from fer_jax import data, modes, task
from fer_jax.fer2013 import CLASSES, contents, source
from fer_jax.fer2013.classes import Reading
from fer_jax.predict.faces import find_faces
from tests.fer_jax.test_fer2013 import GOOD, encode, pixels, read, write_folder, write_zip
from train_jax.run.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path_factory.mktemp("cache"))


def files_of(*folders, n=3):
    return {
        f"{folder}/{i}.png": encode(pixels(n * place + i))
        for place, folder in enumerate(folders)
        for i in range(n)
    }


def labels_of(path, **reading):
    """(classes, {split: labels})"""
    found = contents.read(source.find(path), reading=Reading(**reading))
    return found.classes, {split: labels.tolist() for split, (_, labels) in found.splits.items()}


# Classes


def test_classes_come_from_the_folders_in_alphabetical_order(tmp_path):
    write_folder(tmp_path, files_of("train/dog", "train/Cat", "val/CAT", "test/bird", n=1))
    expected = {"train": [1, 2], "valid": [1], "test": [0]}
    assert labels_of(tmp_path, classes=()) == (("bird", "CAT", "dog"), expected)


def test_classes_that_are_named_have_that_order(tmp_path):
    write_folder(tmp_path, files_of("train/dog", "train/Cat", n=1))
    found = labels_of(tmp_path, classes=("dog", "cat", "bird"))
    assert found == (("dog", "cat", "bird"), {"train": [0, 1]})


def test_the_seven_keep_their_order_and_may_have_capital_letters(tmp_path):
    names = [name.title() for name in sorted(CLASSES)]
    write_folder(tmp_path, files_of(*(f"train/{name}" for name in names), n=1))
    assert labels_of(tmp_path) == labels_of(tmp_path, classes=())
    classes, labels = labels_of(tmp_path)
    assert classes == CLASSES and labels["train"] == list(range(7))
    images = contents.read(source.find(tmp_path)).splits["train"][0]
    assert [names[i].lower() for i in range(7)] == sorted(CLASSES)
    for i, name in enumerate(names):
        label = CLASSES.index(name.lower())
        np.testing.assert_array_equal(images[label], pixels(i))


def test_other_names_are_mapped_or_left_out(tmp_path):
    write_folder(tmp_path, files_of("train/anger", "train/Happiness", "train/contempt", n=2))
    with pytest.raises(UserError) as found:
        read(tmp_path)
    text = str(found.value)
    assert "unknown class folders 'Happiness', 'anger', 'contempt'" in text
    proposed = (("Happiness", "happy"), ("anger", "angry"), ("contempt", ""))
    assert f'--config.data.class_map="{proposed}"' in text
    data_ = contents.read(source.find(tmp_path), reading=Reading(class_map=proposed))
    assert data_.splits["train"][1].tolist() == [0, 0, 3, 3]
    assert data_.notes[0] == f"{tmp_path}: left out 2 of 6: 2 contempt."


@pytest.mark.parametrize(
    "reading, message",
    [
        ({"classes": ("a",)}, "at least two different names"),
        ({"classes": ("a", "A")}, "at least two different names"),
        ({"classes": ("a", "")}, "at least two different names"),
        ({"classes": ["a", "b"]}, "at least two different names"),
        ({"class_map": ("anger", "angry")}, "must be pairs"),
        ({"class_map": (("anger",),)}, "must be pairs"),
        ({"class_map": 3}, "must be pairs"),
        ({"labels": "fer+"}, "'' or 'ferplus'"),
        ({"test_fraction": 1.0}, r"in \[0, 1\)"),
    ],
)
def test_settings_without_sense(tmp_path, reading, message):
    write_folder(tmp_path, files_of("train/a", "train/b"))
    with pytest.raises(UserError, match=f"config.data.{[*reading][0]} .*{message}"):
        data.load(str(tmp_path), Reading(**reading))


def test_one_class_is_too_few(tmp_path):
    write_folder(tmp_path, files_of("train/a"))
    with pytest.raises(UserError, match=r"expected 2 to 1000 folders.*found 1: 'a'"):
        read(tmp_path, classes=())


def test_classes_without_an_image_are_told(tmp_path):
    """A net says nothing of what it never saw."""
    path = write_folder(tmp_path, files_of("train/cat", "train/dog", "test/cat", "test/bird"))
    (path / "train" / "cow").mkdir()
    (path / "train" / ".hidden").mkdir()
    found = data.load(str(path), Reading(classes=()))
    assert found.classes == ("bird", "cat", "dog")
    assert "no image to train on of 'bird'" in found.notice
    assert "empty, so no class: 'train/cow'." in found.notice
    one = write_folder(tmp_path / "one", files_of("cat", "dog"))
    assert data.load(str(one), Reading(classes=(), test_fraction=0.4)).notice == ""
    named = data.load(str(one), Reading(classes=("dog", "cat", "cow"), test_fraction=0.4))
    assert "no image to train on of 'cow'" in named.notice


def test_two_folders_of_one_split_are_named(tmp_path):
    path = write_folder(tmp_path, files_of("train/cat", "val/cat", "valid/cat", "test/cat"))
    with pytest.raises(UserError, match="two folders of one split in .*'val', 'valid'"):
        data.load(str(path), Reading(classes=()))


def test_too_few_pictures_to_divide_name_the_test_part(tmp_path):
    path = write_folder(tmp_path, files_of("cat", "dog", n=1))
    with pytest.raises(UserError, match="A test fraction of 0.2 of 2 images, 2 of them different"):
        data.load(str(path), Reading(classes=(), test_fraction=0.2))


def test_drawn_faces_have_their_own_classes():
    with pytest.raises(UserError, match="data.path names none"):
        data.load("drawn", Reading(classes=("a", "b")))
    assert data.load("drawn", Reading(classes=())).classes == CLASSES


# Splits


@pytest.mark.parametrize("valid", ["validation", "valid", "val", "Val"])
def test_a_validation_split_of_the_data_is_taken(tmp_path, valid):
    write_folder(tmp_path, files_of("train/a", "train/b", f"{valid}/a", f"{valid}/b", n=5))
    config = fer_base.get_config()
    config.data.path, config.data.classes = str(tmp_path), ()
    _, splits = task.load_splits(config)
    whole = read(tmp_path, classes=())
    assert list(splits) == ["train", "valid"]
    for name, faces in splits.items():
        np.testing.assert_array_equal(faces.images, whole[name][0])


def test_folds_leave_the_validation_split_aside_and_say_so(tmp_path, capsys):
    write_folder(tmp_path, files_of("train/a", "train/b", "val/a", "val/b", n=6))
    config = fer_base.get_config()
    config.data.path, config.data.classes, config.data.folds = str(tmp_path), (), 3
    _, splits = task.load_splits(config)
    train = read(tmp_path, classes=())["train"][0]
    assert [len(splits[name].labels) for name in ("train", "valid")] == [8, 4]
    found = {image.tobytes() for faces in splits.values() for image in faces.images}
    assert found == {image.tobytes() for image in train}
    assert "own validation split is not used" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("top", ["", "pictures/"])
def test_one_folder_of_classes_is_divided_by_us(tmp_path, form, top):
    files = files_of(f"{top}cat", f"{top}dog", n=20)
    files |= {f"{top}dog/twin{i}.png": files[f"{top}dog/{i}.png"] for i in range(10)}
    path = (
        write_zip(tmp_path / "a.zip", files)
        if form == "zip"
        else write_folder(tmp_path / "f", files)
    )
    dataset = data.load(str(path), Reading(classes=(), test_fraction=0.2))
    assert dataset.classes == ("cat", "dog") and list(dataset.splits) == ["train", "test"]
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert np.bincount(test.labels).tolist() == [4, 6] and len(train.labels) == 40
    assert not data.has_twin(test, train).any()
    again = data.load(str(path), Reading(classes=(), test_fraction=0.2))
    np.testing.assert_array_equal(again.splits["test"].images, test.images)
    assert again.sha256 == dataset.sha256
    other = data.load(str(path), Reading(classes=(), test_fraction=0.2, split_seed=1))
    assert not np.array_equal(other.splits["test"].images, test.images)
    whole = data.load(str(path), Reading(classes=(), test_fraction=0.0))
    assert [*whole.splits] == ["train"] and len(whole.splits["train"].labels) == 50


# Sizes


def picture(width=100, height=100, mode="RGB", format="PNG", seed=0):
    """Smooth noise, so that one resampling is like another."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


@pytest.mark.parametrize(
    "size", [(100, 100), (48, 48), (30, 30), (200, 120), (61, 97), (1000, 400)]
)
def test_a_resized_picture_is_what_predict_makes_of_a_whole_picture(tmp_path, size):
    content = picture(*size)
    write_folder(tmp_path, {"train/a/1.png": content, "train/b/1.png": GOOD})
    found = read(tmp_path, classes=(), resize=True)["train"][0][0]
    rgb = np.asarray(Image.open(io.BytesIO(content)))
    (face,) = find_faces(rgb, detector="none", min_face=40, margin=0.0, align=True, turned=False)
    difference = np.abs(found.astype(int) - face.crop)
    assert difference.max() <= 10 and difference.mean() < 2


@pytest.mark.parametrize(
    "mode, format",
    [("RGB", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"),
     ("RGB", "WEBP"), ("RGB", "TIFF"), ("RGB", "BMP"), ("P", "GIF"), ("RGBA", "PNG")],
)  # fmt: skip
def test_modes_and_formats_of_pictures(tmp_path, mode, format):
    content = picture(mode=mode, format=format)
    write_folder(tmp_path, {"train/a/1": content, "train/b/1": GOOD})
    found = read(tmp_path, classes=(), resize=True)["train"][0][0]
    grey = np.asarray(Image.open(io.BytesIO(content)).convert("RGB").convert("L"), float)
    assert found.shape == (48, 48) and abs(found.mean() - grey.mean()) < 3


def test_transparent_parts_are_white_and_exif_turns(tmp_path):
    clear = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    turned, exif = Image.new("L", (80, 80), 0), Image.Exif()
    turned.paste(255, (0, 0, 40, 80))  # the left half is bright
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: then the upper one is
    for image, name, more in ((clear, "clear.png", {}), (turned, "turned.jpg", {"exif": exif})):
        (tmp_path / "train" / name[:5]).mkdir(parents=True)
        image.save(tmp_path / "train" / name[:5] / name, **more)
    clear, turned = read(tmp_path, classes=(), resize=True)["train"][0]
    assert (clear == 255).all()
    assert (turned[:20] > 250).all() and (turned[28:] < 5).all()


def test_without_resize_the_error_says_what_to_add(tmp_path):
    write_folder(tmp_path, {"train/sad/1.png": picture()})
    with pytest.raises(UserError, match=r"100x100.*--config.data.resize=True"):
        read(tmp_path)


@pytest.mark.parametrize("size", [(20_000, 10), (8000, 8000)])
def test_huge_pictures_are_refused_unread(tmp_path, size):
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    write_folder(tmp_path, {"train/sad/1.png": file.getvalue()})
    with pytest.raises(UserError, match="expected at most 50,000,000"):
        read(tmp_path, resize=True)


# From end to end

SHAPES = ("circle", "Square", "ತ್ರಿಕೋನ")


def draw_shape(name, rng):
    """A 100x100 RGB picture of a shape, of any colour on any other, and a little noise."""
    ink, paper = rng.integers(0, 100, 3), rng.integers(150, 256, 3)
    image = Image.new("RGB", (100, 100), tuple(paper.tolist()))
    x, y, r = rng.integers(40, 60), rng.integers(40, 60), rng.integers(22, 36)
    pen, ink = ImageDraw.Draw(image), tuple(ink.tolist())
    if name == "circle":
        pen.ellipse([x - r, y - r, x + r, y + r], fill=ink)
    elif name == "Square":
        pen.rectangle([x - r, y - r, x + r, y + r], fill=ink)
    else:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink)
    noisy = np.asarray(image) + rng.normal(0, 8, (100, 100, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_three_classes_of_drawn_rgb_pictures_from_end_to_end(tmp_path, capsys):
    rng = np.random.default_rng(0)
    files = {f"shapes/{name}/{i}.png": draw_shape(name, rng) for name in SHAPES for i in range(60)}
    path = write_zip(tmp_path / "shapes.zip", files | {"README.md": b"drawn"})
    config = fer_base.get_config()
    config.data.path, config.data.classes, config.data.resize = str(path), (), True
    config.data.test_fraction = config.data.valid_fraction = 0.2
    config.model.features, config.model.dense = (4, 8), 16
    config.train.epochs, config.train.batch_size = 30, 16
    config.plateau.enabled = config.early_stop.enabled = False
    config.augment.zoom, config.schedule.learning_rate = 0.0, 3e-3
    run = tmp_path / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats and integers
        modes.train(config, str(run))  # here and below: folders may be str
    said = capsys.readouterr().out
    classes = ["circle", "Square", "ತ್ರಿಕೋನ"]
    assert "own_data" in said and "'README.md'" in said and "FER" not in said
    result = json.loads((run / "eval.json").read_text())
    assert result["classes"] == classes and result["splits"]["test"]["n"] == 36
    assert result["splits"]["test"]["accuracy"] > 0.8
    assert result["splits"]["test"]["majority"] == pytest.approx(1 / 3)

    # the weights
    card = json.loads((run / "export" / "model.json").read_text())
    assert card["classes"] == classes and card["trained_on"]["name"] == "own_data"
    readme = (run / "export" / "README.md").read_text()
    assert "3 classes" in readme and ", ".join(classes) in readme and "FER-2013" not in readme

    # scored again by the weights alone: the classes and the split are those of the card
    config.data.split_seed, config.data.test_fraction = 5, 0.5
    modes.evaluate(config, str(tmp_path / "again"), weights=str(run / "export"))
    again = json.loads((tmp_path / "again" / "eval.json").read_text())
    assert again["splits"]["test"]["confusion"] == result["splits"]["test"]["confusion"]
    assert again["classes"] == classes

    # the report
    page = modes.write_report([str(run)]).read_text()
    assert "own_data" in page and "ತ್ರಿಕೋನ" in page

    # predictions and explanations
    inputs = []
    for name in SHAPES:
        inputs.append(str(tmp_path / f"{name}.png"))
        (tmp_path / f"{name}.png").write_bytes(draw_shape(name, rng))
    config.predict.detector, config.predict.threshold = "none", 0.0
    weights = str(run / "export")
    assert modes.predict(config, f"{tmp_path}/p", weights=weights, inputs=",".join(inputs)) == 0
    header, *rows = (tmp_path / "p" / "predictions.csv").read_text().splitlines()
    assert ",".join(["class", *classes]) in header
    lines = (tmp_path / "p" / "predictions.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert len(rows) == 3 and sum(a["class"] == n for a, n in zip(answers, SHAPES, strict=True)) > 1
    assert [*answers[0]["probabilities"]] == classes
    assert modes.explain(config, f"{tmp_path}/e", weights=weights, inputs=inputs[0]) == 0
    (explained,) = json.loads((tmp_path / "e" / "explain.json").read_text())
    assert [*explained["probabilities"]] == classes
    modes.explore(config, str(tmp_path / "explored"))
    counts = json.loads((tmp_path / "explored" / "explore.json").read_text())["counts"]
    assert [*counts["train"]] == classes

    # other classes than those of the weights are refused
    config.data.path = str(write_folder(tmp_path / "other", files_of("train/cat", "train/circle")))
    with pytest.raises(UserError, match="unknown class folder 'cat'"):
        modes.evaluate(config, tmp_path / "no", weights=weights)
