"""The faces that a classifier gets wrong with the most confidence: mistakes.json."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from fer_jax.data import Faces
from train_jax.run.files import write_atomically


def write_mistakes(
    path: Path, split: str, faces: Faces, probabilities, classes, *, most: int = 24
) -> None:
    """Writes {"split", "mistakes": [{"true", "predicted", "probability", "index", "png": base64}]},
    the most probable mistake first.

    Args:
      path: of the file.
      split: the name of the split.
      faces: its N faces.
      probabilities: f[N, K].
      classes: K names.
      most: so many at most.
    """
    predicted = probabilities.argmax(1)
    confidence = probabilities[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(predicted != faces.labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    found = [
        {
            "true": classes[faces.labels[i]],
            "predicted": classes[predicted[i]],
            "probability": float(confidence[i]),
            "index": int(i),
            "png": png(faces.images[i]),
        }
        for i in wrong
    ]
    write_atomically(path, json.dumps({"split": split, "mistakes": found}, indent=1))


def png(image: np.ndarray) -> str:
    """u8[H, W] as a PNG file in base64."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
