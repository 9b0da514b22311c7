"""Sentence pairs as a task for an encoder-decoder: its batches, its loss, its score.

B = rows of a batch, T = tokens a side with <start> and <end>, V = target vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np

from seq_jax.scores import chrf
from seq_jax.text import PAD, encode
from seq_jax.translator import Search, make_translate, static_length
from train_jax import metrics
from train_jax.run.errors import UserError
from train_jax.task import Task

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

    def valid_chrf(variables) -> float:
        hypotheses = [best[0].text if best else "" for best in translate(variables, valid.source)]
        return chrf(hypotheses, valid.target)

    return Task(
        init=lambda key: init_model(model, key),
        loss=loss,
        evaluate=evaluate,
        train=arrays(splits["train"], vocabularies, lengths),
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
            f"config: data.lengths must be rising numbers of tokens, 3 or more, got {lengths}"
        )
    return lengths


def init_model(model, key):
    """{'params': ...}."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    return model.init(key, tokens, tokens, train=False)


def make_sums(vocabulary, *, label_smoothing):
    """(logits f32[B, T - 1, V], batch) -> (Mean to minimise, {name: Mean}), over real tokens.

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
        entropy = normaliser - jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        smoothed = (1 - label_smoothing) * entropy + label_smoothing * (
            normaliser - logits.mean(-1)
        )
        hits = (logits.argmax(-1) == target).astype(logits.dtype)
        return metrics.masked_mean(smoothed, real), {
            "loss": metrics.masked_mean(entropy, real),
            "accuracy": metrics.masked_mean(hits, real),
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


def arrays(pairs, vocabularies, lengths) -> dict[str, np.ndarray]:
    """Sentences as a batch: source i32[N, T], target i32[N, T], length i32[N], see epoch.py.

    Pairs longer than the last of `lengths` are left out.
    """
    sides = [
        [encode(vocabulary, sentence) for sentence in side]
        for vocabulary, side in zip(vocabularies, pairs, strict=True)
    ]
    rows = [
        (source, target, length)
        for source, target in zip(*sides, strict=True)
        if (length := static_length(max(len(source), len(target)), lengths))
    ]
    if len(rows) < len(pairs.source):
        print(
            f"{len(pairs.source) - len(rows)} of {len(pairs.source)} pairs have more than "
            f"{lengths[-1]} tokens (data.lengths) and are left out"
        )
    filled = np.zeros((2, len(rows), lengths[-1]), np.int32)
    for number, (*both, _) in enumerate(rows):
        for array, row in zip(filled, both, strict=True):
            array[number, : len(row)] = row
    length = np.array([length for *_, length in rows], np.int32)
    return {"source": filled[0], "target": filled[1], "length": length}
