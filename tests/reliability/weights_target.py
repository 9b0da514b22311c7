"""Trials of what reads exported weights: see faces_targets.py."""

import functools
import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import safetensors.numpy

from configs import fer_base
from fer_jax import task, weights
from fer_jax.fer2013 import CLASSES
from tests.reliability import damages, reading
from train_jax.run import weights as weights_lib
from train_jax.run.errors import UserError
from train_jax.run.files import MANIFEST, _manifest, hash_files


def export(folder: Path) -> Path:
    """The smallest weights of fer_simple, as train leaves them but for the scores."""
    config = fer_base.get_config()
    config.model.features = (2, 2)
    config.model.dense = 2
    model, _ = task.model_of(config.model.to_dict(), "fuzz")
    variables = jax.jit(functools.partial(task.init_model, model))(jax.random.key(0))
    card = {
        "task": "fer",
        "model": config.model.to_dict(),
        "classes": list(CLASSES),
        "preprocessing": task.PREPROCESSING,
        "input": {"shape": [48, 48], "dtype": "uint8"},
        "temperature": {"none": 1.5, "flip": 0.5},
        "trained_on": {
            "name": "fer2013",
            "train_valid_sha256": "ab" * 32,
            "counts": dict.fromkeys(CLASSES, 1),
        },
        "epoch": 3,
        "config": {"data": config.data.to_dict()},
    }
    weights_lib.export(folder, variables, card, readme=lambda card: "")
    return folder


def make_weights(folder: Path):
    original = export(folder / "original")
    copy = folder / "copy"
    arrays = (original / weights_lib.ARRAYS).read_bytes()
    card_text = (original / weights_lib.CARD).read_bytes()
    manifest = (original / MANIFEST).read_bytes()
    whole = weights.load(original)

    def trial(rng):
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        content, card = arrays, json.loads(card_text)
        kind = rng.choice(("card", "card", "card", "card text", "arrays", "arrays, rehashed"))
        written = card_text
        if kind == "card":
            written = json.dumps(damages.json_value(rng, card)).encode()
        elif kind == "card text":
            written = damages.damage(rng, card_text)
        else:
            content = damage_arrays(rng, arrays)
            if kind == "arrays, rehashed":
                card["sha256"] = hashlib.sha256(content).hexdigest()
                written = json.dumps(card).encode()
        (copy / weights_lib.ARRAYS).write_bytes(content)
        (copy / weights_lib.CARD).write_bytes(written)
        if rng.random() < 0.9:  # as whoever changes weights on purpose would
            (copy / MANIFEST).write_text(_manifest(hash_files(copy)))
        elif rng.random() < 0.5:
            (copy / MANIFEST).write_bytes(damages.damage(rng, manifest))
        try:
            found = weights.load(copy)
        except UserError as error:
            assert str(copy) in str(error) and len(str(error)) < 2000, error
            return False
        check(found, json.loads(written), reading.safetensors(content), whole)
        return True

    return trial


def damage_arrays(rng, data: bytes) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return damages.damage(rng, data)
    if kind == 1:  # the length of the header, and what stands in it
        size = int.from_bytes(data[:8], "little")
        header = damages.json_value(rng, json.loads(data[8 : 8 + size]))
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]
    if kind == 2:
        return rng.choice((0, 1, 2**40, 2**63, 2**64 - 1)).to_bytes(8, "little") + data[8:]
    loaded = safetensors.numpy.load(data)
    name = rng.choice(sorted(loaded))
    loaded[name] = loaded[name].copy()
    loaded[name].flat[0] = rng.choice((np.nan, np.inf, -np.inf, 1e30, 0))
    return safetensors.numpy.save(loaded)


def check(found, card, arrays, whole):
    """What was accepted means what it meant, and its numbers are those of the file."""
    assert card["classes"] == list(CLASSES) and card["preprocessing"] == task.PREPROCESSING
    assert card["task"] == "fer" and card["input"] == {"shape": [48, 48], "dtype": "uint8"}
    assert found.temperature == card["temperature"]
    assert all(0 < value < float("inf") for value in found.temperature.values())
    shapes = jax.tree.map(np.shape, found.variables)
    assert shapes == jax.tree.map(np.shape, whole.variables), "another network"
    flat = {"/".join(k.key for k in p): a for p, a in jax.tree.leaves_with_path(found.variables)}
    assert flat.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(flat[name], array)
        assert np.isfinite(array).all()
