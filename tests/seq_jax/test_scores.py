"""Scores of translations against loops, hand-worked figures, scipy and sacrebleu itself."""

import json

import numpy as np
import pytest
import scipy.stats
from sacrebleu.metrics import BLEU, CHRF

from seq_jax.scores import token_scores, translation_scores
from seq_jax.text import END, PAD, START, UNK, build_vocabulary
from train_jax.metrics import wilson_interval

VOCABULARY = build_vocabulary(["ಕ ಗ", "ಕ"])  # 0 <PAD>, 1 <unk>, 2 <start>, 3 <end>, 4 ಕ, 5 ಗ
WORDS = "ನಾನು ಮನೆಗೆ ಹೋಗುತ್ತೇನೆ ಅವಳು ಶಾಲೆಗೆ ಬಂದಳು ಪುಸ್ತಕ ಓದಿದೆ , .".split()


def random_rows(count, length=7, seed=0):
    """Targets <start> words <end> <PAD>..., with <unk> among the words; random predictions."""
    rng = np.random.default_rng(seed)
    target = np.zeros((count, length), np.int32)
    for row in target:
        words = rng.choice([1, 4, 5], rng.integers(1, length - 1))
        row[: len(words) + 2] = [2, *words, 3]
    predicted = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 6, target.shape))
    return predicted.astype(np.int32), target


def random_texts(count, seed=0):
    """References, and hypotheses that resemble some of them."""
    rng = np.random.default_rng(seed)
    references = [rng.choice(WORDS, rng.integers(2, 9)).tolist() for _ in range(count)]
    hypotheses = [
        [word for word in words if rng.random() < share] + rng.choice(WORDS, 2).tolist()
        for words, share in zip(references, rng.random(count), strict=True)
    ]
    hypotheses[:10] = references[:10]
    hypotheses[10] = []
    return [" ".join(h) for h in hypotheses], [" ".join(r) for r in references]


def test_token_scores_worked_by_hand():
    target = [[2, 4, 5, 3, 0, 0], [2, 4, 1, 3, 0, 0]]
    predicted = [[2, 4, 4, 3, 0, 0], [2, 4, 1, 3, 0, 0]]
    scores = token_scores(predicted, target, VOCABULARY)
    # words: ಕ and ಕ right, ಗ wrong, <unk> never right; <end> twice right; <start>, <PAD> left out
    assert (scores["words"], scores["tokens"], scores["positions"]) == (4, 6, 12)
    assert scores["word_accuracy"] == 2 / 4
    assert scores["token_accuracy"] == 4 / 6
    assert scores["accuracy_pad_counted"] == 11 / 12  # all but ಗ


def test_token_scores_equal_a_loop():
    predicted, target = random_rows(300)
    names = VOCABULARY.words
    hits = {"token": [], "word": []}
    for said, true in zip(predicted.ravel(), target.ravel(), strict=True):
        if names[true] not in (PAD, START):
            hit = names[said] == names[true] != UNK
            hits["token"].append(hit)
            if names[true] != END:
                hits["word"].append(hit)
    scores = token_scores(predicted, target, VOCABULARY)
    for name, values in hits.items():
        assert scores[f"{name}s"] == len(values)
        assert scores[f"{name}_accuracy"] == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.equivalence(
    "scores.token_scores: intervals", "scipy bootstrap", "0.007, two standard errors"
)
def test_intervals_of_tokens_equal_those_of_scipy():
    predicted, target = random_rows(150)
    counted = (target != 0) & (target != 2)
    hits = (counted & (predicted == target) & (target != 1)).sum(1)
    expected = scipy.stats.bootstrap(
        (hits, counted.sum(1)),
        lambda hits, counts, axis=-1: hits.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(7),
    ).confidence_interval
    interval = token_scores(predicted, target, VOCABULARY)["token_accuracy_ci95"]
    np.testing.assert_allclose(interval, expected, atol=0.007)  # two standard errors of an end


def test_intervals_know_that_tokens_of_a_sentence_are_not_independent():
    target = np.tile([2, 4, 5, 4, 5, 4, 3], (100, 1))
    predicted = target.copy()
    predicted[::2] = 0  # every sentence all right or all wrong
    low, high = token_scores(predicted, target, VOCABULARY)["token_accuracy_ci95"]
    as_tokens, as_sentences = (np.diff(wilson_interval(n // 2, n)) for n in (600, 100))
    assert high - low == pytest.approx(as_sentences, rel=0.1) != pytest.approx(as_tokens, rel=0.5)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (3,)), ((1, 3), (2, 3))])
def test_shapes_must_agree(shapes):
    with pytest.raises(ValueError, match="two arrays of one shape"):
        token_scores(np.full(shapes[0], 4), np.full(shapes[1], 4), VOCABULARY)


def test_nothing_to_count_is_an_error():
    with pytest.raises(ValueError, match="no token in a target"):
        token_scores([[2, 0]], [[2, 0]], VOCABULARY)
    with pytest.raises(ValueError, match="0 hypotheses for 0 references"):
        translation_scores([], [])
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        translation_scores(["ಕ"], ["ಕ", "ಗ"])


@pytest.mark.equivalence("scores.translation_scores", "sacrebleu chrF++, BLEU", "the same numbers")
@pytest.mark.parametrize("seed", range(3))
def test_translation_scores_are_those_of_sacrebleu(seed):
    hypotheses, references = random_texts(80, seed)
    scores = translation_scores(hypotheses, references)
    metrics = {"chrf++": CHRF(word_order=2), "bleu": BLEU(tokenize="intl", force=True)}
    for name, metric in metrics.items():
        theirs = metric.corpus_score(hypotheses, [references])
        assert scores[name] == theirs.score
        assert scores["signatures"][name] == str(metric.get_signature())
        assert 5 < scores[name] < 95
    assert "nw:2" in scores["signatures"]["chrf++"]
    assert "tok:intl" in scores["signatures"]["bleu"] and "eff:no" in scores["signatures"]["bleu"]


@pytest.mark.equivalence(
    "scores.translation_scores: intervals", "sacrebleu's bootstrap", "15 % of a half width"
)
def test_intervals_of_translations_agree_with_the_bootstrap_of_sacrebleu():
    hypotheses, references = random_texts(80)
    scores = translation_scores(hypotheses, references)
    metrics = {"chrf++": CHRF(word_order=2), "bleu": BLEU(tokenize="intl", force=True)}
    for name, metric in metrics.items():
        theirs = metric.corpus_score(hypotheses, [references], n_bootstrap=1000)
        theirs = json.loads(theirs.format(is_json=True, signature="a:b"))
        low, high = scores[f"{name}_ci95"]
        half = theirs["confidence_var"]
        assert (high - low) / 2 == pytest.approx(half, rel=0.15)
        assert (high + low) / 2 == pytest.approx(theirs["confidence_mean"], abs=half / 5)


def test_chrf_worked_by_hand():
    # ab for ac: of 1-grams 1 of 2, of 2-grams 0 of 1, of words 0 of 1; no longer ones. 1/6 both
    # as precision and as recall.
    assert translation_scores(["ab"], ["ac"])["chrf++"] == pytest.approx(100 / 6)


def test_bleu_has_effective_order_for_a_single_sentence_only():
    one, two = (translation_scores(["ಕ ಗ"] * n, ["ಕ ಗ"] * n) for n in (1, 2))
    assert one["bleu"] == pytest.approx(100) and "eff:yes" in one["signatures"]["bleu"]
    assert two["bleu"] is two["bleu_ci95"] is None  # there is no 4-gram
    assert "eff:no" in two["signatures"]["bleu"]
    four = translation_scores(["ಕ ಗ"] * 2, ["ಕ ಗ", "ಕ ಗ ಚ ಜ"])
    assert four["bleu"] == 0  # as for those who give too few words


@pytest.mark.equivalence("scores.translation_scores: exact match", "scipy binomtest", "1e-6")
def test_exact_match_has_the_interval_of_wilson():
    hypotheses, references = random_texts(80)
    scores = translation_scores(hypotheses, references)
    exact = sum(map(str.__eq__, hypotheses, references))
    assert 10 <= exact < 80 and scores["n"] == 80 and scores["exact_match"] == exact / 80
    expected = scipy.stats.binomtest(exact, 80).proportion_ci(method="wilson")
    np.testing.assert_allclose(scores["exact_match_ci95"], expected, atol=1e-6)


def test_empty_translations_score_nothing():
    _, references = random_texts(20)
    scores = translation_scores([""] * 20, references)
    for name in ("exact_match", "chrf++", "bleu"):
        assert scores[name] == 0
    assert scores["chrf++_ci95"] == scores["bleu_ci95"] == [0, 0]


def test_scores_are_the_same_every_time_and_are_json():
    rows, texts = random_rows(30), random_texts(30)
    one, two = (
        json.dumps([token_scores(*rows, VOCABULARY), translation_scores(*texts)]) for _ in range(2)
    )
    assert one == two


def test_the_tokens_in_their_text_draw_no_warning(caplog):
    translation_scores(["ನಾನು ಹೋದೆ ."] * 120, ["ನಾನು ಬಂದೆ ."] * 120)
    assert not caplog.records
