"""--mode=predict from files to files, with weights trained on nothing.

The weights are random, so what is held here is that the answers are those of the network on the
crops, and that each input, good or bad, ends where it should.
"""

import csv
import functools
import io
import json
import os
import re
import signal
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

from configs import fer_best
from fer_jax import drawn_faces, modes, task, weights
from fer_jax.data import CLASSES
from fer_jax.fer2013.image import decode
from fer_jax.predict import images, output, window
from fer_jax.predict import run as predict_run
from fer_jax.predict.faces import find_faces, has_cascades
from tests.fer_jax.predict.odd_inputs import make, wall
from tests.fer_jax.random_weights import export_random
from train_jax.run.errors import UserError
from train_jax.run.interrupt import Interrupted

TEMPERATURE = {"none": 0.05, "flip": 0.02}  # random weights hardly differ between classes


def make_config(**predict):
    c = fer_best.get_config()
    c.model.bfloat16 = False
    c.model.features = ((4,), (8,))
    c.predict.update(predict)
    return c


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "weights"
    return export_random(folder, make_config(), seed=3, temperature=TEMPERATURE)


@pytest.fixture(scope="module")
def logits_of(folder):
    classifier = weights.load(folder)
    apply = jax.jit(functools.partial(classifier.model.apply, classifier.variables, train=False))
    return lambda images: np.asarray(apply(task.preprocess(np.asarray(images))), np.float64)


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def predict(folder, workdir, inputs, *, config=None, **settings):
    inputs = ",".join(f'"{i}"' for i in inputs)
    config = config or make_config(**settings)
    if config.predict.detector == "haar" and not has_cascades():
        pytest.skip("OpenCV 5 has no Haar cascades")
    code = modes.predict(config, workdir, weights=str(folder), inputs=inputs)
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = (workdir / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == len(rows)
    return SimpleNamespace(code=code, rows=rows, records=records, workdir=workdir)


NO_FACE = "no face found: frontal of 40 pixels or more, turned or in profile of 40"


def drawn(n=1, seed=1):
    return drawn_faces.draw(n, seed=seed)[0]


def probabilities(row):
    return np.array([float(row[name]) for name in CLASSES])


WHOLE = {"detector": "none", "min_face": 40, "margin": 0.0, "align": True, "turned": False}

# parity with training


@pytest.mark.parametrize("quality", [100, 60])
def test_training_and_prediction_see_the_same_pixels(folder, logits_of, tmp_path, quality):
    """A JPEG of a training image, read as the data set reads it and as prediction reads it."""
    for number, image in enumerate(drawn(3)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="jpeg", quality=quality)
        (tmp_path / f"{number}.jpg").write_bytes(file.getvalue())
    trained = np.stack([decode((tmp_path / f"{n}.jpg").read_bytes(), "x") for n in range(3)])
    assert (trained != drawn(3)).any()  # JPEG is lossy: one more reason to share the reading
    files = [tmp_path / f"{n}.jpg" for n in range(3)]
    found = predict(folder, tmp_path / "out", files, detector="none")
    expected = softmax(logits_of(trained) / TEMPERATURE["none"])
    # 1e-4: rounding of f32 logits, divided by a temperature of 0.05
    np.testing.assert_allclose([probabilities(r) for r in found.rows], expected, atol=1e-4)
    seen = [images.read_still(f, max_pixels=10**6)[0] for f in files]
    seen = [find_faces(s, **WHOLE)[0] for s in seen]
    np.testing.assert_array_equal([face.crop for face in seen], trained)
    assert np.ptp(expected.max(0)) > 0.01  # or all answers are alike
    assert [[r[k] for k in ("x", "y", "width", "height")] for r in found.rows] == [
        ["0", "0", "48", "48"]
    ] * 3


def test_flip(folder, logits_of, tmp_path):
    image = drawn()
    Image.fromarray(image[0]).save(tmp_path / "a.png")
    config = make_config(detector="none")
    config.eval.tta = "flip"
    found = predict(folder, tmp_path / "out", [tmp_path / "a.png"], config=config)
    views = [np.log(softmax(logits_of(v))) for v in (image, image[:, :, ::-1])]
    expected = softmax(sum(views) / 2 / TEMPERATURE["flip"])
    np.testing.assert_allclose(probabilities(found.rows[0]), expected[0], atol=1e-4)


# what is written


def test_a_row_for_each_face(folder, tmp_path, capsys):
    wall(2).save(tmp_path / "two.png")
    found = predict(folder, tmp_path / "out", [tmp_path / "two.png"], threshold=0.0)
    assert found.code == 0 and len(found.rows) == 2
    assert list(found.rows[0]) == [
        "file", "frame", "seconds", "face", "pose", "x", "y", "width", "height", "class", *CLASSES,
        "reason",
    ]  # fmt: skip
    lefts = sorted(int(row["x"]) for row in found.rows)
    assert abs(lefts[0] - 60) < 50 and abs(lefts[1] - 312) < 50
    for row, record in zip(found.rows, found.records, strict=True):
        p = probabilities(row)
        assert p.sum() == pytest.approx(1, abs=1e-5)
        assert row["class"] == CLASSES[p.argmax()] == record["class"]
        assert row["file"] == record["file"] == str(tmp_path / "two.png")
        assert row["reason"] == "" and record["reason"] is None
        assert record["box"] == {k: int(row[k]) for k in ("x", "y", "width", "height")}
        np.testing.assert_allclose([record["probabilities"][c] for c in CLASSES], p)
    assert "DRAWN FACES" in capsys.readouterr().out  # of these weights


@pytest.mark.parametrize(("threshold", "sure"), [(0.0, True), (1.0, False)])
def test_below_the_threshold_it_is_not_sure(folder, tmp_path, capsys, threshold, sure):
    Image.fromarray(drawn()[0]).save(tmp_path / "a.png")
    found = predict(
        folder, tmp_path / "out", [tmp_path / "a.png"], detector="none", threshold=threshold
    )
    p = probabilities(found.rows[0])
    assert p.max() < 1
    assert found.rows[0]["class"] == (CLASSES[p.argmax()] if sure else "not sure")
    assert ("not sure (" in capsys.readouterr().out) != sure


def test_pictures(folder, tmp_path):
    wall(1).save(tmp_path / "ಮುಖ.png")
    Image.fromarray(np.full((90, 160, 3), 200, np.uint8)).save(tmp_path / "wall.png")
    (tmp_path / "bad.png").write_bytes(b"")
    found = predict(folder, tmp_path / "out", [tmp_path], threshold=0.0)
    names = sorted(p.name for p in (found.workdir / "annotated").iterdir())
    assert names == ["00001-wall.png.jpg", "00002-ಮುಖ.png.jpg"]
    with Image.open(found.workdir / "annotated" / names[1]) as image:
        annotated = np.asarray(image).astype(int)
    assert annotated.shape == (480, 480, 3)  # small pictures are enlarged
    colourful = np.ptp(annotated, axis=2) > 60  # box and emoji on a grey picture
    assert 0.01 < colourful.mean() < 0.5
    with Image.open(found.workdir / "contact_sheet.png") as image:
        assert image.width > 3 * 180
    again = predict(folder, tmp_path / "out", [tmp_path / "wall.png"])
    assert [p.name for p in (again.workdir / "annotated").iterdir()] == ["00001-wall.png.jpg"]


def test_max_pictures(folder, tmp_path, capsys):
    for number in range(3):
        Image.fromarray(drawn()[0]).save(tmp_path / f"{number}.png")
    found = predict(folder, tmp_path / "out", [tmp_path], detector="none", max_pictures=2)
    assert len(found.rows) == 3
    assert len(list((found.workdir / "annotated").iterdir())) == 2
    assert "the first 2 pictures; 1 more are not drawn" in capsys.readouterr().out


def test_bad_files_are_rows_and_do_not_stop_the_rest(folder, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("words")
    wall(1).save(tmp_path / "good.png")
    names = ["no.jpg", "empty.jpg", "good.png", "text.jpg"]
    found = predict(folder, tmp_path / "out", [tmp_path / n for n in names])
    assert found.code == 0
    assert [r["file"].split("/")[-1] for r in found.rows] == names
    assert [bool(r["reason"]) for r in found.rows] == [True, True, False, True]
    assert [r["class"] for r in found.rows][:2] == ["", ""]
    assert found.records[0]["probabilities"] is None and found.records[0]["box"] is None


def test_exit_code_1_only_if_nothing_could_be_read(folder, tmp_path, capsys):
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert predict(folder, tmp_path / "out", [tmp_path / "empty.jpg"]).code == 1
    assert "nothing could be read" in capsys.readouterr().err
    Image.fromarray(np.full((90, 90, 3), 9, np.uint8)).save(tmp_path / "dark.png")
    found = predict(folder, tmp_path / "out", [tmp_path / "empty.jpg", tmp_path / "dark.png"])
    assert found.code == 0  # it was read, there is just no face
    assert [r["reason"] for r in found.rows] == ["an empty file", NO_FACE]


def test_a_typo_does_not_erase_the_previous_prediction(folder, tmp_path, capsys):
    wall(1).save(tmp_path / "good.png")
    predict(folder, tmp_path / "out", [tmp_path / "good.png"])

    def content():
        files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
        return {p.name: p.read_bytes() for p in files}

    before = content()
    assert len(before) == 5  # with .lock
    assert predict(folder, tmp_path / "out", [tmp_path / "goood.png"]).code == 1
    assert content() == before
    assert "before is left as it was" in capsys.readouterr().out
    found = predict(folder, tmp_path / "out", [tmp_path / "goood.png", tmp_path / "good.png"])
    assert [r["reason"] for r in found.rows] == ["no such file", ""]
    assert content().keys() == before.keys()


@pytest.mark.skipif(not has_cascades(), reason="OpenCV 5 has no Haar cascades")
def test_twelve_odd_inputs_with_the_shipped_weights(tmp_path):
    inputs = make(tmp_path / "odd")
    config = fer_best.get_config()
    code = modes.predict(config, tmp_path / "out", weights=None, inputs=",".join(inputs))
    assert code == 0
    with open(tmp_path / "out" / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        found.setdefault(row["file"], []).append(row["reason"] or "a face")
    assert [(file.split("/")[-1][:2], len(r), r[0].split(":")[0]) for file, r in found.items()] == [
        ("01", 1, "no face found"),
        ("02", 5, "a face"),
        ("03", 1, "damaged or cut off"),
        ("04", 1, "no face found"),
        ("05", 1, "too large"),
        ("06", 1, "not a JPEG, PNG, BMP, GIF, WEBP, AVIF, TIFF file"),
        ("07", 1, "a face"),
        ("08", 1, "a face"),
        ("09", 1, "a face"),
        ("10", 1, "a face"),
        ("11", 1, "an empty file"),
        ("12", 1, "a folder without pictures or videos"),
    ]
    # one face, four ways to store it
    same = {tuple(r[c] for c in CLASSES) for r in rows if r["file"][-6:] in ("_é.png", "ed.gif")}
    assert len(same) == 1


# videos


def write_video(path, frames, rate=10):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()


def test_a_video_is_rows_by_frame_and_smoothed_by_face(folder, tmp_path):
    still = np.asarray(wall(1))
    blank = np.full_like(still, 128)
    other = np.clip(still.astype(int) * 0.6, 0, 255).astype(np.uint8)
    write_video(tmp_path / "a.avi", [still, other, blank, still])
    raw = predict(folder, tmp_path / "raw", [tmp_path / "a.avi"])
    assert [r["frame"] for r in raw.rows] == ["0", "1", "2", "3"]
    reason = "no face found: frontal of 40 pixels or more"
    assert [r["reason"] for r in raw.rows] == ["", "", reason, ""]
    assert [(r["seconds"], r["face"]) for r in raw.rows] == [
        ("0.000", "1"), ("0.100", "1"), ("0.200", ""), ("0.300", "1")
    ]  # fmt: skip
    smooth = predict(folder, tmp_path / "smooth", [tmp_path / "a.avi"] * 2, smoothing=0.8)
    p = [probabilities(raw.rows[i]) for i in (0, 1, 3)]
    assert abs(p[0] - p[1]).max() > 1e-3
    expected = [p[0], 0.8 * p[0] + 0.2 * p[1]]
    expected.append(0.8 * expected[1] + 0.2 * p[2])
    for first in (0, 4):  # the second video starts again
        found = [probabilities(smooth.rows[first + i]) for i in (0, 1, 3)]
        np.testing.assert_allclose(found, expected, atol=3e-6)
    names = [p.name for p in (raw.workdir / "annotated").iterdir()]
    assert names == ["00001-a.avi-0.jpg"]  # one in ten seconds


def test_every_and_max_frames(folder, tmp_path):
    write_video(tmp_path / "a.avi", [np.full((60, 80, 3), 99, np.uint8)] * 9)
    found = predict(folder, tmp_path / "out", [tmp_path / "a.avi"], every=3, max_frames=2)
    assert [r["frame"] for r in found.rows] == ["0", "3"]


@pytest.fixture
def camera(tmp_path, monkeypatch):
    """Webcam 3 is a video of 9 frames."""
    write_video(tmp_path / "camera.avi", [np.asarray(wall(1))] * 9)
    real = cv2.VideoCapture

    def capture(source, api):
        assert source in (3, str(tmp_path / "camera.avi"))
        return real(str(tmp_path / "camera.avi"), cv2.CAP_FFMPEG)

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    return "webcam:3"


class FakeWindow:
    """Closed by the user after three frames."""

    def __init__(self, title):
        self.title, self.shown, self.closed = title, [], False
        self.opened.append(self)

    def show(self, image):
        self.shown.append(np.asarray(image).astype(int))
        self.closed = len(self.shown) == 3


def test_a_webcam_is_shown_where_a_display_is(folder, camera, tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(FakeWindow, "opened", [], raising=False)
    monkeypatch.setattr(window, "Window", FakeWindow)
    found = predict(folder, tmp_path / "out", [camera], threshold=0.0)
    (seen,) = FakeWindow.opened
    assert seen.title == "webcam:3" and len(seen.shown) == len(found.rows) == 3
    assert all((np.ptp(frame, axis=2) > 60).mean() > 0.01 for frame in seen.shown)  # box, emoji
    assert [row["file"] for row in found.rows] == ["webcam:3"] * 3
    assert {row["face"] for row in found.rows} == {"1"}
    times = [float(row["seconds"]) for row in found.rows]
    assert times == sorted(times) and times[0] >= 0
    without = predict(folder, tmp_path / "out", [camera], window=False)
    assert len(FakeWindow.opened) == 1 and len(without.rows) == 9


def test_a_webcam_without_a_display(folder, camera, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert len(predict(folder, tmp_path / "out", [camera]).rows) == 9
    assert capsys.readouterr().out.count("webcam:3: no display, so no window") == 1
    monkeypatch.setenv("DISPLAY", ":no")  # set, but nobody is there
    assert len(predict(folder, tmp_path / "out", [camera], max_frames=2).rows) == 2
    assert "webcam:3: no window (" in capsys.readouterr().out


@pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="needs a display, such as xvfb-run's")
def test_the_window(tmp_path):
    viewer = window.Viewer()
    assert viewer.show("webcam:0", wall(1)) and viewer.show("webcam:0", wall(1))
    (real,) = viewer._windows.values()
    assert 0 <= real._root.winfo_width() - wall(1).width < 20  # the frame
    real._root.focus_force()
    real._root.update()
    real._root.event_generate("<Escape>")
    assert not viewer.show("webcam:0", wall(1))


def test_a_video_says_how_far_it_is(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(output, "BETWEEN_REPORTS", 0.0)
    write_video(tmp_path / "a.avi", [np.full((60, 80, 3), 99, np.uint8)] * 3)
    predict(folder, tmp_path / "out", [tmp_path / "a.avi"])
    said = capsys.readouterr().out
    assert re.search(r"a.avi: frame 1 of 3, 0:\d\d left\n.*a.avi: frame 2 of 3, 0:\d\d left", said)


def test_progress():
    frame = images.Picture("a.mp4", 299, None, "", True, True, 12.0, 6000)
    assert output.progress(frame, 30.0) == "a.mp4: frame 300 of 6000, 9:30 left"
    assert output.progress(frame._replace(frames=0), 30.0) == "a.mp4: frame 300, at 12 s"


def test_an_annotated_video(folder, tmp_path):
    """As long as the original, though each second frame is looked at, and with the answers."""
    still, blank = np.asarray(wall(1)), np.full(np.asarray(wall(1)).shape, 128, np.uint8)
    write_video(tmp_path / "a.avi", [still] * 10 + [blank] * 11)
    settings = {"video": True, "every": 2, "threshold": 0.0}
    found = predict(folder, tmp_path / "out", [tmp_path / "a.avi"] * 2, **settings)
    paths = sorted((found.workdir / "annotated").glob("*.mp4"))
    assert [p.name for p in paths] == ["00001-a.avi.mp4", "00002-a.avi.mp4"]
    frames = [p for p in images.read([str(paths[1])], max_pixels=10**7, every=1, max_frames=0)]
    assert frames[-1].seconds == pytest.approx(2.0, abs=0.05)  # frame 20 at 10 a second
    colourful = [(np.ptp(p.pixels.astype(int), axis=2) > 60).mean() for p in frames]
    assert min(colourful[:20]) > 0.01 and max(colourful[26:]) == 0  # box and emoji, then none
    again = predict(folder, tmp_path / "out", [tmp_path / "a.avi"])
    assert not list((again.workdir / "annotated").glob("*.mp4"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_was_done(folder, tmp_path, monkeypatch, signum):
    def read(files, **settings):
        for frame in range(9):
            if frame == 2:
                os.kill(os.getpid(), signum)
            yield images.Picture("webcam:0", frame, np.asarray(wall(1)), "", True, True, 0.0)

    monkeypatch.setattr(images, "read", read)
    with pytest.raises(Interrupted, match="what was done is in") as caught:
        predict(folder, tmp_path / "out", ["webcam:0"])
    assert caught.value.exit_code == 128 + signum
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["webcam:0", str(f)] for f in range(3)]
    assert (tmp_path / "out" / "contact_sheet.png").exists()


# mistakes


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"detector": "dlib"}, "detector must be one of haar, none, got 'dlib'"),
        ({"min_face": 3}, "min_face must be in [24"),
        ({"turned": "yes"}, "turned must be one of off, stills, all, got 'yes'"),
        ({"threshold": 1.5}, "threshold"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"every": 0}, "every"),
        ({"max_frames": -1}, "max_frames"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"margin": -0.5}, "margin"),
    ],
)
def test_a_wrong_setting(folder, tmp_path, settings, word):
    with pytest.raises(UserError) as caught:
        predict(folder, tmp_path / "out", [tmp_path], **settings)
    assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_opencv_5_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(predict_run, "has_cascades", lambda: False)
    with pytest.raises(UserError, match="^OpenCV 5 has no Haar cascades.*<5.*detector=none$"):
        predict_run.check(make_config().predict, ["x.jpg"])
    predict_run.check(make_config(detector="none").predict, ["x.jpg"])


@pytest.mark.parametrize("inputs", [[], ["", ""], ["webcam:x"]])
def test_wrong_inputs(folder, tmp_path, inputs):
    with pytest.raises(UserError, match="--inputs"):
        predict(folder, tmp_path / "out", inputs)
    assert not (tmp_path / "out").exists()


def test_missing_weights(tmp_path):
    with pytest.raises(UserError, match="nowhere is not there"):
        predict(tmp_path / "nowhere", tmp_path / "out", [tmp_path])


def test_few_shapes_are_compiled(folder):
    classify = predict_run.make_classify(weights.load(folder), tta="none")
    crops = list(drawn(5))
    together = classify(crops)
    assert together.shape == (5, 7)
    apart = np.concatenate([classify([crop]) for crop in crops])
    np.testing.assert_allclose(together, apart, atol=1e-4)
    assert classify([]).shape == (0, 7)
