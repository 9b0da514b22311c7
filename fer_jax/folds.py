"""--mode=cross_validate: every training image is judged once, by a net that did not train on it.

N = training images, K = classes. What the nets say is kept in WORKDIR/out_of_fold, a folder with a
manifest, which `data.soft_labels` takes.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train_jax import calibration, metrics
from train_jax.run.errors import UserError
from train_jax.run.files import (
    check_manifest,
    read_arrays,
    write_arrays,
    write_atomically,
    write_manifest,
)

VIEWS = ("none", "flip")  # of which the predictions are kept
ARRAYS, ABOUT = "predictions.npz", "about.json"


class OutOfFold(NamedTuple):
    logits: dict[str, np.ndarray]  # of each of VIEWS, f32[N, K], rows as in the train split
    labels: np.ndarray  # i32[N]
    fold: np.ndarray  # i32[N], the fold in which the image was left out
    digest: np.ndarray  # u8[N, 32], SHA-256 of the pixels of each image
    temperature: dict[str, float]  # of each of VIEWS, fitted on all of the predictions
    classes: tuple[str, ...]  # K names, in the order of the labels


def check_settings(config):
    """UserError if a fold would be more than judged on the images that it leaves out."""
    if config.data.folds < 2:
        raise UserError(
            "config.data.folds must be at least 2 for --mode=cross_validate, got "
            f"{config.data.folds}; for example --config.data.folds=5"
        )
    wrong = {
        "checkpoint.select": (config.checkpoint.select, "last"),
        "early_stop.enabled": (config.early_stop.enabled, False),
        "plateau.enabled": (config.plateau.enabled, False),
    }
    for field, (value, expected) in wrong.items():
        if value != expected:
            raise UserError(
                f"config: {field} must be {expected} for --mode=cross_validate, got {value}: a "
                "fold must choose nothing by the images that it is scored on"
            )


def pool(parts, faces, fold, classes) -> OutOfFold:
    """The predictions of all folds together.

    Args:
      parts: for each fold {view: logits f32[n, K]} of the images it left out, in their order.
      faces: the whole train split.
      fold: i32[N], the fold that left out each image.
      classes: K names.
    """
    logits = {view: np.zeros((len(fold), len(classes)), np.float32) for view in VIEWS}
    for number, part in enumerate(parts):
        for view in VIEWS:
            logits[view][fold == number] = part[view]
    temperature = {v: calibration.fit_temperature(logits[v], faces.labels) for v in VIEWS}
    return OutOfFold(logits, faces.labels, fold, digests(faces.images), temperature, tuple(classes))


def score(found: OutOfFold) -> dict:
    """{view: scores over all images, "folds": accuracy of each}, for cross_validate.json."""
    result = {}
    for view in VIEWS:
        logits, t = found.logits[view], found.temperature[view]
        scores = metrics.classification_scores(logits, found.labels, found.classes)
        calibrated = metrics.classification_scores(logits / t, found.labels, found.classes)
        hits = logits.argmax(1) == found.labels
        result[view] = scores | {
            "temperature": t,
            "calibrated": {name: calibrated[name] for name in ("nll", "ece")},
            "folds": [
                {"n": int((found.fold == k).sum()), "accuracy": float(hits[found.fold == k].mean())}
                for k in range(found.fold.max() + 1)
            ],
        }
    return result


def table(result) -> str:
    """The scores in words; the temperature is fitted on the predictions that it is shown with."""
    lines = []
    for view, s in result.items():
        low, high = s["ci95"]
        folds = " ".join(f"{f['accuracy']:.4f}" for f in s["folds"])
        lines.append(
            f"out of fold, view {view}: accuracy {s['accuracy']:.4f}, 95 % {low:.4f}-{high:.4f} "
            f"(n {s['n']:,}), NLL {s['nll']:.4f}, ECE {s['ece']:.4f}; at temperature "
            f"{s['temperature']:.3f} NLL {s['calibrated']['nll']:.4f}, ECE "
            f"{s['calibrated']['ece']:.4f}; folds: {folds}"
        )
    return "\n".join(lines)


def save(folder: Path | str, found: OutOfFold):
    """Writes the arrays, what they belong to, and the manifest of both."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"logits_{view}": logits for view, logits in found.logits.items()}
    write_arrays(
        folder / ARRAYS, **arrays, labels=found.labels, fold=found.fold, digest=found.digest
    )
    about = {"classes": list(found.classes), "temperature": found.temperature}
    write_atomically(folder / ABOUT, json.dumps(about, indent=1))
    write_manifest(folder)


def load(folder: Path | str, classes) -> OutOfFold:
    """What `save` wrote. UserError if it is damaged, or of other classes than `classes`."""
    folder = Path(folder)
    problems = check_manifest(folder)
    if problems:
        raise UserError(
            f"config.data.soft_labels: {folder} is not what --mode=cross_validate writes into "
            f"WORKDIR/out_of_fold: {problems[0]}"
        )
    about = json.loads((folder / ABOUT).read_bytes())
    if about["classes"] != list(classes):
        raise UserError(f"{folder / ABOUT}: classes are {about['classes']}, not {list(classes)}")
    arrays = read_arrays(folder / ARRAYS)
    return OutOfFold(
        {view: arrays[f"logits_{view}"] for view in VIEWS}, arrays["labels"], arrays["fold"],
        arrays["digest"], about["temperature"], tuple(classes),
    )  # fmt: skip


def soft_targets(found: OutOfFold, images, folder) -> np.ndarray:
    """f32[n, K]: for each image u8[n, 48, 48] the calibrated probabilities of the view 'flip' by
    the net that did not train on it. UserError if one was in no fold.

    Images that are equal were in one fold, so that one net speaks for all of them.
    """
    row_of = {digest.tobytes(): row for row, digest in enumerate(found.digest)}
    rows = [row_of.get(digest.tobytes(), -1) for digest in digests(images)]
    if -1 in rows:
        raise UserError(
            f"config.data.soft_labels: {folder} was made from other data: {rows.count(-1):,} of "
            f"the {len(rows):,} training images were in no fold"
        )
    p = calibration.softmax(found.logits["flip"], found.temperature["flip"])
    return p[np.array(rows)].astype(np.float32)


def digests(images) -> np.ndarray:
    """u8[N, 32]: the SHA-256 of each image."""
    joined = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images)
    return np.frombuffer(joined, np.uint8).reshape(len(images), 32)
