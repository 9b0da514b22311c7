"""Tables and verdict say what they were given."""

import numpy as np
import pytest

from seq_jax.data import Dataset
from seq_jax.evaluate import Translations, pool
from seq_jax.filter import Pairs, Report
from seq_jax.report import tables as report
from seq_jax.task import Vocabularies
from seq_jax.text import build_vocabulary


def scores(chrf, low, high, n=1234):
    return {
        "n": n, "token_accuracy": 0.1234, "token_accuracy_ci95": [0.1, 0.15],
        "chrf++": chrf, "chrf++_ci95": [low, high], "bleu": 5.67, "bleu_ci95": [4.0, 7.06],
        "exact_match": 0.0811, "exact_match_ci95": [0.07, 0.0949], "accuracy_pad_counted": 0.4567,
    }  # fmt: skip


def result(model, nearest, split="test"):
    return {
        "data": "corpus",
        "scored": "epoch 7",
        "splits": {"train": scores(99, 98, 100), split: model},
        "baselines": {split: {"pad_only": scores(0, 0, 0), "nearest_neighbour": nearest}},
        "verdict": "the verdict",
    }


def test_scores_have_a_row_for_each_split_and_its_baselines():
    table = report.scores(result(scores(14.54, 13.21, 16.0), scores(27.9, 26, 29)))
    assert [row[0] for row in table.rows] == [
        "train", "test", "test: pad only", "test: nearest neighbour",
    ]  # fmt: skip
    assert table.rows[1][1:] == [
        "1,234", "14.5 [13.2, 16.0]", "5.7 [4.0, 7.1]", "0.081 [0.070, 0.095]",
        "0.123 [0.100, 0.150]", "0.457",
    ]  # fmt: skip
    assert "[95 %]" in table.header[2] and "PAD counted" in table.header and table.note


def test_bleu_of_short_sentences_is_not_zero():
    """It counts sequences of four words, of which there is none."""
    found = scores(50, 40, 60) | {"bleu": None, "bleu_ci95": None}
    assert report.scores(result(found, found)).rows[1][3:5] == ["n/a", "0.081 [0.070, 0.095]"]
    signatures = {"signatures": {"bleu": "x"}}
    assert "BLEU n/a, exact match" in report.file_scores("a", found | signatures)
    table = report.analysis_tables(
        {"by_words": {"1-4": {"model": found}}, "by_likeness": {}, "habits": {}}
    )
    assert "model 50.0 (n/a)" in table


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize(
    ("model", "nearest", "words"),
    [
        ((14.5, 13.0, 16.0), (27.9, 26.0, 29.0), "does NOT beat the baseline"),
        ((20.0, 18.0, 22.0), (20.0, 18.0, 22.0), "does NOT beat the baseline"),
        ((30.0, 28.5, 31.0), (27.9, 26.0, 29.0), "beats the baseline, but the 95 % intervals"),
        ((30.0, 29.5, 31.0), (27.9, 26.0, 29.0), "The model beats the baseline."),
    ],
)
def test_verdict(model, nearest, words, split):
    text = report.verdict(result(scores(*model), scores(*nearest), split))
    assert words in text
    figures = f"chrF++ on {split}: {model[0]:.1f}, of the best baseline, nearest neighbour, "
    assert f"{figures}{nearest[0]:.1f}." in text


def test_the_verdict_is_about_the_best_baseline():
    both = result(scores(20, 19, 21), scores(18, 17, 19))
    both["baselines"]["test"]["dictionary"] = scores(22, 21, 23)
    assert "of the best baseline, dictionary, 22.0. The model does NOT beat" in report.verdict(both)


def test_describe():
    train = Pairs(("a b", "a c"), ("ಕ ಗ", "ಕ"))
    valid = Pairs(("a z z d",), ("ಚ",))
    vocabularies = Vocabularies(build_vocabulary(train.source), build_vocabulary(train.target))
    dataset = Dataset("corpus", train, Report(9, {"too odd": 6}, 3, (4, 3)), "here", "ab" * 32, "")
    lines = report.describe(dataset, {"train": train, "valid": valid}, vocabularies, 6).splitlines()
    assert lines[0] == "data: corpus from here, sha256 abababababababab"
    assert [line.split() for line in lines[1:4]] == [
        ["9", "pairs", "read"],
        ["-6", "removed:", "too", "odd"],
        ["3", "pairs", "kept"],
    ]
    assert lines[-3].split() == ["train", "2", "English", "0.0%,", "Kannada", "0.0%"]
    assert lines[-2].split() == ["valid", "1", "English", "75.0%,", "Kannada", "100.0%"]
    assert "English 7, Kannada 6" in lines[-1] and "6 tokens per side" in lines[-1]


def test_pooled_folds_number_words_alike():
    """The same number means another word in each fold; an <unk> target is the word that it was."""
    folds = []
    for known, target, said in (("ಕ ಕ ಗ", "ಗ ಕ", "ಗ ಗ"), ("ಗ ಗ ಕ", "ಗ ಚ", "ಗ ಕ")):
        vocabulary = build_vocabulary([known])
        pairs = Pairs(("a b",), (target,))
        arrays = {
            text: [[vocabulary.index.get(w, 1) for w in ("<start>", *text.split(), "<end>")]]
            for text in (target, said)
        }
        folds.append(
            Translations(
                pairs, np.array(arrays[said]), np.array(arrays[target]), vocabulary, [said],
                {"nearest_neighbour": [known]},
            )
        )  # fmt: skip
    assert folds[1].target[0].tolist() == [2, 4, 1, 3]
    pooled = pool(folds)
    assert pooled.pairs == Pairs(("a b", "a b"), ("ಗ ಕ", "ಗ ಚ"))
    words = [[pooled.vocabulary.words[n] for n in row] for row in pooled.predicted]
    assert words == [["<start>", "ಗ", "ಗ", "<end>"], ["<start>", "ಗ", "ಕ", "<end>"]]
    words = [[pooled.vocabulary.words[n] for n in row] for row in pooled.target]
    assert words == [["<start>", "ಗ", "ಕ", "<end>"], ["<start>", "ಗ", "ಚ", "<end>"]]
    assert pooled.hypotheses == ["ಗ ಗ", "ಗ ಕ"]
    assert pooled.baselines == {"nearest_neighbour": ["ಕ ಕ ಗ", "ಗ ಗ ಕ"]}
