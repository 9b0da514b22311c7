"""The PAD trap of the original study: one very long sentence fills all others with <PAD>, and
whoever says nothing but <PAD> seems to be right nine times in ten."""

import numpy as np
import pytest

from seq_jax import baselines
from seq_jax.data import describe, encode_pairs, filter_lines
from seq_jax.scores import token_scores
from seq_jax.text import build_vocabulary

KANNADA = "ನಾನು ಮನೆಗೆ ಹೋದೆ ಅವಳು ಶಾಲೆಗೆ ಬಂದಳು ನೀವು ಊಟ ಮಾಡಿದಿರಿ".split()
OUTLIER = 60  # words


def lines():
    """40 pairs of 5 English and 3 or 4 Kannada words, and in the middle one of 60 Kannada words."""
    rng = np.random.default_rng(0)
    for number in range(1, 42):
        words = OUTLIER if number == 21 else rng.integers(3, 5)
        yield (
            number,
            f"this is sentence number {'abcdefg'[number % 7] * number}",
            " ".join(rng.choice(KANNADA, words)),
        )


def pad_only(max_tokens):
    pairs, report = filter_lines(lines(), source_words=5, max_tokens=max_tokens)
    vocabulary = build_vocabulary(pairs.target)
    arrays = encode_pairs(pairs, build_vocabulary(pairs.source), vocabulary, max_tokens=None)
    target = arrays["target"]
    said = baselines.translate(pairs, pairs)["pad_only"]
    scores = token_scores(baselines.numbers(said, vocabulary, target.shape[1]), target, vocabulary)
    return target, scores, report


def test_with_the_outlier_saying_nothing_seems_right_nine_times_in_ten():
    target, scores, _ = pad_only(max_tokens=None)
    assert target.shape == (41, OUTLIER + 2)
    assert scores["accuracy_pad_counted"] == pytest.approx(0.9, abs=0.02)
    assert scores["token_accuracy"] == scores["word_accuracy"] == 0


def test_max_tokens_cuts_the_outlier_and_the_report_names_its_line():
    target, scores, report = pad_only(max_tokens=7)
    assert target.shape == (40, 7)
    assert scores["accuracy_pad_counted"] < 0.3
    assert scores["token_accuracy"] == 0
    assert report.longest == (OUTLIER + 2, 21)
    assert report.removed["more than 7 tokens"] == 1
    assert "longest pair: 62 tokens (line 21)" in describe(report)
