"""The encoder-decoder against PyTorch (golden/make_attention_golden.py), against itself step by
step, and what its result must not depend on."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from seq_jax.attention_task import make_sums
from seq_jax.encoder_decoder import EncoderDecoder
from seq_jax.text import build_vocabulary
from train_jax import metrics

SETTINGS = {
    "source_vocabulary": 9, "target_vocabulary": 11, "embedding": 4, "cell": "lstm",
    "encoder_units": 3, "encoder_layers": 1, "units": 5, "layers": 1, "attention": "luong",
    "input_feeding": True, "lexical": False, "reset_after": True, "recurrent_init": "gates",
    "dropout": 0.0, "word_dropout": 0.0, "bfloat16": False,
}  # fmt: skip
CASES = {
    "luong": {},
    "bahdanau, two layers, lexical": {"attention": "bahdanau", "layers": 2, "lexical": True},
    "luong, no feeding": {"input_feeding": False},
    "none": {"attention": "none"},
}
with np.load(
    pathlib.Path(__file__).parents[1] / "golden" / "attention_torch.npz", allow_pickle=False
) as file:
    RECORD = {name: file[name] for name in file.files}
SOURCE, TARGET = (jnp.asarray(RECORD[name], jnp.int32) for name in ("source", "target"))
VOCABULARY = build_vocabulary(["a b c d e f g"])  # 7 words and 4 markers: V = 11


def model_of(**settings):
    return EncoderDecoder(**SETTINGS | settings)


def record_of(case, what):
    prefix = f"{case}/{what}/"
    flat = {k.removeprefix(prefix): v for k, v in RECORD.items() if k.startswith(prefix)}
    return unflatten_dict({k: jnp.asarray(v, jnp.float32) for k, v in flat.items()}, sep="/")


@pytest.mark.equivalence("encoder_decoder", "PyTorch 2.13, recorded", "1e-5; gradients 1e-4")
@pytest.mark.parametrize("case", CASES)
def test_logits_loss_and_gradients_are_those_of_pytorch(case):
    """Sums of a few dozen float32 products: 1e-5."""
    model, params = model_of(**CASES[case]), record_of(case, "params")
    batch = {"source": SOURCE, "target": TARGET, "mask": jnp.ones(3)}
    sums = make_sums(VOCABULARY, label_smoothing=0.1)

    def loss(params):
        logits = model.apply({"params": params}, SOURCE, TARGET[:, :-1], train=False)
        return metrics.safe_divide(sums(logits, batch)[0]), logits

    (value, logits), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(logits, RECORD[f"{case}/logits"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(value, RECORD[f"{case}/loss"], rtol=1e-5)
    expected = flatten_dict(record_of(case, "grads"), sep="/")
    found = flatten_dict(gradients, sep="/")
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert np.abs(expected[name]).max() > 0, name
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


NETS = {
    "luong": {},
    "bahdanau, lexical": {"attention": "bahdanau", "lexical": True},
    "three layers of gru": {"layers": 3, "encoder_layers": 2, "cell": "gru", "lexical": True},
    "gru that resets before": {"cell": "gru", "reset_after": False},
    "simple_rnn without feeding": {"cell": "simple_rnn", "input_feeding": False, "layers": 2},
    "no attention": {"attention": "none"},
}


def random_params(model):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), SOURCE, TARGET, train=False))[
        "params"
    ]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 0.7, a.shape), jnp.float32), shapes)


@pytest.mark.parametrize("name", NETS)
def test_step_by_step_is_teacher_forcing(name):
    model = model_of(**NETS[name])
    variables = {"params": random_params(model)}
    together = model.apply(variables, SOURCE, TARGET, train=False)
    memory, state = model.apply(variables, SOURCE, train=False, method="encode")
    for t in range(TARGET.shape[1]):
        state, logits, _ = model.apply(variables, memory, state, TARGET[:, t], method="step")
        np.testing.assert_allclose(logits, together[:, t], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_padding_decides_nothing(name):
    """Nor do the other rows of the batch, nor what comes later in the target."""
    model = model_of(**NETS[name])
    variables = {"params": random_params(model)}
    together = model.apply(variables, SOURCE, TARGET, train=False)
    for row, length in enumerate([5, 4, 3]):
        source, target = SOURCE[row : row + 1, :length], TARGET[row : row + 1, :3]
        alone = model.apply(variables, source, target, train=False)
        np.testing.assert_allclose(alone[0], together[row, :3], rtol=1e-5, atol=1e-5)


def test_without_attention_only_the_bridge_knows_of_the_source():
    model = model_of(attention="none")
    params = random_params(model)
    params["bridge"] = jax.tree.map(jnp.zeros_like, params["bridge"])
    logits = [
        model.apply({"params": params}, source, TARGET, train=False)
        for source in (SOURCE, SOURCE[::-1])
    ]
    np.testing.assert_array_equal(*logits)
    with_attention = model_of()
    params = random_params(with_attention)
    params["bridge"] = jax.tree.map(jnp.zeros_like, params["bridge"])
    logits = [
        with_attention.apply({"params": params}, source, TARGET, train=False)
        for source in (SOURCE, SOURCE[::-1])
    ]
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_weights_of_the_attention_are_over_the_real_source():
    model = model_of()
    variables = {"params": random_params(model)}
    memory, state = model.apply(variables, SOURCE, train=False, method="encode")
    _, _, weights = model.apply(variables, memory, state, TARGET[:, 0], method="step")
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    assert not np.asarray(weights)[np.asarray(SOURCE) == 0].any()


def test_dropout_is_one_mask_a_sequence_and_off_in_evaluation():
    model = model_of(dropout=0.5, embedding=64)
    rngs = {"dropout": jax.random.key(3)}

    def masks(module):
        return module.draw_masks(7)

    variables = model.init(jax.random.key(0), SOURCE, TARGET, train=False)
    for mask in model.apply(variables, method=masks, rngs=rngs):
        assert mask.shape[0] == 7 and mask.ndim == 2  # no axis of time
        assert set(np.unique(mask)) == {0.0, 2.0}
    one, other = (
        model.apply(variables, SOURCE, TARGET, train=True, rngs={"dropout": jax.random.key(k)})
        for k in (1, 2)
    )
    assert np.abs(one - other).max() > 1e-4
    model.apply(variables, SOURCE, TARGET, train=False)  # asks for no key


def test_word_dropout_makes_unk_of_words_alone():
    model = model_of(word_dropout=0.5)
    variables = model.init(jax.random.key(0), SOURCE, TARGET, train=False)
    tokens = jnp.tile(TARGET, (200, 1))
    read = model.apply(variables, tokens, method="drop_words", rngs={"dropout": jax.random.key(4)})
    words = np.asarray(tokens >= 4)
    np.testing.assert_array_equal(read[~words], tokens[~words])
    changed = np.asarray(read != tokens)[words]
    assert 0.45 < changed.mean() < 0.55
    assert set(np.asarray(read)[words][changed]) == {1}


@pytest.mark.parametrize("name", NETS)
def test_in_bfloat16_only_the_products_are(name):
    """Sums, carries, softmax, logits and loss are float32: the loss is within 0.5 % of it, each
    gradient within 5 % of its largest, and step by step it is the same as in training."""
    full, half = (
        model_of(units=24, embedding=16, encoder_units=12, bfloat16=b, **NETS[name])
        for b in (False, True)
    )
    params = jax.tree.map(lambda a: a * 0.3, random_params(full))
    batch = {"source": SOURCE, "target": TARGET, "mask": jnp.ones(3)}
    sums = make_sums(VOCABULARY, label_smoothing=0.1)

    def loss(model, params):
        logits = model.apply({"params": params}, SOURCE, TARGET[:, :-1], train=False)
        assert logits.dtype == jnp.float32
        return metrics.safe_divide(sums(logits, batch)[0])

    (value, gradients), (expected, others) = (
        jax.jit(jax.value_and_grad(functools.partial(loss, model)))(params)
        for model in (half, full)
    )
    assert 0 < abs(value - expected) < 5e-3 * expected
    for path, found in flatten_dict(gradients, sep="/").items():
        other = flatten_dict(others, sep="/")[path]
        assert found.dtype == jnp.float32
        assert np.abs(found - other).max() < 0.05 * np.abs(other).max(), path
    variables = {"params": params}
    memory, state = half.apply(variables, SOURCE, train=False, method="encode")
    together = half.apply(variables, SOURCE, TARGET, train=False)
    for t in range(TARGET.shape[1]):
        state, logits, _ = half.apply(variables, memory, state, TARGET[:, t], method="step")
        np.testing.assert_allclose(logits, together[:, t], rtol=0, atol=5e-3)
        assert {a.dtype for a in jax.tree.leaves(state)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", NETS)
def test_in_bfloat16_no_product_is_of_float32(name):
    """Forwards and backwards, but for those with the vector of Bahdanau's score."""
    model = model_of(bfloat16=True, **NETS[name])
    params = random_params(model)

    def loss(params):
        return jnp.square(model.apply({"params": params}, SOURCE, TARGET, train=False)).mean()

    text = jax.jit(jax.grad(loss)).trace(params).lower(lowering_platforms=("cuda",)).as_text()
    dots = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    wide = [line for line in dots if line.count("bf16>") != 2]
    assert len(dots) > 10 and len(wide) == 3 * (model.attention == "bahdanau"), wide


def test_parameters():
    """Each term by hand."""
    model = model_of(attention="bahdanau", layers=2, lexical=True)
    D, E, H, W, V = 4, 3, 5, 9, 11
    M = 2 * E
    encoder = 2 * 4 * E * (D + E + 1)
    decoder = 4 * H * (2 * D + H + 1) + 4 * H * (H + H + 1)
    attention = M * H + H * H + 2 * H
    bridge, readout = (M + 1) * 4 * H, (H + M) * D
    expected = W * D + V * D + encoder + decoder + attention + bridge + readout + V
    expected += D * D + V * D  # the lexical term
    assert sum(a.size for a in jax.tree.leaves(random_params(model))) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "luog"}, "attention must be one of"),
        ({"attention": "none", "lexical": True}, "lexical=True needs an attention"),
        ({"layers": 0}, "layers must be >= 1"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"cell": "elman"}, "cell must be one of"),
    ],
)
def test_settings_that_make_no_net(settings, message):
    with pytest.raises(ValueError, match=message):
        random_params(model_of(**settings))
