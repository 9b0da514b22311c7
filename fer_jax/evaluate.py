"""Scores of a checkpoint on every split: eval.json, the table and the confusion figure."""

import json

import jax
import numpy as np

from fer_jax import data as fer_data
from fer_jax import report
from fer_jax.data import CLASSES
from fer_jax.task import preprocess
from train_jax import metrics
from train_jax.checkpoint import Checkpoints, write_atomically
from train_jax.epoch import batches
from train_jax.errors import UserError


def score(config, workdir, predict, task, dataset, splits) -> int:
    """Writes eval.json and the confusion figure of the best checkpoint, and prints the table.

    Returns the epoch of that checkpoint.
    """
    checkpoints = Checkpoints(workdir / "checkpoints", mode=config.checkpoint.mode)
    saved = checkpoints.best()
    variables = checkpoints.load_variables(saved, task.init, ema=config.train.ema_decay > 0)
    majority = np.bincount(splits["train"].labels).argmax()

    def scores_of(logits, labels):
        scores = metrics.classification_scores(logits, labels, CLASSES)
        return scores | {"majority": float((labels == majority).mean())}

    scores, clean = {}, {}
    for name, faces in splits.items():
        logits = predict_split(predict, variables, faces.images, config.train.eval_batch_size)
        scores[name] = scores_of(logits, faces.labels)
        keep = ~fer_data.has_twin(faces, splits["train"])
        if name != "train" and keep.any():
            clean[name] = scores_of(logits[keep], faces.labels[keep])
    epoch = len(saved.record["history"])
    result = {
        "data": dataset.name,
        "sha256": dataset.sha256,
        "epoch": epoch,
        "tta": config.eval.tta,
        "splits": scores,
        "clean": clean,
    }
    write_atomically(workdir / "eval.json", json.dumps(result, indent=1))
    print(report.score_table(result, workdir))
    report.draw_confusion(workdir, scores, dataset.name)
    return epoch


def make_predict(model, *, tta):
    """The compiled (variables, images u8[B, 48, 48]) -> logits f32[B, K].

    `tta`: 'none', or 'flip', which averages the log-probabilities of an image and its mirror.
    """
    if tta not in ("none", "flip"):
        raise UserError(f"config: eval.tta must be 'none' or 'flip', got {tta!r}")

    def predict(variables, images):
        images = preprocess(images)
        logits = model.apply(variables, images, train=False)
        if tta == "flip":
            mirrored = model.apply(variables, images[:, :, ::-1], train=False)
            logits = (jax.nn.log_softmax(logits) + jax.nn.log_softmax(mirrored)) / 2
        return logits

    return jax.jit(predict)


def predict_split(predict, variables, images, batch_size) -> np.ndarray:
    """Logits f32[N, K] on the host for images u8[N, 48, 48]."""
    logits = [predict(variables, images[i]) for i, _ in batches(len(images), batch_size)]
    return np.concatenate(logits)[: len(images)]
