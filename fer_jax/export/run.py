"""--mode=export: a classifier as ONNX, StableHLO and one HTML page, each compared with JAX."""

from pathlib import Path
from typing import NamedTuple

import jax.export
import numpy as np
import onnxruntime

from fer_jax import data as fer_data
from fer_jax import weights as weights_lib
from fer_jax.export import int8, onnx, page, readme, stablehlo
from fer_jax.inference import make_predict, predict_split
from train_jax.run.errors import UserError
from train_jax.run.files import write_atomically
from train_jax.run.weights import of_run
from train_jax.run.workdir import is_run, lock_workdir

COMPARED = 500  # images on which each file is compared with JAX
CALIBRATION = 512  # images, of all classes
MIN_SAME = 0.98  # share of answers that 8 bits must leave as they are, or they are not written


class Row(NamedTuple):
    """A file that was written, beside JAX on the same images."""

    file: str
    bytes: int
    difference: float  # the largest of a logit
    same: float  # share of the answers


def export(config, workdir: Path, *, weights: str | None) -> None:
    """Writes model.onnx, model_f16.onnx, model_int8.onnx, model.stablehlo, index.html, README.md.

    UserError: the weights are damaged (see fer_jax/weights.py), `workdir` holds a run, or the page
    cannot be made.
    """
    if is_run(workdir):
        raise UserError(f"{workdir} holds a run: give --weights={workdir} and --workdir=NEW")
    folder = Path(weights) if weights else weights_lib.SHIPPED
    classifier = weights_lib.load(of_run(folder))
    compared, calibration = pick(config, classifier.card)
    compare = Comparison(classifier, compared)
    with lock_workdir(workdir):
        full, half = (onnx.build(classifier, half=half) for half in (False, True))
        compare.onnx(workdir / "model.onnx", full)
        compare.onnx(workdir / "model_f16.onnx", half)
        small = int8.quantise(full, calibration)
        compare.onnx(workdir / "model_int8.onnx", small, at_least=MIN_SAME)
        compare.stablehlo(workdir / "model.stablehlo", stablehlo.build(classifier))
        card, name = classifier.card, folder.name
        write_atomically(workdir / "README.md", readme.text(card, name, compare.rows))
        print(f"{workdir}: of {name}, compared with JAX on {len(compare.images)} faces")
        print(readme.table(compare.rows))
        if config.export.page:
            html = page.build(half.SerializeToString(), card, name, config.predict.to_dict())
            write_page(workdir / "index.html", html)


def write_page(path: Path, html: str):
    data = html.encode()
    if len(data) > page.MAX_BYTES:
        path.unlink(missing_ok=True)
        raise UserError(
            f"{path.name} would have {len(data):,} bytes, at most {page.MAX_BYTES:,}: this net is "
            "too large for a page. The other files are written; --config.export.page=False"
        )
    write_atomically(path, data)
    print(f"{path}: {len(data):,} bytes; open it in a browser")


def pick(config, card) -> tuple[np.ndarray, np.ndarray]:
    """(u8[N, 48, 48] to compare on, u8[M, 48, 48] to calibrate 8 bits on), shuffled: those that are
    not for training where the data has such, and those that are."""
    reading = fer_data.reading_of(config.data, classes=tuple(card["classes"]))
    dataset = fer_data.load(config.data.path, reading)
    if dataset.name != card["trained_on"]["name"]:
        print(
            f"The weights were trained on {card['trained_on']['name']}; they are compared on "
            f"{dataset.name}, and 8 bits calibrated on it. --config.data.path= names other data"
        )
    tests = [faces.images for name, faces in dataset.splits.items() if name != "train"]
    train = dataset.splits.get("train")
    if train is None:
        compared = _some(np.concatenate(tests), COMPARED)
        return compared, compared
    compared = _some(np.concatenate(tests) if tests else train.images, COMPARED)
    return compared, _some(train.images, CALIBRATION)


def _some(images, count):
    return images[np.random.default_rng(0).permutation(len(images))[:count]]


class Comparison:
    """Writes files and notes how far their logits are from JAX's on the same images."""

    def __init__(self, classifier, images):
        self.images, self.rows = images, []
        self._expected = predict_split(
            make_predict(classifier.model), classifier.variables, images, batch_size=64, tta="none"
        )

    def onnx(self, path, model, at_least=0.0):
        """Not written where less than `at_least` of the answers are the same."""
        data = model.SerializeToString()
        (found,) = session(data).run(["logits"], {onnx.INPUT: self.images})
        self._add(path, data, found, at_least)

    def stablehlo(self, path, data):
        found = jax.export.deserialize(bytearray(data)).call(self.images)["logits"]
        self._add(path, data, np.asarray(found), 0.0)

    def _add(self, path, data, found, at_least):
        same = float((found.argmax(1) == self._expected.argmax(1)).mean())
        if same < at_least:
            path.unlink(missing_ok=True)
            print(
                f"{path.name} is left out: {same:.1%} of its answers are JAX's, not {at_least:.0%}"
            )
            return
        write_atomically(path, data)
        difference = float(abs(found - self._expected).max())
        self.rows.append(Row(path.name, len(data), difference, same))


def session(model: bytes) -> onnxruntime.InferenceSession:
    """Threads that wait for work give their core away: JAX may be at work in this process."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
