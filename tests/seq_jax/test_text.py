"""Normalising, cutting into tokens, counting words, and vocabularies."""

import json
import random
import unicodedata

import pytest

from seq_jax import text
from seq_jax.text import END, PAD, START, UNK, WordCounts, build_vocabulary, normalise, tokenise
from train_jax.run.errors import UserError

ZWNJ, ZWJ = "\u200c", "\u200d"
BUS = f"ಬಸ್{ZWNJ}ಗೆ"  # "to the bus": the ZWNJ keeps the virama visible
SENTENCES = ["ನಾನು ಮನೆ ಗೆ", "ನಾನು ಮನೆ", "ನಾನು"]


def codes(string):
    return [f"{ord(c):04X}" for c in string]


# normalise


def test_two_part_vowel_signs_are_composed():
    # o-sign: 0CC6 + 0CC2 = 0CCA, and + 0CD5 = 0CCB; ii-sign: 0CBF + 0CD5 = 0CC0
    assert codes(normalise("ಕ\u0cc6\u0cc2")) == ["0C95", "0CCA"]
    assert codes(normalise("ಕ\u0cc6\u0cc2\u0cd5")) == ["0C95", "0CCB"]
    assert codes(normalise("ಕ\u0cbf\u0cd5")) == ["0C95", "0CC0"]
    assert normalise("cafe\u0301") == "caf\u00e9"


@pytest.mark.parametrize("joiner", [ZWNJ, ZWJ])
def test_joiners_stay_within_words_and_go_at_their_ends(joiner):
    word = f"ಬಸ್{joiner}ಗೆ"
    assert normalise(word) == word
    assert normalise(f"{joiner}{word}{joiner}") == word
    assert normalise(f"ರಾಮ್{joiner} {joiner}{joiner}{word}{joiner}.") == f"ರಾಮ್ {word}."
    assert normalise(f"({joiner}{word}{joiner}, {joiner} ಮನೆ)") == f"({word},  ಮನೆ)".replace(
        "  ", " "
    )
    assert tokenise(f"{joiner}{word}{joiner}! {joiner}") == [word]


@pytest.mark.parametrize(
    "invisible", ["\ufeff", "\u200b", "\u00ad", "\u200e", "\u202e", "\u2060", "\u2066"]
)
def test_other_invisible_characters_go_without_a_trace(invisible):
    assert normalise(f"{invisible}ಮ{invisible}ನೆ ho{invisible}use{invisible}") == "ಮನೆ house"


def test_marks_parted_by_an_invisible_character_are_composed():
    assert codes(normalise("ಕ\u0cc6\u200b\u0cc2")) == ["0C95", "0CCA"]


@pytest.mark.parametrize(
    "space", ["\t", "\x00", "\x07", "\x1f", "\x7f", "\x85", "\u00a0", "\u2028"]
)
def test_control_characters_and_odd_spaces_become_one_space(space):
    assert normalise(f"{space}a {space} b{space}{space}c") == "a b c"


# tokenise


def test_kannada_words_stay_whole():
    # virama, vowel signs, anusvara, visarga, nukta: all are marks, which \w does not match
    line = "ಆರ್ಥಿಕ ಅಭಿವೃದ್ಧಿ ಮತ್ತು ದುಃಖ ಸಂತೋಷ ಫ಼ಿಲ್ಮ್"
    assert tokenise(line) == tokenise(line, "keep") == line.split()
    assert tokenise(f"ನಾನು {BUS} ಹೋದೆ") == ["ನಾನು", BUS, "ಹೋದೆ"]


@pytest.mark.parametrize(
    "line, stripped, kept",
    [
        ("Where are YOU?", "where are you", "where are you ?"),
        ("Don't go!", "dont go", "don't go !"),
        ("Don\u2019t, \u2018o\u2019clock\u2019", "dont oclock", "don't , ' o'clock '"),
        ("the dogs' well-known (old) bone", *["the dogs well known old bone"] * 2),
        ("3.5 kg, 1,000 times.", "3.5 kg 1,000 times", "3.5 kg , 1,000 times ."),
        ("snake_case a/b $5", "snake case a b 5", "snake _ case a / b $ 5"),
        ("ಮನೆ।ಊರು॥ ಎಲ್ಲಿ?", "ಮನೆ ಊರು ಎಲ್ಲಿ", "ಮನೆ । ಊರು ॥ ಎಲ್ಲಿ ?"),
        ("ವಧು-ವರರು", "ವಧು ವರರು", "ವಧು - ವರರು"),
        ("I \u2764\ufe0f it \U0001f600", "i it", "i \u2764 it \U0001f600"),
        ("<start> <PAD>", "start pad", "< start > < pad >"),
        (" \u200c ... ", "", ". . ."),
    ],
)
def test_punctuation(line, stripped, kept):
    if kept == stripped and "'" in line:
        kept = "the dogs ' well - known ( old ) bone"
    assert " ".join(tokenise(line, "strip")) == stripped
    assert " ".join(tokenise(line, "keep")) == kept


def test_punctuation_must_be_strip_or_keep():
    with pytest.raises(ValueError, match="must be 'strip' or 'keep', got 'drop'"):
        tokenise("a", "drop")


@pytest.mark.parametrize("punctuation", text.PUNCTUATION)
def test_tokens_are_their_own_tokens(punctuation):
    alphabet = "aZ é'’.,-3५ \t\u00a0ಕರ್ಿ\u0cc6\u0cc2\u200c\u200d\u200b\u0301।<ß\ufe0f\U0001f600"
    rng = random.Random(0)
    for _ in range(3000):
        tokens = tokenise("".join(rng.choices(alphabet, k=12)), punctuation)
        assert tokenise(" ".join(tokens), punctuation) == tokens
        for token in tokens:
            assert token == unicodedata.normalize("NFC", token).strip() != ""
            assert token.strip(ZWNJ + ZWJ) == token


def test_words_are_those_that_keeping_the_marks_gives():
    rng = random.Random(1)
    for _ in range(1000):
        line = "".join(rng.choices("ab .!?-ಕರ್", k=12))
        kept = [token for token in tokenise(line, "keep") if token not in tuple(".!?-")]
        assert kept == tokenise(line)


@pytest.mark.parametrize(
    "word, expected",
    [
        ("ಮನೆ", True),
        (BUS, True),
        ("ದುಃಖ", True),
        ("house", False),
        ("ಮನೆhouse", False),
        ("೧೨", False),
        ("12", False),
        ("ಾ", False),  # a vowel sign without its letter
        ("घर", False),  # Devanagari
        ("ఇల్లు", False),  # Telugu, the most similar script
    ],
)
def test_script_check(word, expected):
    check = text.script_check("Kannada")
    assert check([word]) is expected
    assert check(["ಊರು", word]) is expected


@pytest.mark.parametrize(
    ("script", "word", "expected"),
    [
        ("Devanagari", "हिन्दी", True),
        ("Devanagari", "ಮನೆ", False),
        ("Devanagari", "१२", False),
        ("Latin", "café", True),
        ("Latin", "дом", False),
        ("Cyrillic", "дом", True),
        ("Han", "漢字", True),
        ("Han", "かな", False),
        ("ASCII", "cafe", True),
        ("ASCII", "café", False),
        ("ASCII", "5", False),
    ],
)
def test_other_scripts(script, word, expected):
    assert text.script_check(script)([word]) is expected


@pytest.mark.parametrize("script", ["Kanada", "L}|\\p{L", "\\d", ""])
def test_scripts_that_are_none(script):
    with pytest.raises(UserError, match="no Unicode script is called"):
        text.script_check(script)


def test_the_letters_of_kannada_are_those_of_its_block():
    """Unicode's property of the script against its code chart."""
    check = text.script_check("Kannada")
    for c in map(chr, range(0xC00, 0xD80)):
        block, kind = 0xC80 <= ord(c) < 0xD00, unicodedata.category(c)
        if kind != "Cn":  # unassigned in Python's version of Unicode, which is older
            assert check([c]) == (block and kind[0] == "L"), hex(ord(c))
            assert check(["ಕ" + c]) == (block and kind[0] in "LM"), hex(ord(c))


# WordCounts


def test_counts_are_exact_and_ordered_below_the_limit():
    counts = WordCounts()
    for sentence in ("b a c", "b d", "b a"):
        counts.add(sentence.split())
    assert counts.most_common(3) == [("b", 3), ("a", 2), ("c", 1)]
    assert counts.most_common() == [("b", 3), ("a", 2), ("c", 1), ("d", 1)]
    assert counts.lost == 0


def test_counts_stay_within_the_limit_and_err_by_at_most_lost():
    rng = random.Random(0)
    counts, truth, peak = WordCounts(limit=100), {}, 0
    for number in range(4000):
        common = f"common{rng.randrange(20)}"
        for word in (common, f"rare{number}", f"rare{rng.randrange(2000)}"):
            truth[word] = truth.get(word, 0) + 1
            counts.add([word])
            peak = max(peak, len(counts.counts))
    assert 50 <= peak <= 100 and 0 < counts.lost < 200
    assert {word for word, _ in counts.most_common(20)} == {f"common{i}" for i in range(20)}
    for word, count in counts.most_common():
        assert truth[word] - counts.lost <= count <= truth[word]


# Vocabulary


def test_numbers_of_the_words():
    vocabulary = build_vocabulary(SENTENCES)
    assert vocabulary.words == (PAD, UNK, START, END, "ನಾನು", "ಮನೆ", "ಗೆ")
    assert [vocabulary.index[word] for word in vocabulary.words] == list(range(7))
    assert build_vocabulary(SENTENCES, unk=False).words[:4] == (PAD, START, END, "ನಾನು")
    assert build_vocabulary(SENTENCES, markers=False).words[:3] == (PAD, UNK, "ನಾನು")
    bare = build_vocabulary(SENTENCES, unk=False, markers=False)
    assert bare.words == (PAD, "ನಾನು", "ಮನೆ", "ಗೆ")
    assert build_vocabulary(SENTENCES, max_words=1).words[4:] == ("ನಾನು",)
    assert build_vocabulary(SENTENCES, min_count=2).words[4:] == ("ನಾನು", "ಮನೆ")


def test_the_order_of_the_sentences_does_not_matter():
    assert build_vocabulary(["b a", "c"]) == build_vocabulary(["c", "a b"])


def test_encode_and_decode():
    vocabulary = build_vocabulary(SENTENCES)
    assert text.encode(vocabulary, "ಮನೆ ಬೆಕ್ಕು ನಾನು") == [2, 5, 1, 4, 3]
    assert text.unknown_words(vocabulary, "ಮನೆ ಬೆಕ್ಕು ನಾನು") == ["ಬೆಕ್ಕು"]
    assert text.decode(vocabulary, [2, 5, 1, 4, 3, 5, 0]) == f"ಮನೆ {UNK} ನಾನು"
    assert text.decode(vocabulary, [0, 5, 0, 4]) == "ಮನೆ ನಾನು"
    for sentence in SENTENCES:
        assert text.decode(vocabulary, text.encode(vocabulary, sentence)) == sentence
    bare = build_vocabulary(SENTENCES, unk=False, markers=False)
    assert text.encode(bare, "ಮನೆ ನಾನು") == [2, 1]


def test_an_unknown_word_without_unk_is_an_error():
    vocabulary = build_vocabulary(SENTENCES, unk=False)
    with pytest.raises(UserError, match="has no <unk>: ಬೆಕ್ಕು, ನಾಯಿ[.]"):
        text.encode(vocabulary, "ಬೆಕ್ಕು ಮನೆ ನಾಯಿ")


def test_json_brings_the_vocabulary_back():
    vocabulary = build_vocabulary([*SENTENCES, f'{BUS} " \\'])
    written = text.to_json(vocabulary)
    assert text.from_json(written, "words.json") == vocabulary
    assert json.loads(written) == list(vocabulary.words)
    assert "ಮನೆ" in written


@pytest.mark.parametrize(
    "written, message",
    [
        ("[", "words.json: not a vocabulary, since it is not JSON"),
        ('{"a": 1}', "expected a JSON list of words"),
        ('["<PAD>", 3]', "expected a JSON list of words"),
        ('["<PAD>", "a", "b", "a"]', "'a' stands in it twice"),
        ("[]", "expected <PAD>, then"),
        ('["a", "<PAD>"]', "expected <PAD>, then"),
        ('["<unk>", "<PAD>", "a"]', "expected <PAD>, then"),
        ('["<PAD>", "a", "<end>"]', "expected <PAD>, then"),
        ('["<PAD>", "<end>", "<start>"]', "expected <PAD>, then"),
    ],
)
def test_what_is_no_vocabulary_is_refused(written, message):
    with pytest.raises(UserError, match=message):
        text.from_json(written, "words.json")


def test_another_vocabulary_is_refused():
    one, other = build_vocabulary(["a b"]), build_vocabulary(["b c"])
    text.check_same(one, build_vocabulary(["b", "a"]).sha256, "runs/a")
    with pytest.raises(UserError, match=r"runs/a: another vocabulary \(6 words"):
        text.check_same(one, other.sha256, "runs/a")
    swapped = text.from_json(text.to_json(one).replace('"a"', '"x"'), "x")
    assert len({one.sha256, other.sha256, swapped.sha256}) == 3
