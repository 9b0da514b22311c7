"""How good translations are: tokens right in their places, and the sentences as texts.

Letters: N sentences, T tokens with <start> and <end> where they are used.
Every interval is a 95 % one.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from seq_jax.text import END, PAD, START, UNK, Vocabulary
from train_jax.metrics import bootstrap_interval, wilson_interval

CHRF_PP = CHRF(word_order=2)


def token_scores(predicted, target, vocabulary: Vocabulary) -> dict:
    """Shares of tokens that are right in their places.

    Args:
        predicted: i32[N, T], N >= 1.
        target: i32[N, T].
        vocabulary: of the target language.

    Returns:
        {"tokens", "token_accuracy", "token_accuracy_ci95": of words and <end>;
        "words", "word_accuracy", "word_accuracy_ci95": of words alone;
        "positions", "accuracy_pad_counted": of all N * T positions, the metric of the original
        study, which <PAD> alone can bring near 1}.
        A word that the vocabulary lacks counts and is never right, so that an <unk> is no hit.

    Raises:
        ValueError: the shapes are not the same [N, T], or there is nothing to count.
    """
    predicted, target = np.asarray(predicted), np.asarray(target)
    if predicted.shape != target.shape or target.ndim != 2:
        raise ValueError(f"expected two arrays of one shape: {predicted.shape}, {target.shape}")
    pad, unk, start, end = (vocabulary.index.get(word, -1) for word in (PAD, UNK, START, END))
    tokens = (target != pad) & (target != start)
    equal = predicted == target
    scores: dict[str, Any] = {}
    for name, counted in (("token", tokens), ("word", tokens & (target != end))):
        if not counted.any():
            raise ValueError(f"no {name} in a target of shape {target.shape}")
        hits = (equal & counted & (target != unk)).sum(1)
        sums = np.stack([hits, counted.sum(1)], 1)
        scores[f"{name}s"] = int(sums[:, 1].sum())
        scores[f"{name}_accuracy"] = _ratio(sums.sum(0))
        scores[f"{name}_accuracy_ci95"] = bootstrap_interval(sums, _ratio)
    scores["positions"] = target.size
    scores["accuracy_pad_counted"] = float(equal.mean())
    return scores


def _ratio(sums) -> float:
    return float(sums[0] / max(sums[1], 1))


def translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict:
    """Scores of translations as texts, by sacrebleu over the whole of them.

    Args:
        hypotheses: N translations, N >= 1; '' is one, too.
        references: N true ones: the sentences themselves, not decoded from numbers, since an
            <unk> would match an <unk>.

    Returns:
        {"n", "exact_match", "chrf++", "bleu", each with its "..._ci95", "signatures"}; chrF++ and
        BLEU in [0, 100]. exact_match has Wilson's interval, the others one from a bootstrap.
        BLEU has effective order for a single sentence only, as its signature tells; it counts
        sequences of four words, and is None, as its interval, where no reference has so many.

    Raises:
        ValueError: there are none, or not equally many.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    n = len(references)
    exact = sum(h == r for h, r in zip(hypotheses, references, strict=True))
    scores = {"n": n, "exact_match": exact / n, "exact_match_ci95": list(wilson_interval(exact, n))}
    # force: the text is meant to be in tokens, so no warning about that
    bleu = BLEU(tokenize="intl", effective_order=n == 1, force=True)
    signatures = {}
    for name, metric in (("chrf++", CHRF_PP), ("bleu", bleu)):
        counts = _counts(metric, hypotheses, references)
        score = functools.partial(_score_of, metric)
        scores[name] = score(counts.sum(0))
        scores[f"{name}_ci95"] = bootstrap_interval(counts, score)
        if name == "bleu" and n > 1 and max(len(r.split()) for r in references) < 4:
            scores |= {"bleu": None, "bleu_ci95": None}
        signatures[name] = str(metric.get_signature())
    return scores | {"signatures": signatures}


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """chrF++ of the whole corpus (Popovic 2017), in [0, 100]."""
    return CHRF_PP.corpus_score(hypotheses, [references]).score


def chrf_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """i64[N, 24]: for n-grams of 1 to 6 letters and of 1 and 2 words, how many of them the
    translation has, the reference has, and both; of whose sums `chrf_of` makes chrF++."""
    return _counts(CHRF_PP, hypotheses, references)


def chrf_of(sums) -> float:
    """chrF++ in [0, 100] of sentences whose `chrf_counts` add up to `sums`, i64[24]."""
    return _score_of(CHRF_PP, sums)


def _counts(metric, hypotheses, references) -> np.ndarray:
    """i64[N, K], what each sentence adds to a score of sacrebleu."""
    # Private methods, by which sacrebleu does its own bootstrap; that one gives only the mean of
    # the resamples and half a width.
    return np.array(metric._extract_corpus_statistics(hypotheses, [references]))


def _score_of(metric, sums) -> float:
    return float(metric._compute_score_from_stats(sums.tolist()).score)
