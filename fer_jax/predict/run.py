"""--mode=predict: from files to predictions.csv, predictions.jsonl and pictures with emoji."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from fer_jax import average
from fer_jax import weights as weights_lib
from fer_jax.evaluate import check_view, make_predict, predict_split
from fer_jax.predict import draw, images, tracks
from fer_jax.predict.draw import Answer
from fer_jax.predict.emoji import NOT_SURE
from fer_jax.predict.faces import DETECTORS, find_faces, has_cascades
from train_jax.calibration import softmax
from train_jax.run.errors import UserError
from train_jax.run.interrupt import Interrupted, watch_signals
from train_jax.run.workdir import lock_workdir

BOX = ("x", "y", "width", "height")
MAX_TILES = 120  # of the contact sheet


def predict(config, workdir: Path, *, weights: str | None, inputs: str) -> int:
    """Classifies the faces of `inputs`, separated by commas, and writes into `workdir`.

    Returns the exit code: 1 if nothing could be read, else 0.
    """
    inputs = split(inputs)
    settings = check(config.predict, inputs)
    folder = weights_lib.choose(weights, workdir)
    classifier = average.load(str(folder))
    check_view(config.eval.tta, list(classifier.temperature))
    data = classifier.card["trained_on"]["name"]
    print(f"weights: {folder}, trained on {data}, epoch {classifier.card['epoch']}")
    if data == "drawn_faces":
        print("They were trained on DRAWN FACES: their answers about people mean nothing.")
    classify = make_classify(classifier, tta=config.eval.tta)
    pictures = images.read(
        inputs, **{k: settings[k] for k in ("max_pixels", "every", "max_frames")}
    )
    classes = classifier.card["classes"]
    with (
        lock_workdir(workdir),
        watch_signals() as interrupt,
        Output(workdir, settings, classes) as output,
    ):
        followed = []
        for picture in pictures:
            if picture.pixels is None:
                output.unreadable(picture)
                continue
            faces = find_faces(
                picture.pixels,
                **{k: settings[k] for k in ("detector", "min_face", "margin", "align")},
            )
            probabilities = classify([face.crop for face in faces])
            boxes = [face.box for face in faces]
            if picture.moving and settings["smoothing"]:
                followed = [] if picture.frame == 0 else followed
                followed, probabilities = tracks.follow(
                    followed, boxes, probabilities, keep=settings["smoothing"]
                )
            output.add(picture, boxes, probabilities)
            if interrupt.signum:
                break
    if interrupt.signum:
        raise Interrupted(interrupt.signum, f"interrupted; what was done is in {workdir}")
    return output.report()


def make_classify(classifier, *, tta):
    """(list of u8[48, 48]) -> calibrated probabilities f64[N, K]."""
    compiled = make_predict(classifier.model)

    def classify(crops):
        if not crops:
            return np.zeros((0, len(classifier.card["classes"])))
        size = 1 << (len(crops) - 1).bit_length()  # few shapes, each compiled once
        logits = predict_split(
            compiled, classifier.variables, np.stack(crops), batch_size=size, tta=tta
        )
        return softmax(logits, classifier.temperature[tta])

    return classify


def answer(box, probabilities, threshold, classes) -> Answer:
    """The most probable class of f64[K], or NOT_SURE where it is below the threshold."""
    best = classes[int(probabilities.argmax())]
    probability = float(probabilities.max())
    return Answer(box, best if probability >= threshold else NOT_SURE, best, probability)


class Output:
    """The files of one prediction, written as it goes, so that memory does not grow."""

    def __init__(self, workdir: Path, settings, classes):
        self._workdir, self._settings, self._classes = workdir, settings, classes
        self._tiles, self._left_out, self._drawn = [], 0, 0
        self._counts = {}  # of the moving pictures: {file: Counter of answers}
        self._read = self._unreadable = 0

    def __enter__(self):
        self._annotated = self._workdir / "annotated"
        self._annotated.mkdir(exist_ok=True)
        for old in self._annotated.glob("[0-9]*-*.jpg"):
            old.unlink()
        (self._workdir / "contact_sheet.png").unlink(missing_ok=True)
        # file names need not be Unicode; what is not, is written as \\udc..
        kind = {"encoding": "utf-8", "errors": "backslashreplace"}
        self._csv = open(self._workdir / "predictions.csv", "w", newline="", **kind)
        self._jsonl = open(self._workdir / "predictions.jsonl", "w", **kind)
        self._rows = csv.writer(self._csv)
        self._rows.writerow(["file", "frame", *BOX, "class", *self._classes, "reason"])
        return self

    def __exit__(self, *exception):
        self._csv.close()
        self._jsonl.close()
        if self._tiles:
            draw.sheet(self._tiles).save(self._workdir / "contact_sheet.png")

    def unreadable(self, picture):
        """A row with the reason."""
        self._unreadable += 1
        self._row(picture, None, None, None, picture.reason)
        self._tile(None, [picture.reason, Path(picture.file).name])
        print(f"{picture.file}: {picture.reason}")

    def add(self, picture, boxes, probabilities):
        """A row for each face, or one with the reason where there is none; and the pictures."""
        self._read += 1
        threshold = self._settings["threshold"]
        answers = [
            answer(b, p, threshold, self._classes)
            for b, p in zip(boxes, probabilities, strict=True)
        ]
        for found, row in zip(answers, probabilities, strict=True):
            self._row(picture, found.box, found.name, row, "")
        if not answers:
            self._row(picture, None, None, None, "no face found")
        summary = ", ".join(a.text() for a in answers) or "no face found"
        if picture.moving:
            counts = self._counts.setdefault(picture.file, Counter(frames=0))
            counts["frames"] += 1
            counts.update([a.name for a in answers])
        else:
            print(f"{picture.file}: {summary}")
        if picture.shown:
            self._draw(picture, answers)

    def report(self) -> int:
        """Prints what was done and returns the exit code."""
        for file, counts in self._counts.items():
            found = ", ".join(f"{n} {name}" for name, n in counts.most_common() if name != "frames")
            print(f"{file}: {counts['frames']} frames; {found or 'no face found'}")
        if self._left_out:
            print(f"contact_sheet.png shows the first {MAX_TILES}; {self._left_out} are not on it")
        print(
            f"{self._read} pictures read, {self._unreadable} problems; see {self._workdir}: "
            "predictions.csv, predictions.jsonl, annotated/, contact_sheet.png"
        )
        if not self._read:
            print("error: nothing could be read", file=sys.stderr)
        return 0 if self._read else 1

    def _row(self, picture, box, name, probabilities, reason):
        values = {}
        if name is not None:
            values = dict(zip(self._classes, map(float, probabilities), strict=True))
        self._rows.writerow(
            [picture.file, picture.frame, *(box or [""] * 4), name or ""]
            + [f"{values[c]:.6f}" if values else "" for c in self._classes]
            + [reason]
        )
        record = {
            "file": picture.file,
            "frame": picture.frame,
            "box": dict(zip(BOX, box, strict=True)) if box else None,
            "class": name,
            "probabilities": {k: round(v, 6) for k, v in values.items()} or None,
            "reason": reason or None,
        }
        self._jsonl.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _draw(self, picture, answers):
        name = Path(picture.file).name
        label = f"{name}, frame {picture.frame}" if picture.moving else name
        if self._drawn < self._settings["max_pictures"]:
            self._drawn += 1
            safe = "".join(c if c.isprintable() else "_" for c in name)[:50]
            suffix = f"-{picture.frame}" if picture.moving else ""
            path = self._annotated / f"{self._drawn:05d}-{safe}{suffix}.jpg"
            draw.annotate(picture.pixels, answers).save(path, quality=92)
        if not answers:
            self._tile(Image.fromarray(picture.pixels), ["no face found", label])
        for found in answers:
            x, y, width, height = found.box
            cut = picture.pixels[max(y, 0) : y + height, max(x, 0) : x + width]
            self._tile(Image.fromarray(cut), [found.text(), label], found.name)

    def _tile(self, picture, lines, name=""):
        if len(self._tiles) < MAX_TILES:
            self._tiles.append(draw.tile(picture, lines, name))
        else:
            self._left_out += 1


def split(inputs: str) -> list[str]:
    """Names separated by commas; one with a comma in it stands in double quotes."""
    try:
        return next(csv.reader([inputs]), [])
    except csv.Error as error:
        raise UserError(f"--inputs: {error}: separate names by commas") from None


def check(settings, inputs) -> dict:
    """`config.predict` as a dict. UserError on a value out of range or inputs without sense."""
    if not inputs or not all(inputs):
        raise UserError(
            "--inputs= is missing: pictures, folders, videos or webcam:0, separated by commas"
        )
    for name in inputs:
        if name.startswith("webcam:"):
            images.webcam_number(name)
    c = settings.to_dict()
    if c["detector"] not in DETECTORS:
        raise UserError(
            f"config: predict.detector must be one of {', '.join(DETECTORS)}, got {c['detector']!r}"
        )
    ranges = {
        "min_face": (24, 10_000),
        "margin": (-0.4, 2.0),
        "threshold": (0.0, 1.0),
        "smoothing": (0.0, 0.999),
        "every": (1, 10**6),
        "max_frames": (0, 10**9),
        "max_pixels": (1, 10**9),
        "max_pictures": (0, 10**6),
    }
    for name, (low, high) in ranges.items():
        if not low <= c[name] <= high:
            raise UserError(f"config: predict.{name} must be in [{low}, {high}], got {c[name]}")
    if c["detector"] == "haar" and not has_cascades():
        raise UserError(
            "OpenCV 5 has no Haar cascades to find faces with: install opencv-python-headless<5, "
            "or give pictures that are one face each and --config.predict.detector=none"
        )
    return c
