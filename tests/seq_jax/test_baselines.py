"""Baselines against brute force and hand-worked sentences."""

from fractions import Fraction

import numpy as np
import pytest

from seq_jax import baselines
from seq_jax.data import encode_pairs
from seq_jax.filter import Pairs
from seq_jax.scores import token_scores
from seq_jax.text import build_vocabulary

HOUSE = Pairs(
    ("i go home", "i come home", "you go", "i go"),
    ("ನಾನು ಮನೆಗೆ ಹೋದೆ", "ನಾನು ಮನೆಗೆ ಬಂದೆ", "ನೀವು ಹೋದಿರಿ", "ನಾನು ಹೋದೆ"),
)


def random_pairs(count, words=12, seed=0):
    """Sentences of few words, so that many are equally near to one another."""
    rng = np.random.default_rng(seed)

    def side(letter):
        return tuple(
            " ".join(f"{letter}{number}" for number in rng.zipf(1.5, rng.integers(1, 6)) % words)
            for _ in range(count)
        )

    return Pairs(side("e"), side("k"))


def counts_of(sentences, *words):
    return sum(all(word in s.split() for word in words) for s in sentences)


def test_pad_only_says_nothing():
    assert baselines.fit(HOUSE)["pad_only"]("i go home") == ""


def test_most_frequent_words_worked_by_hand():
    # ನಾನು 3 of 4; ಮನೆಗೆ 2 of 4; then ಹೋದೆ, ಬಂದೆ once each and <end> twice
    translate = baselines.fit(HOUSE)["most_frequent_per_position"]
    assert translate("you go") == translate("") == "ನಾನು ಮನೆಗೆ"


@pytest.mark.parametrize("seed", range(5))
def test_no_other_word_is_more_frequent_in_its_place(seed):
    pairs = random_pairs(60, seed=seed)
    said = [*baselines.fit(pairs)["most_frequent_per_position"]("e1").split(), "<end>"]
    rows = [[*sentence.split(), "<end>"] for sentence in pairs.target]
    for place, word in enumerate(said):
        here = [row[place] for row in rows if len(row) > place]
        assert all(here.count(word) >= here.count(other) for other in here)
        assert word == min(w for w in here if here.count(w) == here.count(word))


def test_dictionary_worked_by_hand():
    # home: with ಮನೆಗೆ 2 * 2 / (2 + 2) = 1; go: ಹೋದೆ 2 * 2 / (3 + 2) = 0.8; i: ನಾನು 1;
    # you: ನೀವು and ಹೋದಿರಿ 1, once each, so the first in code points
    translate = baselines.fit(HOUSE)["dictionary"]
    assert translate("home i go") == "ಮನೆಗೆ ನಾನು ಹೋದೆ"  # in the English order
    assert translate("you run") == min("ನೀವು", "ಹೋದಿರಿ")  # train lacks run
    assert translate("run") == ""
    # b: with ಗ 2 * 2 / (2 + 4), with ಕ as much, 2 * 1 / (2 + 1), but seen together only once
    pairs = Pairs(("b x", "b y", "x", "y"), ("ಗ ಕ", "ಗ", "ಗ", "ಗ"))
    assert baselines.fit(pairs)["dictionary"]("b") == "ಗ"


@pytest.mark.parametrize("seed", range(5))
def test_dictionary_equals_brute_force(seed):
    pairs = random_pairs(40, seed=seed)
    translate = baselines.fit(pairs)["dictionary"]
    kannada = sorted({word for sentence in pairs.target for word in sentence.split()})
    for e in {word for sentence in pairs.source for word in sentence.split()}:

        def rank(k, e=e):
            together = counts_of(map(" ".join, zip(*pairs, strict=True)), e, k)
            dice = Fraction(2 * together, counts_of(pairs.source, e) + counts_of(pairs.target, k))
            return dice, together

        best = max(map(rank, kannada))
        assert translate(e) == next(k for k in kannada if rank(k) == best)


def test_nearest_neighbour_worked_by_hand():
    translate = baselines.fit(HOUSE)["nearest_neighbour"]
    assert translate("you come home") == "ನಾನು ಮನೆಗೆ ಬಂದೆ"  # 2 of 4 words; you go: 1 of 4
    assert translate("go go go") == "ನೀವು ಹೋದಿರಿ"  # 1 of 2, as i go, which comes later
    assert translate("stay") == translate("") == HOUSE.target[0]
    # 1 of 2 different words, and 2 of 4
    assert baselines.fit(Pairs(("a", "a b c d"), ("ಕ", "ಗ")))["nearest_neighbour"]("a b b") == "ಕ"


@pytest.mark.parametrize("seed", range(5))
def test_nearest_neighbour_equals_brute_force(seed):
    pairs, queries = random_pairs(80, seed=seed), random_pairs(60, 16, seed=seed + 9).source
    translate = baselines.fit(pairs)["nearest_neighbour"]
    ties = 0
    for query in queries:
        mine = set(query.split())
        near = [
            Fraction(len(mine & set(s.split())), len(mine | set(s.split()))) for s in pairs.source
        ]
        assert translate(query) == pairs.target[near.index(max(near))]
        ties += near.count(max(near)) > 1
    assert ties > 10


def test_every_baseline_translates_every_sentence():
    train, part = random_pairs(60), random_pairs(40, seed=1)
    found = baselines.translate(train, part)
    assert list(found) == [
        "pad_only",
        "most_frequent_per_position",
        "dictionary",
        "nearest_neighbour",
    ]
    for name, f in baselines.fit(train).items():
        assert found[name] == [f(sentence) for sentence in part.source]


def test_numbers_are_those_of_encode_pairs():
    pairs = random_pairs(40)
    vocabulary = build_vocabulary(pairs.target[:5])  # so some words are unknown
    said = Pairs(pairs.target, pairs.target)
    expected = encode_pairs(said, vocabulary, vocabulary, max_tokens=8)["target"]
    found = baselines.numbers(list(pairs.target), vocabulary, 8)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_the_empty_translation_is_right_about_nothing_but_pad():
    vocabulary = build_vocabulary(HOUSE.target)
    target = encode_pairs(HOUSE, *map(build_vocabulary, HOUSE), max_tokens=9)["target"]
    found = token_scores(baselines.numbers([""] * 4, vocabulary, 9), target, vocabulary)
    assert found["accuracy_pad_counted"] == (target == 0).mean() > 0.4
    assert found["token_accuracy"] == found["word_accuracy"] == 0


def test_translations_longer_than_the_arrays_are_cut():
    vocabulary = build_vocabulary(["ಕ ಗ ಚ ಟ"])
    row = baselines.numbers(["ಕ ಗ ಚ ಟ"], vocabulary, 3)
    assert row.tolist() == [[vocabulary.index[word] for word in ("<start>", "ಕ", "ಗ")]]
