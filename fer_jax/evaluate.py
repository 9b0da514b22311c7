"""Scores of trained weights on every split: eval.json, the tables and the confusion figure."""

import json

import jax
import numpy as np

from fer_jax import data as fer_data
from fer_jax import report
from fer_jax.data import CLASSES
from fer_jax.mistakes import write_mistakes
from fer_jax.task import preprocess
from train_jax import calibration, metrics
from train_jax.compiler import forward_options
from train_jax.epoch import batches
from train_jax.errors import UserError
from train_jax.files import write_atomically

VIEWS = ("none", "flip")  # config.eval.tta


def score(workdir, logits_of, splits, *, temperature, majority, about) -> dict:
    """Writes eval.json, mistakes.json and the confusion figure, and prints the tables.

    Args:
      workdir: written into.
      logits_of: images u8[N, 48, 48] -> logits f32[N, K].
      splits: {name: Faces}. Without 'train' there is no telling which images have a twin there.
      temperature: the logits are divided by it for "calibrated" and "coverage".
      majority: the most frequent class of train, i32.
      about: what else goes into eval.json: "data", "sha256", "epoch", "tta", "weights".

    Returns:
      What eval.json holds.
    """

    def scores_of(logits, probabilities, labels):
        scores = metrics.classification_scores(logits, labels, CLASSES)
        calibrated = metrics.classification_scores(logits / temperature, labels, CLASSES)
        return scores | {
            "majority": float((labels == majority).mean()),
            "calibrated": {name: calibrated[name] for name in ("nll", "ece")},
            "coverage": calibration.coverage(probabilities, labels),
        }

    scores, clean, reliability = {}, {}, {}
    for name, faces in splits.items():
        logits = logits_of(faces.images)
        probabilities = calibration.softmax(logits, temperature)
        scores[name] = scores_of(logits, probabilities, faces.labels)
        reliability[name] = {
            "plain": metrics.reliability(calibration.softmax(logits), faces.labels),
            "calibrated": metrics.reliability(probabilities, faces.labels),
        }
        if name != "train" and "train" in splits:
            keep = ~fer_data.has_twin(faces, splits["train"])
            if keep.any():
                clean[name] = scores_of(logits[keep], probabilities[keep], faces.labels[keep])
    result = about | {"temperature": temperature, "splits": scores, "clean": clean}
    result["reliability"] = reliability
    write_atomically(workdir / "eval.json", json.dumps(result, indent=1))
    write_mistakes(workdir / "mistakes.json", name, faces, probabilities)  # of the last split
    print(report.score_table(result, workdir))
    print(report.coverage_table(result))
    report.draw_confusion(workdir, scores, about["data"])
    return result


def check_view(tta):
    """UserError unless `tta` is a view that `logits_of` knows."""
    if tta not in VIEWS:
        raise UserError(f"config: eval.tta must be 'none' or 'flip', got {tta!r}")


def make_predict(model):
    """The compiled (variables, images u8[B, 48, 48]) -> logits f32[B, K]."""
    return jax.jit(
        lambda variables, images: model.apply(variables, preprocess(images), train=False),
        compiler_options=forward_options(jax.default_backend()),
    )


def predict_split(predict, variables, images, *, batch_size, tta) -> np.ndarray:
    """Logits f32[N, K] on the host for images u8[N, 48, 48].

    `tta`: 'none', or 'flip', which averages the log-probabilities of an image and its mirror.
    """

    def view(images):
        logits = [predict(variables, images[i]) for i, _ in batches(len(images), batch_size)]
        return np.concatenate(logits)[: len(images)]

    if tta == "none":
        return view(images)
    mirrored = view(images[:, :, ::-1])
    return np.asarray((jax.nn.log_softmax(view(images)) + jax.nn.log_softmax(mirrored)) / 2)
