"""Exported weights of a net that was trained on nothing."""

import functools

import jax
import numpy as np

from fer_jax import task, weights
from fer_jax.data import CLASSES, Faces
from train_jax.metrics import classification_scores


def export_random(folder, config, *, seed, temperature):
    """Writes them; the folder."""
    config = config.to_dict()
    model, _ = task.model_of(config["model"], "test")
    scores = classification_scores(np.eye(7), np.arange(7), CLASSES)
    scores |= {"majority": 0.3, "calibrated": {"nll": 0.0, "ece": 0.0}, "coverage": []}
    weights.export(
        folder, jax.jit(functools.partial(task.init_model, model))(jax.random.key(seed)),
        config=config,
        identity={"data": "drawn_faces", "train_valid_sha256": "cd" * 32, "classes": [*CLASSES]},
        splits={"train": Faces(np.zeros((7, 48, 48), np.uint8), np.arange(7))},
        temperature=temperature,
        result={"sha256": "ab" * 32, "epoch": 2, "tta": "none", "splits": {"valid": scores},
                "clean": {}, "no_near_twins": {}},
        origin={"command": "x", "git_commit": "x"},
    )  # fmt: skip
    return folder
