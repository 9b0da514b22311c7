"""The loss by hand, its masks, vocabularies without leaks, and what a config becomes."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import seq_base
from seq_jax import data, task
from seq_jax.data import Dataset, pairs_sha256
from seq_jax.filter import Pairs, Report, filter_lines
from seq_jax.scores import token_scores
from seq_jax.text import build_vocabulary
from train_jax import metrics
from train_jax.run.errors import UserError
from train_jax.settings import of_config

KEY = jax.random.key(0)
PAIRS = Pairs(
    ("a b c", "c d", "a", "b a d c", "d d a", "c a"),
    ("ಕ ಗ", "ಚ ಟ ತ ಪ", "ಕ", "ಗ ಕ", "ತ ತ ಕ", "ಪ ಕ ಚ"),
)
DATASET = Dataset("corpus", PAIRS, Report(6, {}, 6, (6, 2)), "here", pairs_sha256(PAIRS), notice="")


def config_of(**fields):
    """seq_base with a tiny model; {'loss__count_pad': True} sets config.loss.count_pad."""
    c = seq_base.get_config()
    c.model.embedding = 4
    c.model.units = 5
    c.model.dense = 8
    c.model.dropout = 0.0
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return c


def make(config, splits=None):
    """(Task, params, model), with random parameters."""
    splits = splits or {"train": PAIRS, "valid": PAIRS}
    vocabularies = task.build_vocabularies(config, splits["train"])
    model = task.build_model(config, vocabularies)
    made = task.make_task(config, model, DATASET, splits, vocabularies)
    rng = np.random.default_rng(2)
    params = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(0, 0.5, a.shape), jnp.float32),
        jax.eval_shape(made.init, KEY)["params"],
    )
    return made, params, model


def batch_of(made, mask):
    return made.train | {"mask": np.array(mask, np.float32)}


def log_probabilities(model, params, source):
    logits = np.asarray(model.apply({"params": params}, source, train=False), np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# the loss


@pytest.mark.parametrize("count_pad", [False, True])
def test_loss_by_hand(count_pad):
    made, params, model = make(config_of(loss__count_pad=count_pad))
    mask = [1, 1, 0, 1, 1, 0]
    logp = log_probabilities(model, params, made.train["source"])
    total = count = 0
    for row, target in enumerate(made.train["target"]):
        for place, word in enumerate(target):
            if mask[row] and (count_pad or word != 0):
                total -= logp[row, place, word]
                count += 1
    # of the 4 sentences: 2, 4, 2, 3 words with <start> and <end>; or 7 places each
    assert count == (28 if count_pad else 19)
    value, (sums, stats) = made.loss(params, {}, batch_of(made, mask), KEY)
    assert value == pytest.approx(total / count, rel=1e-5)
    assert sums["loss"].count == count and sums["loss"].total == pytest.approx(total, rel=1e-5)
    assert stats == {}
    evaluated = made.evaluate({"params": params, "batch_stats": {}}, batch_of(made, mask))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), evaluated, sums)


@pytest.mark.parametrize("count_pad", [False, True])
def test_pad_and_masked_rows_have_no_gradient(count_pad):
    vocabulary = build_vocabulary(PAIRS.target)
    sums = task.make_sums(vocabulary, count_pad=count_pad)
    target = make(config_of())[0].train["target"]
    mask = np.array([1, 0, 1, 1, 0, 1], np.float32)
    logits = np.random.default_rng(0).normal(size=(*target.shape, len(vocabulary.words)))

    def total(logits):
        return sums(logits, {"target": target, "mask": mask})["loss"].total

    gradient = np.asarray(jax.grad(total)(jnp.asarray(logits, jnp.float32)))
    counts = (mask[:, None] > 0) & ((target != 0) | count_pad)
    np.testing.assert_array_equal((gradient != 0).any(-1), counts)


def test_what_stands_in_masked_rows_does_not_matter():
    made, params, _ = make(config_of(model__dropout=0.5))
    loss = jax.jit(jax.value_and_grad(made.loss, has_aux=True))
    one = batch_of(made, [1, 0, 1, 1, 0, 1])
    other = {name: array.copy() for name, array in one.items()}
    for name in ("source", "target"):
        other[name][[1, 4]] = one[name][[0, 5]]
    jax.tree.map(np.testing.assert_array_equal, *(loss(params, {}, b, KEY) for b in (one, other)))
    ((value, (sums, _)), gradient) = loss(params, {}, batch_of(made, [0] * 6), KEY)
    assert value == 0 and all(mean == (0, 0) for mean in sums.values())
    assert all((g == 0).all() for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("count_pad", [False, True])
def test_the_gradient_of_the_loss_equals_finite_differences(count_pad):
    """By each of the logits, in float64; those of the cells are in test_cells.py.

    (f(x + eps) - f(x - eps)) / 2 eps, wrong by about eps^2 + 1e-16 / eps: 1e-10 at eps = 1e-6.
    """
    vocabulary = build_vocabulary(PAIRS.target)
    sums = task.make_sums(vocabulary, count_pad=count_pad)
    batch = {
        "target": make(config_of())[0].train["target"],
        "mask": np.array([1, 1, 0, 1, 1, 0], np.float32),
    }
    shape = (*batch["target"].shape, len(vocabulary.words))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        logits = jnp.asarray(np.random.default_rng(0).normal(size=shape))

        def loss(logits):
            return metrics.safe_divide(sums(logits, batch)["loss"])

        eps = 1e-6
        moved = eps * jnp.eye(logits.size).reshape(-1, *shape)
        many = jax.jit(lambda moved: jax.lax.map(lambda m: loss(logits + m), moved))
        slopes = (many(moved) - many(-moved)).reshape(shape) / (2 * eps)
        gradient = jax.grad(loss)(logits)
        assert gradient.dtype == jnp.float64 and np.abs(gradient).max() > 0.01
        np.testing.assert_allclose(gradient, slopes, atol=1e-9)


def test_dropout_draws_from_the_key():
    made, params, _ = make(config_of(model__dropout=0.5))
    batch = batch_of(made, [1] * 6)
    values = [float(made.loss(params, {}, batch, jax.random.key(k))[0]) for k in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


# metrics


@pytest.mark.parametrize("max_words", [0, 3])
def test_accuracies_are_those_of_the_scores(max_words):
    """With 3 Kannada words the others are <unk>: in the targets, and never a hit."""
    config = config_of(data__target_vocabulary_words=max_words)
    vocabularies = task.build_vocabularies(config, PAIRS)
    target = task.arrays(PAIRS, vocabularies, 7)["target"]
    vocabulary = vocabularies.target
    assert (target == vocabulary.index["<unk>"]).any() == bool(max_words)
    rng = np.random.default_rng(0)
    size = len(vocabulary.words)
    # the truth is likely, and <PAD>, which is the truth after <end>, and <unk> are likelier still
    logits = rng.normal(size=(6, 7, size)) + 2 * np.eye(size)[target] + 3 * np.eye(size)[:2].sum(0)
    logits = jnp.asarray(logits, jnp.float32)
    mask = np.array([1, 1, 1, 0, 1, 1])
    sums = task.make_sums(vocabulary, count_pad=False)(
        logits, {"target": target, "mask": mask.astype(np.float32)}
    )
    predicted = task.greedy(logits, **task.markers(vocabulary))
    expected = token_scores(predicted[mask > 0], target[mask > 0], vocabulary)
    assert 0.2 < expected["token_accuracy"] < 0.9
    total, count = sums["accuracy"]
    assert (total / count, count) == (pytest.approx(expected["token_accuracy"]), expected["tokens"])
    total, count = sums["accuracy_pad_counted"]
    assert count == expected["positions"] == 35
    assert total / count == pytest.approx(expected["accuracy_pad_counted"])


# vocabularies


def corpus_of(sentences):
    """A stand-in for data.load, without files."""

    def load(path, **settings):
        for name in ("target_top_k", "skip_empty", "languages", "columns"):
            settings.pop(name)
        lines = [(n, *pair) for n, pair in enumerate(sentences, start=1)]
        pairs, report = filter_lines(lines, **settings)
        return Dataset("corpus", pairs, report, path, pairs_sha256(pairs), notice="")

    return load


def letters(number):
    return "".join("abcdefghij"[int(d)] for d in str(number))


def many(changed=()):
    """40 pairs, each with a word of its own on both sides; another one for those in `changed`."""
    for n in range(40):
        own = "x" * (n in changed) + letters(n)
        yield f"this is the sentence {own}", "ಇದು ವಾಕ್ಯ " + "ಕ" * (n + 1 + 50 * (n in changed))


def test_vocabularies_know_nothing_but_the_training_part(monkeypatch):
    config = config_of()
    monkeypatch.setattr(data, "load", corpus_of(list(many())))
    _, splits = task.load_splits(config)
    vocabularies = task.build_vocabularies(config, splits["train"])
    for side, vocabulary in enumerate(vocabularies):
        known = {word for s in splits["train"][side] for word in s.split()}
        assert set(vocabulary.words[4:]) == known
        for name in ("valid", "test"):
            assert {word for s in splits[name][side] for word in s.split()} - known

    held_out = {*splits["valid"].source, *splits["test"].source}
    changed = [n for n, (english, _) in enumerate(many()) if english in held_out]
    assert len(changed) == 12
    monkeypatch.setattr(data, "load", corpus_of(list(many(changed))))
    _, others = task.load_splits(config)
    assert others["train"] == splits["train"] and others["test"] != splits["test"]
    assert task.build_vocabularies(config, others["train"]) == vocabularies


def test_limits_of_the_vocabularies():
    config = config_of(data__source_min_count=3, data__target_vocabulary_words=2, data__unk=False)
    english, kannada = task.build_vocabularies(config, PAIRS)
    assert english.words == ("<PAD>", "<start>", "<end>", "a", "c", "d")
    assert kannada.words == ("<PAD>", "<start>", "<end>", "ಕ", "ತ")
    with pytest.raises(UserError, match="source_vocabulary_words must be >= 0, got -1"):
        task.build_vocabularies(config_of(data__source_vocabulary_words=-1), PAIRS)


# from the config


def test_every_filter_of_the_config_arrives(monkeypatch):
    given = {}

    def load(path, **settings):
        given.update(settings, path=path)
        return DATASET

    monkeypatch.setattr(data, "load", load)
    fields = {
        "path": "p", "punctuation": "keep", "source_words": 3, "max_source_words": 9,
        "source_script": "", "max_target_words": 8, "target_script": "",
        "target_top_k": 50, "remove_duplicates": False, "max_tokens": 11, "max_pairs": 99,
        "skip_empty": True, "mend_script": True, "languages": ("en", "fr"), "columns": ("a", "b"),
    }  # fmt: skip
    arguments = set(inspect.signature(filter_lines).parameters)
    assert set(fields) == arguments - {"lines", "common", "markers"} | {
        "path", "target_top_k", "skip_empty", "columns",
    }  # fmt: skip
    task.load_splits(config_of(**{f"data__{k}": v for k, v in fields.items()}))
    assert given == fields
    off = ("source_words", "max_source_words", "max_target_words", "target_top_k", "max_tokens")
    task.load_splits(config_of(**{f"data__{k}": 0 for k in off}))
    assert [given[name] for name in off] == [None] * 5


def test_splits_of_the_config(monkeypatch, capsys):
    monkeypatch.setattr(data, "load", corpus_of(list(many())))
    _, splits = task.load_splits(config_of())
    sizes = {name: len(pairs.source) for name, pairs in splits.items()}
    assert sizes == {"train": 28, "valid": 4, "test": 8}
    tests = [
        set(task.load_splits(config_of(data__folds=4, data__fold=fold))[1]["test"].source)
        for fold in range(4)
    ]
    assert [len(test) for test in tests] == [10] * 4 and len(set.union(*tests)) == 40
    _, other = task.load_splits(config_of(data__split_seed=1, data__test_fraction=0.0))
    assert list(other) == ["train", "valid"] and other["valid"] != splits["valid"]
    with pytest.raises(UserError, match="data.valid_fraction must be above 0"):
        task.load_splits(config_of(data__valid_fraction=0.0))
    assert capsys.readouterr().out == ""


def test_the_notice_of_the_phrasebook_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda path, **_: DATASET._replace(notice="PHRASEBOOK: x"))
    task.load_splits(config_of(data__valid_fraction=0.2))
    assert capsys.readouterr().out == "PHRASEBOOK: x\n"


def test_tokens_a_side():
    assert task.tokens_a_side(config_of(data__max_tokens=9), DATASET) == 9
    assert task.tokens_a_side(config_of(data__max_tokens=0), DATASET) == 4 + 2


def test_the_task_names_its_data():
    splits = {"train": Pairs(*(side[:4] for side in PAIRS)), "valid": PAIRS}
    config = config_of()
    made = make(config, splits)[0]
    english, kannada = task.build_vocabularies(config, splits["train"])
    assert made.identity == {
        "data": "corpus", "sha256": DATASET.sha256, "tokens": 7,
        "source_sha256": english.sha256, "target_sha256": kannada.sha256,
    }  # fmt: skip
    assert made.unit == "sentences"
    assert made.train["source"].shape == made.train["target"].shape == (4, 7)
    start, end = 2, 3
    assert made.train["source"][1].tolist() == [
        start, english.index["c"], english.index["d"], end, 0, 0, 0,
    ]  # fmt: skip
    assert made.valid["target"].shape == (6, 7)


def test_settings_are_those_of_the_config():
    settings = of_config(config_of(train__epochs=11, train__seed=5))
    assert (settings.epochs, settings.seed) == (11, 5)
    assert dataclasses.asdict(settings.checkpoint) == config_of().checkpoint.to_dict()


@pytest.mark.parametrize(
    "fields",
    [
        {"model__name": "transformer"},
        {"model__cell": "elman"},
        {"model__units": 0},
        {"model__dense": 0},
        {"model__embedding": -1},
        {"model__recurrent_init": "zeros"},
        {"model__recurrent_dropout": 1.0},
        {"model__reset_after": False},  # an option of the GRU
        {"model__dropout": 1.5},
    ],
)
def test_a_config_without_a_network_is_refused(fields):
    (field,) = fields
    config = config_of(**fields)
    with pytest.raises(UserError, match=f"config.model[.:].*{field.removeprefix('model__')}"):
        task.build_model(config, task.build_vocabularies(config, PAIRS))
