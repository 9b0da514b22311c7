"""What the scores of a whole split hide: long sentences, unlike ones, repeated and copied words."""

from collections import Counter

import numpy as np

from seq_jax.baselines import likeness
from seq_jax.scores import translation_scores

WORDS = ((1, 4), (5, 6), (7, 9), (10, 999))  # of a source sentence
LIKENESS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))


def analyse(pairs, hypotheses: dict[str, list[str]], train) -> dict:
    """Figures of one split.

    Args:
        pairs: N sentences and their references.
        hypotheses: {name: N translations}, of the model and of baselines.
        train: the pairs that were trained on.

    Returns:
        {"by_words": {"5-6": {name: scores}}, by words of the source;
        "by_likeness": the same by the Jaccard similarity of the source to the nearest train
        sentence, as sets of words;
        "habits": {name: {"length_ratio": words over those of the references; and shares:
        "repeated" of sentences that have a word twice, "copied" of sentences that are the target
        of a train pair, "new_words" of words that no train target has}}, of the references too}.
        scores: as of `translation_scores`, where n is not 0.
    """
    words = np.array([len(source.split()) for source in pairs.source])
    nearest = likeness(train, pairs.source)
    return {
        "by_words": {
            f"{low}-{high}" if high < 999 else f"{low} or more": _scores(
                (words >= low) & (words <= high), pairs, hypotheses
            )
            for low, high in WORDS
        },
        "by_likeness": {
            f"{low:g} to {high:g}": _scores(
                (nearest >= low) & ((nearest < high) | (high == 1)), pairs, hypotheses
            )
            for low, high in LIKENESS
        },
        "habits": {
            name: _habits(said, pairs, train)
            for name, said in {"reference": list(pairs.target), **hypotheses}.items()
        },
    }


def _scores(chosen, pairs, hypotheses) -> dict:
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return {}
    references = [pairs.target[i] for i in rows]
    return {
        name: translation_scores([said[i] for i in rows], references)
        for name, said in hypotheses.items()
    }


def _habits(said, pairs, train) -> dict:
    targets = set(train.target)
    known = {word for sentence in train.target for word in sentence.split()}
    words = [sentence.split() for sentence in said]
    every = [word for sentence in words for word in sentence]
    return {
        "length_ratio": len(every) / max(sum(len(s.split()) for s in pairs.target), 1),
        "repeated": float(np.mean([max(Counter(w).values(), default=0) > 1 for w in words])),
        "copied": float(np.mean([sentence in targets for sentence in said])),
        "new_words": float(np.mean([word not in known for word in every])) if every else 0.0,
    }
