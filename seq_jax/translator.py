"""From sentences to translations by an encoder-decoder: encoded, sorted by length, searched."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sacrebleu.metrics import CHRF

from seq_jax import decode, text
from seq_jax.attention import coverage_penalty


class Hypothesis(NamedTuple):
    text: str
    score: float  # log-probability / length^alpha, in nats


class Search(NamedTuple):
    """How translations are searched for: `config.decode`. See `decode.search`."""

    beam: int
    alpha: float
    no_repeat: int
    mbr: bool = False  # the hypothesis most like the others comes first, see `by_agreement`
    coverage: float = 0.0  # weights of what the attention left out, and of what it saw twice; see
    overlap: float = 0.0  # `attention.coverage_penalty`
    repeat_penalty: float = 0.0  # off the score for each word said again, see `by_repeats`


Translate = Callable[[dict, Sequence[str]], list[list[Hypothesis]]]


def make_translate(
    model, vocabularies, *, lengths: Sequence[int], batch_size: int, search: Search
) -> Translate:
    """(variables, sentences) -> for each its hypotheses, the best first; [] if it is too long.

    Args:
        model: an EncoderDecoder.
        vocabularies: (source, target).
        lengths: to which sources are padded, in tokens with <start> and <end>; the last of them is
            the longest that is translated, and the longest translation.
        batch_size: sentences at most that are translated at once.
        search: the same for all.
    """
    run = make_search(model, vocabularies[1], max_tokens=lengths[-1], search=search)

    def translate(variables, sentences):
        rows = [text.encode(vocabularies[0], sentence) for sentence in sentences]
        found: list[list[Hypothesis]] = [[] for _ in rows]
        for length, numbers in by_length(rows, lengths).items():
            for first in range(0, len(numbers), batch_size):
                part = numbers[first : first + batch_size]
                # a few sizes of batches, each compiled once
                size = min(batch_size, 1 << (len(part) - 1).bit_length())
                source = np.zeros((size, length), np.int32)
                for row, number in zip(source, np.resize(part, size), strict=True):
                    row[: len(rows[number])] = rows[number]
                tokens, scores, _ = jax.device_get(run(variables, source))
                for number, *best in zip(part, tokens, scores, strict=False):
                    found[number] = _hypotheses(vocabularies[1], *best)
        return [ranked(hypotheses, search) for hypotheses in found]

    return translate


def best_texts(found: list[list[Hypothesis]]) -> list[str]:
    """The best translation of each sentence; '' for one without."""
    return [best[0].text if best else "" for best in found]


def ranked(hypotheses: list[Hypothesis], search: Search) -> list[Hypothesis]:
    """The same in the order that `search` asks for: of agreement, which knows no penalty; or else
    of the scores less the penalty."""
    if search.mbr:
        return by_agreement(hypotheses)
    return by_repeats(hypotheses, search.repeat_penalty) if search.repeat_penalty else hypotheses


def by_agreement(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """The same, the one with the highest mean chrF++ against all of them first: minimum Bayes risk
    over the n-best, each counted alike (Kumar & Byrne 2004)."""
    metric = CHRF(word_order=2)
    gains = [
        sum(metric.sentence_score(one.text, [other.text]).score for other in hypotheses)
        for one in hypotheses
    ]
    order = sorted(range(len(hypotheses)), key=lambda i: -gains[i])
    return [hypotheses[i] for i in order]


def by_repeats(hypotheses: list[Hypothesis], penalty: float) -> list[Hypothesis]:
    """The same, the highest score first after `penalty` is taken off it for each word said again.

    Their scores stay as they are. Words are what spaces part, where `decode.search` knows pieces.
    """

    def rank(hypothesis):
        words = hypothesis.text.split()
        return hypothesis.score - penalty * (len(words) - len(set(words)))

    return sorted(hypotheses, key=rank, reverse=True)


def make_search(model, vocabulary, *, max_tokens: int, search: Search):
    """The compiled (variables, source i32[B, S]) -> decode.Hypotheses."""
    ids = decode.markers(vocabulary)
    covers = bool(search.coverage or search.overlap) and model.attention != "none"

    def run(variables, source):
        apply = functools.partial(model.apply, {"params": variables["params"]})
        memory, state = apply(source, train=False, method="encode")

        def of_each(f):  # of the hypotheses of a sentence, which share its memory
            return jax.vmap(f, in_axes=1, out_axes=1, axis_size=search.beam)

        @of_each
        def step(state, tokens):
            state, total = state
            state, logits, weights = apply(memory, state, tokens, method="step")
            if covers:
                ended = (tokens == ids["end"]) | (tokens == ids["pad"])
                total = total + jnp.where(ended[:, None], 0, weights)
            return (state, total), logits

        @of_each
        def bonus(state):
            return coverage_penalty(
                state[1], memory.mask, coverage=search.coverage, overlap=search.overlap
            )

        total = jnp.zeros(memory.mask.shape) if covers else None
        first = of_each(lambda: (state, total))()
        return decode.search(
            step, first, batch=len(source), beam=search.beam, max_tokens=max_tokens,
            alpha=search.alpha, vocabulary=ids, no_repeat=search.no_repeat,
            bonus=bonus if covers else None,
        )  # fmt: skip

    return jax.jit(run)


def by_length(rows, lengths: Sequence[int]) -> dict[int, list[int]]:
    """{length: the numbers of the rows that are padded to it}; none of rows that fit nowhere."""
    groups: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        length = static_length(len(row), lengths)
        if length:
            groups.setdefault(length, []).append(number)
    return groups


def static_length(tokens: int, lengths: Sequence[int]) -> int:
    """The least of `lengths` that holds so many tokens; 0 if none does."""
    return next((length for length in lengths if tokens <= length), 0)


def _hypotheses(vocabulary, tokens, scores) -> list[Hypothesis]:
    real = scores > decode.FAR / 1e3  # the others fill the beam up
    return [
        Hypothesis(text.decode(vocabulary, row), float(score))
        for row, score in zip(tokens[real], scores[real], strict=True)
    ]
