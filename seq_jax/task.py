"""Sentence pairs as a task: from a config to vocabularies, model and loss.

B = rows of a batch, T = tokens per side, V = target vocabulary.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import repeat
from flax.errors import FlaxError

from seq_jax import attention_task, subwords
from seq_jax import data as seq_data
from seq_jax.decode import greedy, markers
from seq_jax.encoder_decoder import EncoderDecoder
from seq_jax.models import make_model
from seq_jax.subwords import Subwords
from seq_jax.text import PAD, START, Vocabulary, build_vocabulary
from train_jax import metrics
from train_jax import settings as settings_lib
from train_jax.run.errors import UserError, named
from train_jax.task import Task

OFF_AT_0 = (  # filters of the config that are off at 0, where seq_jax.filter has None
    "source_words", "max_source_words", "max_target_words", "max_tokens", "target_top_k",
)  # fmt: skip
FILTERS = (
    "punctuation", "source_script", "target_script", "mend_script",
    "remove_duplicates", "max_pairs", "skip_empty",
)  # fmt: skip
MARKERS = 2  # <start> and <end>


class Vocabularies(NamedTuple):
    source: Vocabulary | Subwords
    target: Vocabulary | Subwords


def load_splits(config):
    """(Dataset, {split: Pairs}): 'train', 'valid' and, where the config asks for one, 'test'."""
    c = config.data
    settings = {name: c[name] or None for name in OFF_AT_0} | {name: c[name] for name in FILTERS}
    dataset = seq_data.load(
        c.path, languages=tuple(c.languages), columns=tuple(c.columns), **settings
    )
    if dataset.notice:
        print(dataset.notice)
    splits = seq_data.split(
        dataset.pairs,
        valid_fraction=c.valid_fraction,
        test_fraction=c.test_fraction,
        folds=c.folds,
        fold=c.fold,
        seed=c.split_seed,
    )
    if not splits["valid"].source:
        raise UserError(
            "config.data.valid_fraction must be above 0: the best epoch is chosen on validation"
        )
    return dataset, {name: pairs for name, pairs in splits.items() if pairs.source}


def tokens_a_side(config, dataset) -> int:
    """T: data.max_tokens, or without it those of the longest sentence of all."""
    sentences = (*dataset.pairs.source, *dataset.pairs.target)
    return config.data.max_tokens or max(len(s.split()) for s in sentences) + MARKERS


def check_settings(config):
    """UserError, naming the field and its value, if a setting cannot be: before data is read."""
    settings_lib.check(config)
    model_of(config, 9, 9)


def build_vocabularies(config, train) -> Vocabularies:
    """Those of the training part alone, so that nothing is known of the other sentences."""
    c = config.data
    if c.subwords:
        return Vocabularies(
            *(subwords.train(side, size=c.subwords, kind=c.subword_kind) for side in train)
        )
    for name in ("source_vocabulary_words", "target_vocabulary_words"):
        if c[name] < 0:
            raise UserError(f"config.data.{name} must be >= 0, got {c[name]}")
    return Vocabularies(
        *(
            build_vocabulary(
                sentences,
                unk=c.unk,
                max_words=c[f"{side}_vocabulary_words"] or None,
                min_count=c[f"{side}_min_count"],
            )
            for side, sentences in zip(Vocabularies._fields, train, strict=True)
        )
    )


def build_model(config, vocabularies):
    """The flax module of `config.model`. UserError if its fields make no network."""
    return model_of(config, len(vocabularies.source.words), len(vocabularies.target.words))


def model_of(config, source_vocabulary: int, target_vocabulary: int):
    """As `build_model`, for vocabularies of so many words."""
    try:
        model = make_model(
            source_vocabulary=source_vocabulary,
            target_vocabulary=target_vocabulary,
            **config.model.to_dict(),
        )
        jax.eval_shape(make_init(model, 2), jax.random.key(0))
    except (TypeError, ValueError, ArithmeticError, FlaxError) as error:
        raise UserError(named("config.model", error)) from error
    return model


def make_init(model, tokens):
    """key -> {'params': ...}, for sentences of T tokens."""
    if isinstance(model, EncoderDecoder):
        return functools.partial(attention_task.init_model, model)
    return functools.partial(init_model, model, tokens)


def init_model(model, tokens, key):
    """{'params': ...} for sentences of T tokens."""
    return model.init(key, jnp.zeros((1, tokens), jnp.int32), train=False)


def make_task(config, model, dataset, splits, vocabularies) -> Task:
    """Binds model, loss and data of a config for the training loop."""
    if isinstance(model, EncoderDecoder):
        return attention_task.make_task(config, model, dataset, splits, vocabularies)
    tokens = tokens_a_side(config, dataset)
    sums = make_sums(vocabularies.target, count_pad=config.loss.count_pad)

    def loss(params, batch_stats, batch, key):
        logits = model.apply({"params": params}, batch["source"], train=True, rngs={"dropout": key})
        scores = sums(logits, batch)
        return metrics.safe_divide(scores["loss"]), (scores, batch_stats)

    def evaluate(variables, batch):
        logits = model.apply({"params": variables["params"]}, batch["source"], train=False)
        return sums(logits, batch)

    return Task(
        init=functools.partial(init_model, model, tokens),
        loss=loss,
        evaluate=evaluate,
        train=arrays(splits["train"], vocabularies, tokens),
        valid=arrays(splits["valid"], vocabularies, tokens),
        identity={
            "data": dataset.name,
            "sha256": dataset.sha256,
            "tokens": tokens,
            "source_sha256": vocabularies.source.sha256,
            "target_sha256": vocabularies.target.sha256,
        },
        unit="sentences",
        steps_per_call_on_cpu=8,  # an epoch of 512 pairs; products lose nothing inside a loop
    )


def make_sums(vocabulary, *, count_pad):
    """(logits f32[B, T, V], batch) -> {name: TotalAndCount}, over tokens and not over sentences.

    loss: cross-entropy of the real target tokens, <start> and <end> included. With `count_pad` of
        every position, as in the original study: predicting <PAD> then lowers it, all the more the
        longer the padding is.
    accuracy: of what `greedy` decodes, over the real target tokens but <start>, which is the same
        in every sentence: `scores.token_scores` during training. An <unk> is never a hit, since
        `greedy` gives none.
    accuracy_pad_counted: of the same over every position: the original study's own metric, but for
        what `greedy` rules out (that study took the bare argmax).
    """
    pad, start = (vocabulary.index[word] for word in (PAD, START))
    ids = markers(vocabulary)

    def sums(logits, batch):
        target = batch["target"]
        every = repeat(batch["mask"], "b -> b t", t=target.shape[1])
        real = every * (target != pad).astype(every.dtype)
        counted = real * (target != start).astype(every.dtype)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        hits = (greedy(logits, **ids) == target).astype(every.dtype)
        return {
            "loss": metrics.masked_total(entropy, every if count_pad else real),
            "accuracy": metrics.masked_total(hits, counted),
            "accuracy_pad_counted": metrics.masked_total(hits, every),
        }

    return sums


def arrays(pairs, vocabularies, tokens) -> dict[str, np.ndarray]:
    """Sentences as a batch: source i32[N, T], target i32[N, T]."""
    return seq_data.encode_pairs(pairs, *vocabularies, max_tokens=tokens)
