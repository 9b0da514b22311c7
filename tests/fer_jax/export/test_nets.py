"""ONNX and StableHLO say what the net says, for every net, any number of images, on any input."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import task
from fer_jax.weights import Classifier

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from fer_jax.export import int8, run, stablehlo  # noqa: E402
from fer_jax.export import onnx as export  # noqa: E402

SIMPLE = {"name": "simple", "features": (3, 5), "dense": 6, "dropout": 0.3, "bfloat16": False}
BEST = {"name": "best", "dropout": 0.4, "bfloat16": False}
MODELS = {
    "simple": SIMPLE | {"batch_norm": False},
    "simple with batch norm, odd sides": SIMPLE | {"features": (3, 4, 5, 6, 2), "batch_norm": True},
    "best": BEST | {"features": ((4,), (5, 5), (6, 6, 6)), "standardize": True},
    "best, as it comes": BEST | {"features": ((4, 4), (5, 6)), "standardize": False},
}
CARD = {
    "classes": list("abcdefg"),
    "temperature": {"none": 0.8},
    "trained_on": {"name": "fer2013"},
    "sha256": "ab" * 32,
}


@pytest.fixture(scope="module", params=MODELS)
def classifier(request):
    """A net of which every array is random: no bias is 0, no channel as the next."""
    return make_classifier(MODELS[request.param])


def make_classifier(settings):
    model, like = task.model_of(settings, "test")
    rng = np.random.default_rng(0)

    def random(path, a):
        if path[-1].key == "kernel":
            return np.float32(rng.standard_normal(a.shape) / np.sqrt(np.prod(a.shape[:-1])))
        low, high = (0.5, 1.5) if path[-1].key in ("scale", "var") else (-0.5, 0.5)
        return np.float32(rng.uniform(low, high, a.shape))

    variables = jax.tree_util.tree_map_with_path(random, {"batch_stats": {}} | like)
    return Classifier(Path("net"), model, variables, {"none": 0.8, "flip": 1.0}, CARD)


def faces(n):
    """Pictures with light on one side and noise: what is flat or symmetric hides mistakes."""
    rng = np.random.default_rng(n)
    light = np.linspace(20, 150, 48) * rng.uniform(0.3, 1, (n, 48, 1))
    return (light + rng.uniform(0, 100, (n, 48, 48))).astype(np.uint8)


def expected(classifier, images):
    logits = classifier.model.apply(classifier.variables, task.preprocess(images), train=False)
    return np.asarray(logits), np.asarray(jax.nn.softmax(logits / 0.8))


@pytest.mark.parametrize("half", [False, True])
def test_onnx_says_what_the_net_says(classifier, half):
    session = run.session(export.build(classifier, half=half).SerializeToString())
    for n in (1, 7, 64):
        found = session.run(None, {"images": faces(n)})
        for ours, theirs in zip(found, expected(classifier, faces(n)), strict=True):
            assert ours.shape == (n, 7) and ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, atol=2e-2 if half else 1e-4, rtol=0)


def test_onnx_of_the_largest_net():
    """26 million rows and columns of its dense kernel are put into another order."""
    classifier = make_classifier({"name": "lobo", "bfloat16": False})
    session = run.session(export.build(classifier, half=False).SerializeToString())
    (found,) = session.run(["logits"], {"images": faces(2)})
    np.testing.assert_allclose(found, expected(classifier, faces(2))[0], atol=1e-4)


def test_16_bits_are_stored_and_32_computed():
    classifier = make_classifier(MODELS["best"])
    full, half = (export.build(classifier, half=h) for h in (False, True))
    kernels = [a for a in half.graph.initializer if a.name.endswith("kernel16")]
    assert len(kernels) == 6 and {a.data_type for a in kernels} == {onnx.TensorProto.FLOAT16}
    rounded = jax.tree_util.tree_map_with_path(
        lambda path, a: np.float32(np.float16(a)) if path[-1].key == "kernel" else a,
        classifier.variables,
    )
    rounded["params"]["Conv_0"] = classifier.variables["params"]["Conv_0"]  # as it is
    images = faces(5)
    ours = run.session(half.SerializeToString()).run(["logits"], {"images": images})[0]
    theirs = run.session(
        export.build(classifier._replace(variables=rounded), half=False).SerializeToString()
    ).run(["logits"], {"images": images})[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert len(half.SerializeToString()) < len(full.SerializeToString())


def test_onnx_says_of_itself_what_a_program_needs():
    model = export.build(make_classifier(MODELS["best"]), half=False)
    said = {p.key: p.value for p in model.metadata_props}
    assert json.loads(said["classes"]) == CARD["classes"] and said["temperature"] == "0.8"
    assert said["weights_sha256"] == CARD["sha256"] and said["trained_on"] == "fer2013"
    assert model.opset_import[0].version == 17


def test_8_bits_are_calibrated_and_keep_the_metadata():
    classifier = make_classifier(MODELS["best"] | {"features": ((8,), (16, 16), (16, 16))})
    model = export.build(classifier, half=False)
    images = faces(200)
    small = int8.quantise(model, images[:130])
    assert small.metadata_props == model.metadata_props
    kinds = {a.data_type for a in small.graph.initializer if a.name.startswith("Conv_1.kernel")}
    assert onnx.TensorProto.INT8 in kinds
    logits, _ = expected(classifier, images)

    def error(model):
        (found,) = run.session(model.SerializeToString()).run(["logits"], {"images": images})
        return abs(found - logits).mean()

    assert 0 < error(small) < 0.3 * logits.std()
    assert error(int8.quantise(model, np.zeros((64, 48, 48), np.uint8))) > 2 * error(small)


def test_stablehlo_says_what_the_net_says(classifier):
    program = jax.export.deserialize(bytearray(stablehlo.build(classifier)))
    assert program.platforms == ("cpu", "cuda", "tpu")
    for n in (1, 7, 64):
        found = program.call(faces(n))
        logits, probabilities = expected(classifier, faces(n))
        np.testing.assert_allclose(found["logits"], logits, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)


def test_stablehlo_is_without_the_convolutions_for_cpus(monkeypatch):
    """jax itself distinguishes platforms for each convolution, we for the first once more."""

    def cases():
        data = stablehlo.build(make_classifier(MODELS["best"]))
        return jax.export.deserialize(bytearray(data)).mlir_module().count("stablehlo.case")

    plain = cases()
    monkeypatch.setattr(stablehlo, "only_xla", contextlib.nullcontext)
    assert plain < cases()


def test_stablehlo_needs_jax_alone(tmp_path):
    classifier = make_classifier(MODELS["best"])
    (tmp_path / "model.stablehlo").write_bytes(stablehlo.build(classifier))
    np.save(tmp_path / "images.npy", faces(5))
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flax", "fer_jax", "train_jax", "optax", "orbax"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import jax, jax.export, numpy as np
net = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
np.save("logits.npy", net.call(np.load("images.npy"))["logits"])
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    logits = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(logits, expected(classifier, faces(5))[0], atol=1e-5)


def test_probabilities_are_at_the_temperature():
    classifier = make_classifier(MODELS["best"])
    session = run.session(export.build(classifier, half=False).SerializeToString())
    logits, probabilities = session.run(None, {"images": faces(3)})
    np.testing.assert_allclose(probabilities, jax.nn.softmax(jnp.array(logits) / 0.8), atol=1e-6)
