"""Subwords: round trips, what of Kannada must survive, and models that are refused."""

import subprocess
import sys
import unicodedata
from pathlib import Path
from random import Random

import numpy as np
import pytest

from seq_jax import subwords, text
from train_jax.run.errors import UserError

ROOT = Path(__file__).parents[2]

ZWNJ = "\u200c"
KANNADA = (
    "ನಾನು ಮನೆಗೆ ಹೋಗುತ್ತೇನೆ", "ಅವನು ಶಾಲೆಗೆ ಹೋಗುತ್ತಾನೆ", f"ಟಾಮ್{ZWNJ}ಗೆ ಅರ್ಧ ಕೊಡು",
    "ಅವಳ ಮನೆಯ ಮುಂದೆ", "ನೀವು ಎಲ್ಲಿಗೆ ಹೋಗುತ್ತೀರಿ", "ನನಗೆ ಗೊತ್ತಿಲ್ಲ",
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return subwords.train(KANNADA * 3, size=90, kind="bpe")


def test_sentences_come_back_as_they_were(model):
    for sentence in KANNADA:
        numbers = text.encode(model, sentence)
        assert numbers[0] == text.SPECIALS.index(text.START) and numbers[-1] == 3
        assert text.decode(model, numbers) == sentence


def test_zwnj_stays(model):
    """sentencepiece's default normalisation makes a space of it."""
    numbers = text.encode(model, KANNADA[2])
    assert ZWNJ in text.decode(model, numbers)
    assert not text.unknown_words(model, KANNADA[2])


def test_the_markers_have_the_numbers_of_word_vocabularies(model):
    assert model.words[:4] == text.SPECIALS
    assert [model.index[word] for word in text.SPECIALS] == [0, 1, 2, 3]
    assert len(model.index) == len(model.words) <= 90


def test_a_new_word_is_pieces_and_a_new_letter_is_unk(model):
    assert 1 not in text.encode(model, "ಹೋಗುತ್ತೇ")  # the word is new, its letters are not
    assert text.encode(model, "ನಾನು ಙ").count(1) == 1
    assert text.unknown_words(model, "ನಾನು ಙ") == ["ಙ"]


def test_the_same_sentences_give_the_same_model(model):
    assert subwords.train(KANNADA * 3, size=90, kind="bpe").sha256 == model.sha256
    assert subwords.train(KANNADA[:5] * 3, size=90, kind="bpe").sha256 != model.sha256


@pytest.mark.parametrize("kind", ["char", "unigram"])
def test_the_other_kinds(kind):
    model = subwords.train(KANNADA * 9, size=70, kind=kind)
    for sentence in KANNADA:
        assert text.decode(model, text.encode(model, sentence)) == sentence
    if kind == "char":
        assert all(len(word) == 1 for word in model.words[4:])


def test_sampled_pieces_differ_and_spell_the_same(model):
    draws = {tuple(model.sampled(KANNADA[0], 0.3, Random(i))) for i in range(20)}
    assert len(draws) > 3
    assert {model.join(pieces) for pieces in draws} == {KANNADA[0]}


def test_without_dropout_the_pieces_are_those_of_sentencepiece(model):
    """Also of characters that it does not know, two of them side by side."""
    for sentence in (*KANNADA, "ನಾನು zz ./ ಮನೆ"):
        assert model.sampled(sentence, 0.0, Random(0)) == model.pieces(sentence)


def test_the_draws_are_those_of_the_seed_in_any_process(model):
    """sentencepiece's own differ from process to process."""
    program = (
        "import sys; from random import Random; from seq_jax import subwords\n"
        "model = subwords.load(sys.stdin.buffer.read(), sys.argv[1], 'x')\n"
        "print(model.sampled(sys.argv[2], 0.3, Random('0 1')))"
    )
    done = [
        subprocess.run([sys.executable, "-c", program, model.sha256, KANNADA[0]],
                       input=model.model, capture_output=True, check=True, cwd=ROOT)
        for _ in range(2)
    ]  # fmt: skip
    assert done[0].stdout == done[1].stdout
    assert done[0].stdout.decode().strip() == str(model.sampled(KANNADA[0], 0.3, Random("0 1")))


def test_signs_without_a_letter_do_not_come_out(model):
    assert model.join(["\u0cbe", "ನಾನು", "\u2581", "\u0ccd", "ಮನೆ"]) == "ನಾನು ಮನೆ"
    rng = np.random.default_rng(0)
    for _ in range(200):  # whatever a model may say
        words = model.join(rng.choice(model.words[4:], 8)).split()
        assert all(unicodedata.category(word[0])[0] == "L" for word in words)


def test_a_model_is_loaded_only_if_its_hash_is_right(model):
    again = subwords.load(model.model, model.sha256, "m.model")
    assert text.encode(again, KANNADA[0]) == text.encode(model, KANNADA[0])
    rng = np.random.default_rng(1)
    for _ in range(30):
        damaged = bytearray(model.model)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        with pytest.raises(UserError, match="m.model: damaged"):
            subwords.load(bytes(damaged), model.sha256, "m.model")
    with pytest.raises(UserError, match="m.model: damaged"):
        subwords.load(model.model[:-1], model.sha256, "m.model")


def test_what_is_no_model_is_refused_by_name():
    import hashlib

    for raw in (b"", b"{}", b"\xff" * 100):
        with pytest.raises(UserError, match="m.model: n"):
            subwords.load(raw, hashlib.sha256(raw).hexdigest(), "m.model")


@pytest.mark.parametrize("settings", [{"size": 10, "kind": "bpe"}, {"size": 90, "kind": "word"}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(UserError, match="data.subword"):
        subwords.train(KANNADA, **settings)


# text.fix_kannada and text.whole_graphemes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"ಎ{ZWNJ}ಣ್ಣೆ", "ಎಣ್ಣೆ"),  # next to no virama
        (f"ಟಾಮ್{ZWNJ}ಗೆ", f"ಟಾಮ್{ZWNJ}ಗೆ"),
        (f"ಟಾಮ್{ZWNJ}{ZWNJ}ಗೆ", f"ಟಾಮ್{ZWNJ}ಗೆ"),  # doubled
        ("ರ\u200d್ಕ", "ರ\u200d್ಕ"),  # before a virama
        ("ಬ೦ದು", "ಬಂದು"),
        ("ಬ0ದು", "ಬಂದು"),
        ("೧೦ ಜನ", "೧೦ ಜನ"),  # a number
        ("10ಕ್ಕೆ 20", "10ಕ್ಕೆ 20"),
        (f"क्{ZWNJ}ष", f"क्{ZWNJ}ष"),  # Hindi, whose virama is another
        (f"می{ZWNJ}خواهم", f"می{ZWNJ}خواهم"),  # Persian, which has none
    ],
)
def test_fix_kannada(before, after):
    assert text.fix_kannada(before) == after
    assert text.fix_kannada(after) == after
