"""The networks: sizes counted by hand, values against the layer list of the study in numpy."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq_jax.models import ManyToMany, make_model
from seq_jax.task import init_model, make_init

CONFIGS = sorted(p.stem for p in (Path(__file__).parents[2] / "configs").glob("seq_*.py"))
ENGLISH, KANNADA = 513, 344  # the study's vocabularies
HEAD = {"hidden": (256 + 1) * 1024, "logits": (1024 + 1) * KANNADA}
HEAD_64 = HEAD | {"hidden": (64 + 1) * 1024}
LSTM = {"embed": ENGLISH * 128, "recurrent": 4 * (128 + 64 + 1) * 64} | HEAD_64
# Keras's GRU has two biases: one for the input, one for the recurrence
GRU = {"embed": ENGLISH * 64, "recurrent": 3 * (64 + 256 + 2) * 256} | HEAD


def encoder_decoder(*, embedding, encoder, units):
    """One layer of LSTM on each side, Luong's attention, input feeding, the lexical term."""
    return {
        "source_embed": ENGLISH * embedding,
        "target_embed": KANNADA * embedding,
        "encoder_0": 2 * 4 * (embedding + encoder + 1) * encoder,
        "bridge": (2 * encoder + 1) * 2 * units,
        "decoder": 4 * (2 * embedding + units + 1) * units
        + 2 * encoder * units
        + (units + 2 * encoder) * embedding,
        "logit_bias": KANNADA,
        "lexical_dense": embedding * embedding,
        "lexical_embed": KANNADA * embedding,
    }


SMALL = encoder_decoder(embedding=112, encoder=88, units=136)
LARGE = encoder_decoder(embedding=160, encoder=176, units=256)
COUNTS = {  # config: (parameters of each layer, all of them)
    "seq_base": (LSTM, 534_232),
    "seq_lstm": (LSTM, 534_232),
    "seq_rnn": ({"embed": ENGLISH * 64, "recurrent": (64 + 256 + 1) * 256} | HEAD, 730_776),
    "seq_gru": (GRU, 895_896),
    "seq_gru_no_embedding": ({"recurrent": 3 * (1 + 256 + 2) * 256} | HEAD, 814_680),
    "seq_bilstm": (
        {"embed": ENGLISH * 128, "recurrent": 2 * 4 * (128 + 32 + 1) * 32} | HEAD_64,
        526_040,
    ),
    "seq_bilstm_large": (
        {"embed": ENGLISH * 128, "recurrent": 2 * 4 * (128 + 256 + 1) * 256}
        | HEAD
        | {"hidden": (512 + 1) * 1024},
        1_732_056,
    ),
    "seq_attention": (SMALL, 592_312),
    "seq_sutskever": (
        {name: n for name, n in SMALL.items() if "lexical" not in name}
        | {"decoder": 4 * (112 + 136 + 1) * 136 + 136 * 112},
        436_664,
    ),
    "seq_attention_large": (LARGE, 1_651_576),
    "seq_best": (LARGE, 1_651_576),
}


def model_of(name):
    settings = importlib.import_module(f"configs.{name}").get_config().model.to_dict()
    return make_model(source_vocabulary=ENGLISH, target_vocabulary=KANNADA, **settings)


def sizes(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters(name):
    layers, total = COUNTS[name]
    model = model_of(name)
    params = jax.eval_shape(make_init(model, 7), jax.random.key(0))["params"]
    assert {layer: sizes(tree) for layer, tree in params.items()} == layers
    assert sizes(params) == total


def test_bilstm_has_the_budget_of_lstm():
    assert abs(COUNTS["seq_bilstm"][1] / COUNTS["seq_lstm"][1] - 1) < 0.02


# values, with none of the code under test


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(p, x):
    """f64[T, H] of one sentence f64[T, D]; gates i, f, g, o."""
    units = p["recurrent_kernel"].shape[0]
    h, c, outputs = np.zeros(units), np.zeros(units), []
    for x_t in x:
        i, f, g, o = np.split(x_t @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def rnn_by_hand(p, x):
    h, outputs = np.zeros(p["recurrent_kernel"].shape[0]), []
    for x_t in x:
        h = np.tanh(x_t @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"])
        outputs.append(h)
    return np.array(outputs)


def by_hand(params, source, recurrent):
    """f64[B, T, V]: embedding or number, recurrence, dense ReLU, dense."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    rows = []
    for sentence in source:
        x = p["embed"]["embedding"][sentence] if "embed" in p else sentence[:, None].astype(float)
        y = recurrent(p["recurrent"], x)
        y = np.maximum(y @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
        rows.append(y @ p["logits"]["kernel"] + p["logits"]["bias"])
    return np.array(rows)


def tiny(**settings):
    fields = {
        "embedding": 5, "cell": "lstm", "units": 6, "bidirectional": False, "reset_after": True,
        "bfloat16": False,
        "recurrent_init": "kernel", "recurrent_dropout": 0.0, "dense": 8, "dropout": 0.0,
    }  # fmt: skip
    return ManyToMany(source_vocabulary=9, target_vocabulary=7, **(fields | settings))


def with_random_params(model, scale=0.5):
    shapes = jax.eval_shape(lambda key: init_model(model, 4, key), jax.random.key(0))["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(0, scale, a.shape), jnp.float32), shapes)


SOURCE = np.random.default_rng(2).integers(0, 9, (3, 4)).astype(np.int32)


@pytest.mark.parametrize(
    ("settings", "recurrent"),
    [
        ({}, lstm_by_hand),
        ({"cell": "simple_rnn"}, rnn_by_hand),
        ({"embedding": 0}, lstm_by_hand),
        (
            {"bidirectional": True},
            lambda p, x: np.concatenate(
                [lstm_by_hand(p["forward"], x), lstm_by_hand(p["backward"], x[::-1])[::-1]], 1
            ),
        ),
    ],
    ids=["lstm", "simple_rnn", "no_embedding", "bidirectional"],
)
def test_values_by_hand(settings, recurrent):
    model = tiny(**settings)
    params = with_random_params(model, 0.3)
    logits = model.apply({"params": params}, SOURCE, train=False)
    assert (logits.shape, logits.dtype) == ((3, 4, 7), jnp.float32)
    np.testing.assert_allclose(logits, by_hand(params, SOURCE, recurrent), atol=1e-5)


def moved(model, place):
    """bool[T]: at which places the logits change with source token `place`."""
    params = with_random_params(model)
    other = SOURCE.copy()
    other[:, place] = (other[:, place] + 3) % 9
    before, after = (model.apply({"params": params}, s, train=False) for s in (SOURCE, other))
    return (before != after).any((0, 2)).tolist()


def test_left_to_right_sees_only_what_came_before():
    assert moved(tiny(), 2) == [False, False, True, True]


def test_bidirectional_sees_the_whole_source():
    assert moved(tiny(bidirectional=True), 2) == [True] * 4


def test_the_recurrence_goes_on_over_pad():
    """Two sentences that end before the last two places; a masked layer would emit zeros there."""
    source = SOURCE.copy()
    source[:, 2:] = 0
    params = with_random_params(tiny())
    logits = tiny().apply({"params": params}, source, train=False)
    assert abs(np.asarray(logits[:, 2] - logits[:, 3])).max() > 1e-3


# initialisers and noise


def test_initialised_as_keras():
    params = jax.jit(lambda key: init_model(model_of("seq_lstm"), 7, key))(jax.random.key(0))
    params = params["params"]
    embedding = np.asarray(params["embed"]["embedding"])
    assert -0.05 <= embedding.min() < -0.0499 and 0.0499 < embedding.max() < 0.05
    assert embedding.std() == pytest.approx(0.1 / 12**0.5, rel=0.02)
    for layer in ("hidden", "logits"):  # glorot_uniform
        kernel = np.asarray(params[layer]["kernel"])
        limit = (6 / sum(kernel.shape)) ** 0.5
        assert 0.999 * limit < kernel.max() <= limit and -limit <= kernel.min() < -0.999 * limit
        assert not params[layer]["bias"].any()
    u = np.asarray(params["recurrent"]["recurrent_kernel"])
    np.testing.assert_allclose(u @ u.T, np.eye(64), atol=1e-5)  # one matrix over all gates
    bias = np.asarray(params["recurrent"]["bias"]).reshape(4, 64)
    assert (bias == [[0], [1], [0], [0]]).all()


@pytest.mark.parametrize("rate", ["dropout", "recurrent_dropout"])
def test_dropout_acts_in_training_alone(rate):
    model, plain = tiny(**{rate: 0.5}), tiny()
    params = {"params": with_random_params(model)}
    noise = [
        model.apply(params, SOURCE, train=True, rngs={"dropout": jax.random.key(k)})
        for k in (0, 0, 1)
    ]
    expected = plain.apply(params, SOURCE, train=False)
    assert (noise[0] == noise[1]).all() and (noise[0] != noise[2]).any()
    assert (noise[0] != expected).any()
    assert (model.apply(params, SOURCE, train=False) == expected).all()


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="many_to_many.*got 'transformer'"):
        make_model("transformer", source_vocabulary=9, target_vocabulary=7)
