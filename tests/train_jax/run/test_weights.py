"""Exported weights come back as they were, and whatever was changed is named."""

import json
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from train_jax.run import weights
from train_jax.run.errors import UserError
from train_jax.run.files import write_manifest

CARD = {"task": "some", "classes": ["a", "b"], "note": "ಕನ್ನಡ"}


def make_variables():
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 1, 4)).astype(np.float32)
    return {
        "params": {
            # a view that is not contiguous: safetensors would write its memory as it lies
            "Conv_0": {"kernel": kernel, "bias": rng.standard_normal((2, 4)).astype("f")[::-1].T},
            "Dense_0": {"kernel": jnp.asarray(kernel[0, 0])},
        },
        "batch_stats": {"BatchNorm_0": {"mean": np.arange(4, dtype=np.float32)}},
    }


@pytest.fixture
def folder(tmp_path):
    export(tmp_path / "new" / "w", make_variables())
    return tmp_path / "new" / "w"


def export(folder, variables):
    weights.export(
        folder, variables, CARD, readme=lambda card: f"{card['parameters']} {card['note']}"
    )


def change(folder, **fields):
    path = folder / "model.json"
    card = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in card.items() if v is not None}))
    write_manifest(folder)  # as someone would who makes weights by hand


def refused(folder, *words):
    with pytest.raises(UserError) as caught:
        weights.load(folder)
    for word in (str(folder), *words):
        assert word in str(caught.value)


def test_round_trip(folder):
    loaded = weights.load(folder)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, make_variables())
    assert {k: loaded.card[k] for k in CARD} == CARD
    assert loaded.card["parameters"] == 36 + 8 + 4 and loaded.card["batch_statistics"] == 4
    assert loaded.card["arrays"]["params/Conv_0/bias"] == "float32(4, 2)"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md", "manifest.json", "model.json", "model.safetensors"
    ]  # fmt: skip
    assert (folder / "README.md").read_text() == "48 ಕನ್ನಡ"
    weights.check_fit(loaded, jax.eval_shape(make_variables))


def test_arrays_in_16_bits_come_back_rounded_in_32(tmp_path):
    name, variables = "params/Conv_0/kernel", make_variables()
    weights.export(tmp_path, variables, CARD, readme=lambda card: "", half=[name])
    loaded = weights.load(tmp_path)
    kernel = variables["params"]["Conv_0"].pop("kernel")
    found = loaded.variables["params"]["Conv_0"].pop("kernel")
    assert found.dtype == np.float32 and (found != kernel).any()
    np.testing.assert_array_equal(found, kernel.astype(np.float16))
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    assert loaded.card["arrays"][name] == "float16(3, 3, 1, 4)"
    weights.check_fit(weights.load(tmp_path), jax.eval_shape(make_variables))
    stored = safetensors.numpy.load((tmp_path / "model.safetensors").read_bytes())
    assert {k for k, a in stored.items() if a.dtype == np.float16} == {name}


def test_without_batch_statistics(tmp_path):
    export(tmp_path, {"params": make_variables()["params"], "batch_stats": {}})
    loaded = weights.load(tmp_path)
    assert loaded.card["batch_statistics"] == 0 and loaded.variables["batch_stats"] == {}


def test_writing_again_replaces_all(folder):
    other = {"params": {"Dense_0": {"bias": np.ones(2, np.float32)}}}
    export(folder, other)
    np.testing.assert_equal(weights.load(folder).variables, other | {"batch_stats": {}})


def test_each_flipped_bit_is_found(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in (0, 9, len(data) - 1, *rng.integers(0, len(data), 5)):
        broken = bytearray(data)
        broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        refused(folder, "model.safetensors", "SHA-256")
    path.write_bytes(data[:-4])
    refused(folder, "model.safetensors", "SHA-256")


def rewrite(folder, arrays):
    """Other arrays under a card that has their SHA-256."""
    import hashlib

    data = safetensors.numpy.save(arrays)
    (folder / "model.safetensors").write_bytes(data)
    change(folder, sha256=hashlib.sha256(data).hexdigest())


def test_arrays_that_the_card_does_not_know(folder):
    arrays = safetensors.numpy.load((folder / "model.safetensors").read_bytes())
    name = "params/Dense_0/kernel"
    rest = {k: v for k, v in arrays.items() if k != name}
    rewrite(folder, rest)
    refused(folder, name, "absent")
    rewrite(folder, rest | {name: arrays[name].T.copy()})
    refused(folder, name, "float32(4, 1)", "float32(1, 4)")
    rewrite(folder, rest | {name: arrays[name].astype(np.float16)})
    refused(folder, name, "float16")
    rewrite(folder, arrays | {"params/more": arrays[name]})
    refused(folder, "params/more", "absent")
    rewrite(folder, rest | {name: arrays[name] * np.float32(np.nan)})
    refused(folder, name, "NaN")


def test_no_code_is_run(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    import hashlib

    data = pickle.dumps(Bomb())
    (folder / "model.safetensors").write_bytes(data)
    change(folder, sha256=hashlib.sha256(data).hexdigest())
    refused(folder, "no safetensors file")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "manifest.json"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    refused(folder, name, "No such file")


@pytest.mark.parametrize("manifest", ["", "{}", "[]", '{"sha256": {"model.safetensors": "x"}}'])
def test_a_manifest_that_does_not_know_the_card(folder, manifest):
    (folder / "manifest.json").write_text(manifest)
    refused(folder, "manifest.json", "no SHA-256 of model.json")


def test_what_lies_next_to_the_weights_is_no_damage(folder):
    """A file manager, git and whoever corrects the README all leave the weights as they are."""
    for name in (".DS_Store", ".gitattributes", "notes.txt"):
        (folder / name).write_text("x")
    (folder / "README.md").write_text("edited")
    weights.load(folder)
    (folder / "README.md").unlink()
    weights.load(folder)


def test_a_manifest_of_every_file_is_read_as_well(folder):
    """As versions until 2026-11-26 wrote it."""
    write_manifest(folder)
    (folder / "README.md").write_text("edited")
    weights.load(folder)
    (folder / "model.json").write_text((folder / "model.json").read_text() + " ")
    refused(folder, "model.json", "SHA-256")


def test_a_card_that_was_changed_is_refused_though_it_makes_sense(folder):
    """A temperature or a score, say: nothing else would show it."""
    path = folder / "model.json"
    text = path.read_text()
    path.write_text(text.replace('"note": "', '"note": "not '))
    refused(folder, "model.json: damaged", "manifest.json")
    path.write_text(text)
    weights.load(folder)


@pytest.mark.parametrize("name", ["model.json", "manifest.json"])
def test_an_export_that_was_killed_is_refused_and_fixed_by_the_next(folder, monkeypatch, name):
    """It was killed before it wrote `name`: parts of two exports are no weights."""
    other = {"params": {"Dense_0": {"bias": np.ones(2, np.float32)}}}
    write = weights.write_atomically
    left = {"model.json": ("model.json", "manifest.json"), "manifest.json": ("manifest.json",)}
    monkeypatch.setattr(
        weights, "write_atomically", lambda path, text: path.name in left[name] or write(path, text)
    )
    export(folder, other)
    refused(folder, "SHA-256")
    monkeypatch.undo()
    export(folder, other)
    np.testing.assert_equal(weights.load(folder).variables, other | {"batch_stats": {}})


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "nowhere", "is not there", "model.json")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"format": 2}, "format is 2"),
        ({"format": None}, "format is missing"),
        ({"format": True}, "format is True"),
        ({"sha256": None}, "sha256 is missing"),
        ({"sha256": 7}, "sha256 is 7"),
        ({"arrays": None}, "arrays is missing"),
        ({"arrays": []}, "arrays is []"),
    ],
)
def test_a_wrong_card(folder, fields, word):
    change(folder, **fields)
    refused(folder, "model.json", word)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\xff"])
def test_a_card_that_is_no_card(folder, text):
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    write_manifest(folder)
    refused(folder, "model.json")


def test_another_model_does_not_fit(folder):
    loaded = weights.load(folder)
    like = jax.eval_shape(make_variables)
    like["params"]["Dense_0"]["kernel"] = jax.ShapeDtypeStruct((1, 5), np.float32)
    with pytest.raises(UserError, match="params/Dense_0/kernel.*1, 4.*1, 5"):
        weights.check_fit(loaded, like)
    change(folder, parameters=47)
    with pytest.raises(UserError, match="parameters is 47.*48"):
        weights.check_fit(weights.load(folder), jax.eval_shape(make_variables))
