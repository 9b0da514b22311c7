"""--mode=predict: from files to predictions.csv, predictions.jsonl and pictures with emoji."""

from pathlib import Path

import numpy as np

from fer_jax import average
from fer_jax import weights as weights_lib
from fer_jax.inference import check_view, make_predict, predict_split
from fer_jax.predict import images, tracks
from fer_jax.predict import inputs as inputs_lib
from fer_jax.predict.faces import DETECTORS, WINDOW, find_faces, has_cascades, why_no_face
from fer_jax.predict.output import Output, answer
from fer_jax.predict.window import Viewer
from train_jax.calibration import softmax
from train_jax.run.errors import UserError
from train_jax.run.interrupt import Interrupted, watch_signals
from train_jax.run.workdir import lock_workdir

TURNED = ("off", "stills", "all")


def predict(config, workdir: Path, *, weights: str | None, inputs: str) -> int:
    """Classifies the faces of `inputs`, separated by commas, and writes into `workdir`.

    Returns the exit code: 1 if nothing could be read, else 0.
    """
    names = inputs_lib.split(inputs)
    settings = check(config.predict, names)
    found = inputs_lib.find(names, (workdir / "annotated", workdir / "contact_sheet.png"))
    folder = weights_lib.choose(weights, workdir)
    classifier = average.load(str(folder))
    check_view(config.eval.tta, list(classifier.temperature))
    data = classifier.card["trained_on"]["name"]
    print(f"weights: {folder}, trained on {data}, epoch {classifier.card['epoch']}")
    if data == "drawn_faces":
        print("They were trained on DRAWN FACES: their answers about people mean nothing.")
    for line in found.left_out:
        print(line)
    classify = make_classify(classifier, tta=config.eval.tta)
    pictures = images.read(
        found.files, **{k: settings[k] for k in ("max_pixels", "every", "max_frames")}
    )
    classes = classifier.card["classes"]
    with (
        lock_workdir(workdir),
        Output(workdir, settings, classes) as output,
        watch_signals(output.finish) as interrupt,
    ):
        followed, viewer = tracks.Tracks(), Viewer()
        for picture in pictures:
            if picture.pixels is None:
                output.unreadable(picture)
                continue
            followed = tracks.Tracks() if picture.frame == 0 else followed
            answers, probabilities, reason, followed = recognise(
                picture, followed, classify, classes, settings
            )
            image = output.add(picture, answers, probabilities, reason)
            live = picture.file.startswith("webcam:") and settings["window"]
            if interrupt.signum or (live and not viewer.show(picture.file, image)):
                break
    if interrupt.signum:
        raise Interrupted(interrupt.signum, output.interrupted())
    return output.report()


def recognise(picture, followed, classify, classes, settings):
    """(answers, probabilities f64[N, K], why there are none, Tracks) of the N faces of a picture;
    those of a video are followed, and smoothed over time."""
    search = face_settings(settings, picture)
    faces = find_faces(picture.pixels, **search)
    probabilities = classify([face.crop for face in faces])
    numbers = range(1, len(faces) + 1)
    if picture.moving:
        followed, probabilities, numbers = tracks.follow(
            followed, [f.box for f in faces], probabilities, keep=settings["smoothing"]
        )
    answers = [
        answer(face, number, p, settings["threshold"], classes)
        for face, number, p in zip(faces, numbers, probabilities, strict=True)
    ]
    reason = "" if faces else why_no_face(picture.pixels.shape, picture.shrunk, search)
    return answers, probabilities, reason, followed


def face_settings(settings, picture) -> dict:
    """The arguments of find_faces for a picture, in whose pixels min_face is given here."""
    found = {k: settings[k] for k in ("detector", "margin", "align")}
    found["min_face"] = max(WINDOW, round(settings["min_face"] / picture.shrunk))
    found["turned"] = settings["turned"] == "all" or (
        settings["turned"] == "stills" and not picture.moving
    )
    return found


def make_classify(classifier, *, tta):
    """(list of u8[48, 48]) -> calibrated probabilities f64[N, K]."""
    compiled = make_predict(classifier.model)

    def classify(crops):
        if not crops:
            return np.zeros((0, len(classifier.card["classes"])))
        bits = (len(crops) - 1).bit_length()
        size = 1 << (bits + bits % 2)  # 1, 4, 16, 64 ...: few shapes, each compiled once
        logits = predict_split(
            compiled, classifier.variables, np.stack(crops), batch_size=size, tta=tta
        )
        return softmax(logits, classifier.temperature[tta])

    return classify


def check(settings, inputs) -> dict:
    """`config.predict` as a dict. UserError on a value out of range or inputs without sense."""
    if not inputs or not all(inputs):
        raise UserError(
            "--inputs= is missing: pictures, folders, '*.jpg', @list.txt, videos or webcam:0, "
            "separated by commas"
        )
    for name in inputs:
        if name.startswith("webcam:"):
            inputs_lib.webcam_number(name)
    c = settings.to_dict()
    if c["detector"] not in DETECTORS:
        raise UserError(
            f"config.predict.detector must be one of {', '.join(DETECTORS)}, got {c['detector']!r}"
        )
    if c["turned"] not in TURNED:
        raise UserError(
            f"config.predict.turned must be one of {', '.join(TURNED)}, got {c['turned']!r}"
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
            raise UserError(f"config.predict.{name} must be in [{low}, {high}], got {c[name]}")
    if c["detector"] == "haar" and not has_cascades():
        raise UserError(
            "OpenCV 5 has no Haar cascades to find faces with: install opencv-python-headless<5, "
            "or give pictures that are one face each and --config.predict.detector=none"
        )
    return c
