"""Scores of trained weights on every split: eval.json, the tables and the confusion figure."""

import json

import jax
import numpy as np

from fer_jax import data as fer_data
from fer_jax.data import SIDE
from fer_jax.models import takes_any_size
from fer_jax.report import tables as report
from fer_jax.report.mistakes import write_mistakes
from fer_jax.task import preprocess
from train_jax import calibration, metrics
from train_jax.compiler import forward_options
from train_jax.epoch import batches
from train_jax.report.run import OUTCOMES
from train_jax.report.table import as_text
from train_jax.run.errors import UserError
from train_jax.run.files import write_arrays, write_atomically

VIEWS = ("none", "flip", "ten_crop")  # config.eval.tta
CROP = 44  # pixels, side of the crops of 'ten_crop'


def score(workdir, logits_of, splits, *, classes, temperature, majority, about) -> dict:
    """Writes eval.json, outcomes.npz (1 for each image that is answered rightly), mistakes.json and
    the confusion figure, and prints the tables.

    Args:
      workdir: written into.
      logits_of: images u8[N, 48, 48] -> logits f32[N, K].
      splits: {name: Faces}. Without 'train' there is no telling which images have a twin there.
      classes: K names.
      temperature: the logits are divided by it for "calibrated" and "coverage".
      majority: the most frequent class of train, i32.
      about: what else goes into eval.json: "data", "sha256", "epoch", "tta", "weights".

    Returns:
      What eval.json holds.
    """

    def scores_of(logits, probabilities, labels):
        scores = metrics.classification_scores(logits, labels, classes)
        calibrated = metrics.classification_scores(logits / temperature, labels, classes)
        return scores | {
            "majority": float((labels == majority).mean()),
            "calibrated": {name: calibrated[name] for name in ("nll", "ece")},
            "coverage": calibration.coverage(probabilities, labels),
        }

    scores, reliability, outcomes = {}, {}, {}
    clean: dict[str, dict] = {}
    no_near_twins: dict[str, dict] = {}
    for name, faces in splits.items():
        logits = logits_of(faces.images)
        probabilities = calibration.softmax(logits, temperature)
        scores[name] = scores_of(logits, probabilities, faces.labels)
        outcomes[name] = (logits.argmax(1) == faces.labels).astype(np.float32)
        reliability[name] = {
            "plain": metrics.reliability(calibration.softmax(logits), faces.labels),
            "calibrated": metrics.reliability(probabilities, faces.labels),
        }
        if name != "train" and "train" in splits:
            twin = fer_data.has_twin(faces, splits["train"])
            near = fer_data.has_near_twin(faces, splits["train"])
            for rows, keep in ((clean, ~twin), (no_near_twins, ~(twin | near))):
                if keep.any():
                    rows[name] = scores_of(logits[keep], probabilities[keep], faces.labels[keep])
    result = about | {
        "classes": list(classes),
        "temperature": temperature,
        "split_sha256": {name: fer_data.sha256({name: faces}) for name, faces in splits.items()},
        "splits": scores,
        "clean": clean,
    }
    result |= {"no_near_twins": no_near_twins, "reliability": reliability}
    write_atomically(workdir / "eval.json", json.dumps(result, indent=1))
    write_arrays(workdir / OUTCOMES, **outcomes)
    # of the last split
    write_mistakes(workdir / "mistakes.json", name, faces, probabilities, classes)
    print(
        f"scores of {result['weights']} (epoch {result['epoch']}) on {result['data']}, "
        f"{report.VIEW_WORDS[result['tta']]} ({workdir}/eval.json)"
    )
    print(as_text(report.summary(result)))
    report.save_confusion(workdir, scores, about["data"], classes)
    return result


def views_of(model) -> tuple[str, ...]:
    """Those of VIEWS that a model can be asked for."""
    return VIEWS if takes_any_size(model) else VIEWS[:2]


def check_view(tta, views):
    """UserError unless `tta` is one of `views`."""
    if tta not in views:
        choices = ", ".join(map(repr, views))
        raise UserError(f"config.eval.tta must be one of {choices} for this net, got {tta!r}")


def pictures(images, tta) -> list:
    """The pictures u8[N, h, w] of images u8[N, 48, 48] whose answers `tta` averages."""
    if tta == "none":
        return [images]
    far = SIDE - CROP
    places = [(0, 0), (0, far), (far, 0), (far, far), (far // 2, far // 2)]
    crops = [images[:, row : row + CROP, column : column + CROP] for row, column in places]
    upright = [images] if tta == "flip" else crops
    return [view for picture in upright for view in (picture, picture[:, :, ::-1])]


def make_predict(model):
    """The compiled (variables, images u8[B, 48, 48]) -> logits f32[B, K]."""
    return jax.jit(
        lambda variables, images: model.apply(variables, preprocess(images), train=False),
        compiler_options=forward_options(jax.default_backend()),
    )


def predict_split(predict, variables, images, *, batch_size, tta) -> np.ndarray:
    """Logits f32[N, K] on the host for images u8[N, 48, 48].

    `tta`: one of VIEWS; with more than one picture of an image, the mean of their
    log-probabilities.
    """

    def logits_of(images):
        logits = [predict(variables, images[i]) for i, _ in batches(len(images), batch_size)]
        return np.concatenate(logits)[: len(images)]

    views = [logits_of(picture) for picture in pictures(images, tta)]
    if len(views) == 1:
        return views[0]
    return np.asarray(sum(jax.nn.log_softmax(logits) for logits in views) / len(views))
