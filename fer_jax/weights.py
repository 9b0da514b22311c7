"""Exported weights of a classifier: what train leaves in WORKDIR/export and eval, predict load."""

import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fer_jax.data import CLASSES, SIDE
from fer_jax.inference import VIEWS
from fer_jax.report import card as model_card
from fer_jax.task import PREPROCESSING, model_of
from train_jax.run import weights as weights_lib
from train_jax.run.errors import UserError
from train_jax.run.weights import CARD, FIX, field
from train_jax.run.workdir import is_run

SHIPPED = weights_lib.shipped(__file__, "fer_best")


class Classifier(NamedTuple):
    folder: Path
    model: Any  # flax module
    variables: Any  # {'params': ..., 'batch_stats': ...} on the device
    temperature: dict[str, float]  # of the views it was scored for, 'none' and 'flip' at least
    card: dict[str, Any]  # model.json


def export(folder, variables, *, config, identity, splits, temperature, result, origin):
    """Writes model.safetensors, model.json, README.md (the model card) and the manifest.

    Args:
      folder: made if it is not there.
      variables: of the best epoch, the moving average where there is one.
      config: of the run, as a dict.
      identity: `Task.identity`, with the classes.
      splits: {name: Faces}, with 'train' and 'valid'.
      temperature: {view: T}, fitted on 'valid'.
      result: what eval.json holds.
      origin: JSON values of where it was made: command, git_commit, versions.
    """
    folder = Path(folder)
    classes = identity["classes"]
    counts = np.bincount(splits["train"].labels, minlength=len(classes)).tolist()
    card = {
        "task": "fer",
        "model": config["model"] | {"bfloat16": False},  # as it was scored
        "classes": classes,
        "preprocessing": PREPROCESSING,
        "input": {"shape": [SIDE, SIDE], "dtype": "uint8"},
        "temperature": temperature,
        "trained_on": {
            "name": identity["data"],
            "sha256": result["sha256"],
            "train_valid_sha256": identity["train_valid_sha256"],
            "counts": dict(zip(classes, counts, strict=True)),
        },
        "epoch": result["epoch"],
        "scores": {name: result[name] for name in ("tta", "splits", "clean", "no_near_twins")},
        "config": config,
        "origin": origin,
    }
    readme = functools.partial(model_card.text, folder.name)
    weights_lib.export(folder, variables, card, readme=readme)


def shrink(classifier: Classifier, folder: Path | str, same_answers) -> list[str]:
    """Writes the weights again, kernels in 16 bits as far as that changes no answer.

    Args:
      classifier: from `load`; its card is kept.
      folder: made if it is not there.
      same_answers: variables -> whether they answer as those of `classifier` do.

    Returns:
      The names of the arrays that are in 16 bits.
    """
    folder = Path(folder)
    flat = flatten_dict(classifier.variables, sep="/")
    half: list[str] = []
    kernels = [name for name in flat if name.endswith("/kernel")]
    for name in sorted(kernels, key=lambda name: -flat[name].size):  # the largest first
        rounded = flat | {name: weights_lib.halved(flat[name])}
        if same_answers(unflatten_dict(rounded, sep="/")):
            flat, half = rounded, [*half, name]
    readme = functools.partial(model_card.text, folder.name)
    variables = {"batch_stats": {}} | unflatten_dict(flat, sep="/")
    weights_lib.export(folder, variables, classifier.card, readme=readme, half=half)
    return half


def load(folder: Path | str) -> Classifier:
    """The classifier of a folder, checked against this program.

    Raises:
        UserError: the folder is damaged (see train_jax/run/weights.py); or it was made for another
            preprocessing; or its classes are not those of its own config, in that order; or its
            model is not one of fer_jax/models.py with these arrays.
    """
    folder = Path(folder)
    weights = weights_lib.load(folder)
    card = weights.card

    def expect(name, kind, expected):
        found = field(folder, card, name, kind)
        if found != expected:
            raise UserError(
                f"{folder / CARD}: {name} is {found!r:.200}; this program has {expected!r}, so its "
                "answers would be wrong. Use the version of the program that made it."
            )

    weights_lib.check_task(folder, card, "fer")
    classes = field(folder, card, "classes", list)
    if not all(isinstance(c, str) and c for c in classes) or len({*classes}) < max(2, len(classes)):
        raise UserError(f"{folder / CARD}: classes must be different names. {FIX}")
    config = field(folder, card, "config", dict)
    data = field(folder, config, "data", dict, "config.")
    expect("classes", list, _known_order(classes, data.get("classes", list(CLASSES))))
    expect("preprocessing", str, PREPROCESSING)
    expect("input", dict, {"shape": [SIDE, SIDE], "dtype": "uint8"})
    temperature = field(folder, card, "temperature", dict)
    for view in [*VIEWS[:2], *(view for view in VIEWS[2:] if view in temperature)]:
        if not (0 < field(folder, temperature, view, float, "temperature.") < math.inf):
            raise UserError(f"{folder / CARD}: temperature.{view} must be above 0. {FIX}")
    _check_history(folder, card)
    settings = {name: _tuples(value) for name, value in field(folder, card, "model", dict).items()}
    model, like = model_of(settings, f"{folder / CARD}: model", len(classes))
    weights_lib.check_fit(weights, like)
    variables = jax.device_put(weights.variables)  # once, not with every batch and video frame
    return Classifier(folder, model, variables, temperature, card)


def _known_order(classes, declared) -> list[str]:
    """The order in which the classes must be: as declared in config.data; or, taken from folders,
    that of FER-2013 for its seven, and alphabetical for all others."""
    if declared:
        return declared
    return list(CLASSES) if {*classes} == {*CLASSES} else sorted(classes, key=str.lower)


def _check_history(folder, card):
    """UserError unless the card says of the training what this program asks it."""
    field(folder, card, "epoch", int)
    trained_on = field(folder, card, "trained_on", dict)
    for name, kind in {"name": str, "train_valid_sha256": str, "counts": dict}.items():
        field(folder, trained_on, name, kind, "trained_on.")
    for name in card["classes"]:
        field(folder, trained_on["counts"], name, int, "trained_on.counts.")
    data = field(folder, field(folder, card, "config", dict), "data", dict, "config.")
    for name, kind in {"valid_fraction": float, "train_fraction": float, "split_seed": int}.items():
        field(folder, data, name, kind, "config.data.")


def choose(weights: str | None, workdir: Path | str) -> Path:
    """The folder of --weights; else of the run in `workdir`; else the one that is shipped."""
    workdir = Path(workdir)
    if weights:
        return Path(weights)
    return weights_lib.of_run(workdir) if is_run(workdir) else SHIPPED


def _tuples(value):
    """Lists of JSON as the tuples that flax wants, at every depth."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
