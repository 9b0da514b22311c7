"""Sentence pairs as a task for an encoder-decoder: its batches, its loss, its score.

B = rows of a batch, T = tokens per side with <start> and <end>, V = target vocabulary.
"""

import math
from random import Random

import jax
import jax.numpy as jnp
import numpy as np

from seq_jax.scores import chrf
from seq_jax.text import PAD, encode
from seq_jax.translator import Search, best_texts, make_translate, static_length
from train_jax import metrics
from train_jax.run.errors import UserError
from train_jax.task import Task

SIDES = ("source", "target")
ROOM, DRAWS = 4, 3  # of BPE-dropout, see `make_train_at`
GREEDY = Search(beam=1, alpha=0.0, no_repeat=0)


def make_task(config, model, dataset, splits, vocabularies) -> Task:
    """Binds model, loss and data of a config for the training loop."""
    lengths = static_lengths(config)
    sums = make_sums(vocabularies[1], label_smoothing=config.loss.label_smoothing)

    def loss(params, batch_stats, batch, key):
        logits = model.apply(
            {"params": params}, batch["source"], batch["target"][:, :-1], train=True,
            rngs={"dropout": key},
        )  # fmt: skip
        smoothed, scores = sums(logits, batch)
        return metrics.safe_divide(smoothed), (scores, batch_stats)

    def evaluate(variables, batch):
        logits = model.apply(
            {"params": variables["params"]}, batch["source"], batch["target"][:, :-1], train=False
        )
        return sums(logits, batch)[1]

    translate = make_translate(
        model, vocabularies, lengths=lengths, batch_size=config.train.eval_batch_size, search=GREEDY
    )
    valid = splits["valid"]
    train, train_at = training_arrays(config, splits["train"], vocabularies, lengths)

    def valid_chrf(variables) -> float:
        return chrf(best_texts(translate(variables, valid.source)), valid.target)

    return Task(
        init=lambda key: init_model(model, key),
        loss=loss,
        evaluate=evaluate,
        train=train,
        train_at=train_at,
        valid=arrays(valid, vocabularies, lengths),
        identity={
            "data": dataset.name,
            "sha256": dataset.sha256,
            "tokens": lengths[-1],
            "source_sha256": vocabularies[0].sha256,
            "target_sha256": vocabularies[1].sha256,
        },
        unit="sentences",
        scores={"chrf++": valid_chrf},
    )


def static_lengths(config) -> tuple[int, ...]:
    """data.lengths, checked."""
    lengths = tuple(config.data.lengths)
    if not lengths or lengths[0] < 3 or list(lengths) != sorted(set(lengths)):
        raise UserError(
            f"config.data.lengths must be rising numbers of tokens, 3 or more, got {lengths}"
        )
    return lengths


def init_model(model, key):
    """{'params': ...}."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    return model.init(key, tokens, tokens, train=False)


def make_sums(vocabulary, *, label_smoothing):
    """(logits f32[B, T - 1, V], batch) -> what to minimise, {name: metric}, as TotalAndCount, over
    real tokens.

    loss: cross-entropy of each target token after <start>, <end> included, in nats.
    accuracy: of the likeliest token, given the true ones before it (teacher forcing).
    What is minimised spreads `label_smoothing` of each target evenly over the vocabulary
    (Szegedy et al. 2016).
    """
    pad = vocabulary.index[PAD]

    def sums(logits, batch):
        target = batch["target"][:, 1:]
        real = batch["mask"][:, None] * (target != pad).astype(logits.dtype)
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        of_target = jnp.take_along_axis(logits, target[..., None], axis=-1)
        entropy = normaliser - of_target[..., 0]
        smoothed = (1 - label_smoothing) * entropy + label_smoothing * (
            normaliser - logits.mean(-1)
        )
        # as (argmax == target), whose search for a place takes 3 ms of 90 on a CPU
        lower = jnp.arange(logits.shape[-1])[None, None] < target[..., None]
        beaten = (logits > of_target) | (lower & (logits == of_target))
        hits = 1 - beaten.any(-1).astype(logits.dtype)
        return metrics.masked_total(smoothed, real), {
            "loss": metrics.masked_total(entropy, real),
            "accuracy": metrics.masked_total(hits, real),
        }

    return sums


def make_log_probabilities(model, vocabulary):
    """The compiled (variables, source i32[B, T], target i32[B, T]) -> f32[B]: log-probability of
    each target given its source, <end> included, in nats."""
    pad = vocabulary.index[PAD]

    def log_probabilities(variables, source, target):
        logits = model.apply({"params": variables["params"]}, source, target[:, :-1], train=False)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, 1:, None], axis=-1)[
            ..., 0
        ]
        return jnp.where(target[:, 1:] != pad, log_p, 0).sum(-1)

    return jax.jit(log_probabilities)


def training_arrays(config, pairs, vocabularies, lengths):
    """(the arrays of the pairs, epoch -> the same in other pieces or None); see `make_train_at`.

    UserError if data.bpe_dropout does not fit the rest of the config.
    """
    c = config.data
    if not c.bpe_dropout:
        return arrays(pairs, vocabularies, lengths), None
    if not 0 < c.bpe_dropout < 1 or not c.subwords or c.subword_kind != "bpe":
        raise UserError(
            "config.data.bpe_dropout must be in [0, 1), and 0 without subwords of kind bpe; got "
            f"{c.bpe_dropout} with data.subwords={c.subwords} of kind {c.subword_kind}"
        )
    return make_train_at(pairs, vocabularies, lengths, rate=c.bpe_dropout, seed=config.train.seed)


def make_train_at(pairs, vocabularies, lengths, *, rate, seed):
    """(the arrays of the pairs, epoch -> the same in other pieces): BPE-dropout.

    The pieces are a function of (seed, epoch). Each pair keeps its length, chosen with room for
    1 + ROOM * rate times the tokens, and so all epochs have the same steps; pieces that do not fit
    are drawn again, and after DRAWS draws the usual ones stay.
    """
    kept, usual = encoded(pairs, vocabularies, lengths, room=1 + ROOM * rate)
    sides = [(name, *rest) for name, *rest in zip(SIDES, vocabularies, pairs, strict=True)]

    def train_at(epoch):
        random = Random(f"{seed} {epoch}")
        found = usual | {name: usual[name].copy() for name in SIDES}
        for place, number in enumerate(kept):
            for name, vocabulary, side in sides:
                for _ in range(DRAWS):
                    row = encode(
                        vocabulary, side[number], vocabulary.sampled(side[number], rate, random)
                    )
                    if len(row) <= usual["length"][place]:
                        found[name][place] = 0
                        found[name][place, : len(row)] = row
                        break
        return found

    return usual, train_at


def arrays(pairs, vocabularies, lengths) -> dict[str, np.ndarray]:
    """Sentences as a batch: source i32[N, T], target i32[N, T], length i32[N], see epoch.py.

    Pairs longer than the last of `lengths` are left out.
    """
    return encoded(pairs, vocabularies, lengths)[1]


def encoded(pairs, vocabularies, lengths, room=1.0):
    """(the numbers of the pairs that fit into the last of `lengths`, their `arrays`).

    Each has the least length that holds `room` times its tokens, or the last one.
    """
    count = len(pairs.source)
    found = {name: np.zeros((count, lengths[-1]), np.int32) for name in SIDES}
    kept, length = [], np.zeros(count, np.int32)
    for number, sentences in enumerate(zip(*pairs, strict=True)):
        rows = [encode(v, sentence) for v, sentence in zip(vocabularies, sentences, strict=True)]
        tokens = max(map(len, rows))
        if not static_length(tokens, lengths):
            continue
        place = len(kept)
        length[place] = static_length(math.ceil(room * tokens), lengths) or lengths[-1]
        for array, row in zip(found.values(), rows, strict=True):
            array[place, : len(row)] = row
        kept.append(number)
    if len(kept) < count:
        print(
            f"{count - len(kept)} of {count} pairs have more than {lengths[-1]} tokens "
            "(data.lengths) and are left out"
        )
    return kept, {name: a[: len(kept)] for name, a in (found | {"length": length}).items()}
